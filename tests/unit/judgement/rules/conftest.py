"""Inputs and profiles for tests of rules."""

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from tutor_pipeline.judgement.rules.catalogue import load_catalogue


@dataclass(frozen=True)
class Column:
    type: str
    exposure: str | None = None
    values: tuple[str, ...] = ()


INPUTS = {
    "tutor_aggregates": {
        "tutor_id": Column("text"),
        "no_shows": Column("bigint", "sessions"),
        "sessions": Column("integer"),
        "score": Column("double precision", "scored"),
        "scored": Column("integer"),
        "rating": Column("numeric(4,2)"),
        "is_flagged": Column("boolean"),
        "no_show_ids": Column("text[]"),
        "last_seen_at": Column("timestamp with time zone"),
    },
    "champion": {"level": Column("text", None, ("Low", "High")),
                 "score": Column("numeric", "sessions"), "sessions": Column("bigint")},
}  # fmt: skip

PROFILE = """\
alerts:
  no_show:
    severity: critical
    title: No shows
    when:
      - {metric: no_shows, op: ">=", value: 3}
    description: "{no_shows:no-show|no-shows} of {sessions}"
    recommended_action: Call
    evidence: no_show_ids
  low_score:
    severity: warning
    title: Low score
    when:
      - {metric: score, op: "<", value: 5, minimum_exposure: 4}
    description: "Score {score:.2f}"
    recommended_action: Coach
    evidence: no_show_ids
"""


@pytest.fixture
def as_of():
    return datetime(2026, 3, 31, 23, 59, tzinfo=UTC)


@pytest.fixture
def inputs():
    return INPUTS


@pytest.fixture
def profile():
    """The text of a profile with two rules."""
    return PROFILE


@pytest.fixture
def load(tmp_path, inputs):
    """Load a catalogue from the text of a profile."""

    def load_text(text):
        path = tmp_path / "own.yml"
        path.write_text(text, encoding="utf-8")
        return load_catalogue(path, inputs, {"late_after_minutes": 5, "low_rate": 0.15})

    return load_text


@pytest.fixture
def row():
    """Make a row for PROFILE in which no rule holds."""

    def make(tutor_id="T1", **values):
        healthy = {"no_shows": 0, "sessions": 20, "score": 8.0, "scored": 10, "no_show_ids": None}
        return {"tutor_id": tutor_id, **healthy, **values}

    return make

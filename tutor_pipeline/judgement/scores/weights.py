"""The versions of the weights of the student churn score, in `ops.churn_algorithm_weights`, and the
levels that belong to each, in `ops.churn_weight_levels`.

Belongs here: seeding the first version, reading the newest, adding the next. A version is never
changed: a trigger refuses it, and another that its weights do not add up to 1.
Does not belong here: fitting new weights, computing the score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml

from tutor_pipeline.core.warehouse.database import Database

FIRST = Path(__file__).parent / "churn_weights.yml"
LEARNED = "refined:"
"""How the notes of a version begin that outcomes taught."""


@dataclass(frozen=True, slots=True)
class Levels:
    """From which score on a student is at Medium and at High risk."""

    medium_from: float
    high_from: float


@dataclass(frozen=True, slots=True)
class Weights:
    """One version: factor -> weight (0 to 1, together 1), in force since a moment, and the levels
    that its scores mean: other weights have another scale.
    """

    version: int
    weights: Mapping[str, float]
    effective_from: datetime
    notes: str
    levels: Levels


def seed(database: Database, at: datetime) -> bool:
    """Write the first version where there is none; whether it did. Safe when two do it at once."""
    first = first_version(at)
    with database.transaction():
        database.lock("churn_algorithm_weights")
        if current(database) is not None:
            return False
        _insert(database, first)
    return True


def first_version(at: datetime) -> Weights:
    """The version that is there from the first day (churn_weights.yml)."""
    found = yaml.safe_load(FIRST.read_text(encoding="utf-8"))
    return Weights(
        found["version"], found["weights"], at, found["notes"], Levels(**found["levels"])
    )


def current(database: Database) -> Weights | None:
    """The newest version, heaviest factor first; None before the seeding.

    One that somebody wrote by hand without levels has those of the first. One that was learned
    without is not in force any more: mostly it called nobody at risk.
    """
    first = first_version(datetime.min).levels
    rows = database.execute(
        "select version, factor, weight, effective_from, weights.notes,"
        " coalesce(medium_from, %(medium)s), coalesce(high_from, %(high)s)"
        " from {ops}.churn_algorithm_weights as weights"
        " left join {ops}.churn_weight_levels as levels using (version)"
        " where version = ("
        "select max(version) from {ops}.churn_algorithm_weights as every"
        " left join {ops}.churn_weight_levels as own using (version)"
        " where own.version is not null or coalesce(every.notes, '') not like %(learned)s"
        ") order by weight desc, factor",
        {
            "medium": first.medium_from,
            "high": first.high_from,
            "learned": f"{LEARNED}%",
        },
    ).fetchall()
    if not rows:
        return None
    version, _, _, effective_from, notes, medium_from, high_from = rows[0]
    return Weights(
        version,
        {row[1]: row[2] for row in rows},
        effective_from,
        notes,
        Levels(medium_from, high_from),
    )


def add(
    database: Database,
    weights: Mapping[str, float],
    levels: Levels,
    *,
    replaces: Weights,
    at: datetime,
    notes: str,
) -> Weights:
    """Write the version after `replaces`, whole or not at all; returns it.

    Raises psycopg.errors.IntegrityError when there is another one after it already, or the weights
    do not add up to 1.
    """
    with database.transaction():
        row = database.execute(
            "select coalesce(max(version), 0) from {ops}.churn_algorithm_weights"
            " where version not in (select version from {ops}.churn_weight_levels)"
        ).fetchone()
        assert row is not None
        # After those, too, that are not in force any more.
        number = max(replaces.version, row[0]) + 1
        version = Weights(number, dict(weights), at, notes, levels)
        _insert(database, version)
        # Now, not when an outer transaction ends.
        database.execute("set constraints {ops}.sums_to_one immediate")
    return version


def _insert(database: Database, version: Weights) -> None:
    database.execute(
        "insert into {ops}.churn_algorithm_weights"
        " (version, factor, weight, effective_from, notes)"
        " select %s, factor, weight, %s, %s"
        " from unnest(%s::text[], %s::double precision[]) as given (factor, weight)",
        (
            version.version,
            version.effective_from,
            version.notes,
            list(version.weights),
            list(version.weights.values()),
        ),
    )
    database.execute(
        "insert into {ops}.churn_weight_levels"
        " (version, medium_from, high_from, fixed_at, notes) values (%s, %s, %s, %s, %s)"
        # Of a table of weights that somebody emptied, they are still there.
        " on conflict (version) do nothing",
        (
            version.version,
            version.levels.medium_from,
            version.levels.high_from,
            version.effective_from,
            version.notes,
        ),
    )

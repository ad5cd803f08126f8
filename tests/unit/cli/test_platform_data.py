"""What the command says after an import."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tutor_pipeline.cli.platform_data import how_to_compute
from tutor_pipeline.people.reports.status_queries import STALE_DAYS

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def test_fresh_sessions_are_computed_as_of_today() -> None:
    assert how_to_compute(NOW - STALE_DAYS * DAY, None, NOW).endswith(": tutor-pipeline enrich")


def test_old_ones_as_of_their_own_day() -> None:
    newest = NOW - 40 * DAY
    said = how_to_compute(newest, None, NOW)
    assert "40 days old (2026-01-20)" in said
    assert said.endswith("with: tutor-pipeline enrich --as-of latest")
    assert how_to_compute(newest, newest, NOW) == said
    # Findings as of a later day would refuse it.
    barred = how_to_compute(newest, NOW, NOW)
    assert "tutor-pipeline clear --yes && tutor-pipeline enrich --as-of latest" in barred


def test_nothing_is_nothing_to_compute() -> None:
    assert "nothing to compute" in how_to_compute(None, None, NOW)

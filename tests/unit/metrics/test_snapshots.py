"""Snapshots are written by day, and repaired when what they were made from changes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

AS_OF = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)
SUNDAY = date(2026, 3, 15)


def add(bench: Any, identity: str, tutor: str, day: date, score: float) -> None:
    bench.add(
        "sessions", id=identity, tutor_id=tutor, status="completed",
        scheduled_start=datetime(day.year, day.month, day.day, 10, tzinfo=UTC),
        overall_session_score=score,
    )  # fmt: skip


def snapshots(bench: Any) -> set[tuple[Any, ...]]:
    return {
        (row["tutor_id"], row["period_type"], row["snapshot_date"], row["avg_session_score"])
        for row in bench.rows("select * from {marts}.tutor_performance_snapshots")
    }


@pytest.fixture(scope="module")
def written(bench: Any) -> Any:
    """Two weeks of sessions; snapshots of the Saturday, of the Sunday, and of no other day."""
    for back in range(14):
        add(bench, f"s{back}", "t1", SUNDAY - timedelta(days=back), 8)
    add(bench, "t2", "t2", SUNDAY, 6)
    bench.refresh(AS_OF)
    assert snapshots(bench) == set()
    for day in (SUNDAY - timedelta(days=1), SUNDAY):
        bench.refresh(AS_OF, days=(day, day), select=["tutor_performance_snapshots"])
    return bench


def test_snapshots_are_written_repaired_and_kept(written: Any) -> None:
    saturday, monday = SUNDAY - timedelta(days=1), SUNDAY - timedelta(days=6)
    expected = {
        ("t1", "daily", saturday, 8.0),
        ("t1", "daily", SUNDAY, 8.0),
        ("t1", "weekly", monday, 8.0),
        ("t2", "daily", SUNDAY, 6.0),
        ("t2", "weekly", monday, 6.0),
    }
    assert snapshots(written) == expected

    # The same day again, and a full refresh, change nothing.
    written.refresh(AS_OF, days=(SUNDAY, SUNDAY), select=["tutor_performance_snapshots"])
    written.refresh(AS_OF)
    assert snapshots(written) == expected

    # Late: a session of the Tuesday (in the week, no daily snapshot asked for), one of the
    # Saturday; t2's only session is gone.
    add(written, "tuesday", "t1", SUNDAY - timedelta(days=5), 0)
    add(written, "saturday", "t2", saturday, 4)
    written.execute("delete from {platform}.sessions where id = 't2'")
    written.refresh(AS_OF, tutors=["t1", "t2"], select=["session_rows+"])
    assert snapshots(written) == {
        ("t1", "daily", saturday, 8.0),
        ("t1", "daily", SUNDAY, 8.0),
        ("t1", "weekly", monday, 7.0),
        ("t2", "daily", saturday, 4.0),
        ("t2", "weekly", monday, 4.0),
    }

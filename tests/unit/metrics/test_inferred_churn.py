"""Who is taken to have left where the platform does not tell: at every edge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

AS_OF = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)

WEEKLY, EVERY_20_DAYS = (0, 7, 14, 21), (0, 20, 40)
STUDENTS: dict[str, tuple[int, tuple[int, ...]]] = {
    # Days since the last session, and how long before it the sessions lie.
    "weekly, 45": (45, WEEKLY),
    "weekly, 46": (46, WEEKLY),
    "seldom, 60": (60, EVERY_20_DAYS),
    "seldom, 61": (61, EVERY_20_DAYS),
    "one gap, 57": (57, (0, 90)),
    "one gap, 58": (58, (0, 90)),
    "once, 58": (58, (0,)),
    "once, 20": (20, (0,)),
    "on one day": (46, (0, 0, 0)),
    "usual": (0, (0, 19, 38)),
    "usual too": (3, (0, 19, 38)),
    "pause": (50, (0, 7, 14, 108)),
}
"""The median of the own gaps is 19 days: 7, 7, 20, 20, 0, 19, 19 and 36."""
GONE = {"weekly, 46", "seldom, 61", "one gap, 58", "once, 58", "on one day"}


@pytest.fixture(scope="module")
def filled(bench: Any) -> Any:
    for name, (silent, before) in STUDENTS.items():
        for number, days in enumerate(before):
            bench.add(
                "sessions", id=f"{name} {number}", student_id=name, tutor_id="t1",
                status="completed", scheduled_start=AS_OF - timedelta(days=silent + days),
            )  # fmt: skip
    for name, silent, status in (
        ("only cancelled", 90, "cancelled"),
        ("weekly, 46", 1, "no_show_student"),
        ("weekly, 46", -3, "completed"),
    ):
        bench.add(
            "sessions", id=f"{name} {status}", student_id=name, tutor_id="t1", status=status,
            scheduled_start=AS_OF - timedelta(days=silent),
        )  # fmt: skip
    return bench


def inferred(bench: Any, table: str = "student_aggregates") -> set[str]:
    bench.refresh(AS_OF, select=["+student_aggregates", "+student_aggregates_history"])
    rows = bench.rows(
        f"select student_id from {{marts}}.{table} where is_churn_inferred"
        f" and as_of_date = (select max(as_of_date) from {{marts}}.{table})"
    )
    return {row["student_id"] for row in rows}


def test_silent_for_three_usual_gaps_and_45_days(filled: Any) -> None:
    assert inferred(filled) == GONE
    gaps = {
        row["student_id"]: (row["usual_gap_days"], row["usual_gap_days_n"])
        for row in filled.rows("select * from {marts}.student_aggregates")
    }
    assert gaps["weekly, 46"] == (7, 3)
    assert gaps["seldom, 61"] == (20, 2)
    assert gaps["pause"] == (36, 3)
    assert gaps["one gap, 58"] == (19, 1)
    assert gaps["once, 58"] == gaps["only cancelled"] == (19, 0)


def test_past_weeks_know_what_was_so_then(filled: Any) -> None:
    """On Sunday, three days before, nobody was silent for so long."""
    filled.refresh(AS_OF, select=["+student_aggregates_history"])
    sunday = AS_OF.date() - timedelta(days=3)
    rows = filled.rows(
        "select student_id, days_since_last_session from {marts}.student_aggregates_history"
        " where is_churn_inferred and as_of_date = %s",
        sunday,
    )
    assert rows == []
    filled.refresh(AS_OF + timedelta(days=5), select=["+student_aggregates_history"])
    rows = filled.rows(
        "select student_id from {marts}.student_aggregates_history"
        " where is_churn_inferred and as_of_date = %s",
        sunday + timedelta(days=7),
    )
    # The weekly one came back on the 21st.
    assert {row["student_id"] for row in rows} == (GONE | {"weekly, 45", "seldom, 60"}) - {
        "weekly, 46"
    } | {"one gap, 57"}


def test_what_the_platform_says_counts(filled: Any) -> None:
    """A status is believed where anybody is said to have left; one that pauses always is."""
    told = {"weekly, 46": "active", "seldom, 61": "paused", "usual": "active"}
    filled.insert("students", [{"user_id": name, "status": told.get(name)} for name in STUDENTS])
    assert inferred(filled) == GONE - {"seldom, 61"}
    filled.execute("update {platform}.students set status = 'churned' where user_id = 'usual'")
    assert inferred(filled) == GONE - {"seldom, 61", "weekly, 46"}
    filled.execute("delete from {platform}.students")


def test_where_nobody_has_a_rhythm_nothing_is_inferred(filled: Any) -> None:
    filled.execute(
        "delete from {platform}.sessions where student_id not like 'once%%'"
        " and student_id not like 'one gap%%'"
    )
    assert inferred(filled) == set()

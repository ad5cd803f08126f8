"""What scorers read of a past day holds nothing of what came after it."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tutor_pipeline.core.warehouse.refresh_runs import end_of_day

AS_OF = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)
DAY = AS_OF.date() - timedelta(days=21)
TUTORS = [f"t{number}" for number in range(4)]
LATE = "late"
"""The tutor of a session that was rated after DAY: read_past leaves such rows out."""
CURRENT = [
    *("session_rows", "fct_sessions", "dim_tutors", "dim_students", "int_tutor_days"),
    "tutor_aggregates",
]


def of_tutors(bench: Any) -> list[Any]:
    """The metrics and the features of every tutor as of the end of DAY, as text."""
    return bench.rows(
        "select metrics::text, features::text from {marts}.tutor_aggregates_history as metrics"
        " left join {marts}.tutor_features_history as features using (tutor_id, as_of_date)"
        " where as_of_date = %s and tutor_id <> %s order by tutor_id",
        DAY,
        LATE,
    )


def of_students(bench: Any) -> list[Any]:
    """What weighted_v1 and its refinement read as of DAY, a Sunday before it at the latest."""
    return bench.rows(
        "select rows::text from {marts}.student_aggregates_history as rows"
        " where as_of_date <= %s order by as_of_date, student_id",
        DAY,
    )


def ratings_ever(bench: Any) -> list[Any]:
    """Planted: it knows what was rated later of an earlier session."""
    return bench.rows(
        "select student_id, avg(student_satisfaction_rating)::text from {marts}.fct_sessions"
        " where session_on <= %s group by 1 order by 1",
        DAY,
    )


def sessions_ever(bench: Any) -> list[Any]:
    """Planted: it counts what lies after DAY."""
    return bench.rows("select tutor_id, count(*) from {marts}.fct_sessions group by 1 order by 1")


@pytest.fixture(scope="module")
def told(bench):
    """{builder: (what it gave, what it gives when nothing came after DAY)}."""
    bench.insert("tutors", [{"user_id": tutor} for tutor in TUTORS])
    bench.fill(random.Random(5), TUTORS, 300)
    bench.book()
    builders = (of_tutors, of_students, sessions_ever, ratings_ever)
    # On Monday a student's first session; rated badly, billed and measured the week after.
    began = datetime(DAY.year, DAY.month, DAY.day, 9, tzinfo=UTC) - timedelta(days=DAY.weekday())
    later = began + timedelta(days=8)
    bench.add("tutors", user_id=LATE)
    bench.add(
        "sessions",
        id="rated-later",
        tutor_id=LATE,
        student_id="new",
        scheduled_start=began - timedelta(days=7),
        status="completed",
        tutor_showed_up=True,
    )
    bench.add(
        "session_feedback",
        session_id="rated-later",
        student_satisfaction_rating=1,
        submitted_at=later,
    )
    bench.add(
        "session_billing", session_id="rated-later", amount=10, is_discounted=True, billed_at=later
    )
    bench.add(
        "session_audio_metrics",
        session_id="rated-later",
        student_engagement_score=1,
        created_at=later,
    )

    def build() -> list[list[Any]]:
        bench.refresh(AS_OF, select=CURRENT)
        bench.refresh(AS_OF, select=["student_aggregates_history"])
        bench.execute("drop table if exists {marts}.tutor_aggregates_history cascade")
        end = end_of_day(DAY, bench.warehouse.timezone)
        bench.refresh(end, days=(DAY, DAY), select=["tutor_aggregates_history"])
        bench.refresh(AS_OF, select=["tutor_features_history"])
        return [builder(bench) for builder in builders]

    before = build()
    cut = end_of_day(DAY, bench.warehouse.timezone)
    # A session that had been booked by then was there, and nobody knew what became of it (but
    # where the platform does not say when it was called off).
    bench.execute(
        "delete from {platform}.sessions where scheduled_start > %s"
        " and coalesce(created_at, updated_at, 'infinity') > %s",
        cut,
        cut,
    )
    bench.execute(
        "update {platform}.sessions set status = 'scheduled', updated_at = created_at"
        " where scheduled_start > %s"
        " and (status in ('completed', 'in_progress') or updated_at > %s)",
        cut,
        cut,
    )
    for part in ("audio_metrics", "video_metrics", "transcript_metrics", "feedback"):
        bench.execute(
            f"delete from {{platform}}.session_{part} where session_id not in"
            " (select id from {platform}.sessions)"
        )
    for part, recorded in (
        ("feedback", "submitted_at"),
        ("billing", "billed_at"),
        ("audio_metrics", "created_at"),
    ):
        bench.execute(f"delete from {{platform}}.session_{part} where {recorded} > %s", cut)
    return dict(zip(builders, zip(before, build(), strict=True), strict=True))


def check(told: Any, builder: Callable[[Any], list[Any]]) -> None:
    whole, cut_off = told[builder]
    assert whole, "there is something to compare"
    assert all(value is not None for row in whole for value in row.values())
    assert whole == cut_off


@pytest.mark.parametrize("builder", [of_tutors, of_students])
def test_without_what_came_after_it_is_the_same_byte_for_byte(told, builder):
    check(told, builder)


@pytest.mark.parametrize("planted", [sessions_ever, ratings_ever])
def test_the_check_finds_leakage_that_was_planted(told, planted):
    with pytest.raises(AssertionError):
        check(told, planted)

"""An excused session leaves numerator and exposure of its kinds; a past day counts what was excused
by its end.
"""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.unit.metrics.conftest import EXCUSES
from tutor_pipeline.core.warehouse.refresh_runs import end_of_day
from tutor_pipeline.metrics.catalogue import metric_columns

AS_OF = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)
LAST = AS_OF.date() - timedelta(days=1)
TUTORS = [f"t{number}" for number in range(4)]
CURRENT = [
    *("session_rows", "fct_sessions", "dim_tutors", "int_tutor_days", "tutor_aggregates"),
    *("tutor_evidence", "tutor_features", "platform_metrics", "int_tutor_logins"),
    *("int_import_days", "fct_session_students"),
]
PAST = ["tutor_aggregates_history", "tutor_evidence_history", "tutor_features_history"]
PART_TABLES = (
    *("session_audio_metrics", "session_video_metrics", "session_transcript_metrics"),
    "session_feedback",
)


def start_over(bench: Any, seed: int, sessions: int) -> None:
    bench.execute(
        "truncate {platform}.sessions, {platform}.tutors, {platform}.session_feedback,"
        " {platform}.session_audio_metrics, {platform}.session_transcript_metrics,"
        " {platform}.session_video_metrics, {ops}.refresh_runs, {ops}.history_repairs,"
        " {ops}.session_excuses"
    )
    for table in PAST:
        bench.execute(f"drop table if exists {{marts}}.{table} cascade")
    bench.insert("tutors", [{"user_id": tutor} for tutor in TUTORS])
    bench.fill(random.Random(seed), TUTORS, sessions)


def excuse_some(bench: Any, rng: random.Random, number: int) -> None:
    rows = bench.rows(
        "select id, tutor_id from {platform}.sessions where scheduled_start < %s"
        " and status not in ('scheduled', 'in_progress') order by id",
        AS_OF - timedelta(days=2),
    )
    for row in rng.sample(rows, min(number, len(rows))):
        for _ in range(rng.choice([1, 1, 2])):
            bench.excuse(rng, row["id"], row["tutor_id"], AS_OF)


def rows_of(bench: Any, table: str, names: list[str], day: date) -> dict[str, dict[str, Any]]:
    found = bench.rows(
        f"select tutor_id, {', '.join(names)} from {{marts}}.{table}"
        " where (as_of at time zone 'UTC')::date = %s", day,
    )  # fmt: skip
    return {row["tutor_id"]: row for row in found}


def columns_of(table: str) -> list[str]:
    leave_out = {"tutor_id", "as_of", "is_active", "recorded_until"}
    return [
        name
        for name, column in metric_columns()[table].items()
        if not column.type.endswith("[]") and name not in leave_out
    ]


def excuses_as_of(bench: Any, day: date) -> None:
    """What was excused at the end of the day is what is excused now."""
    until = end_of_day(day, "UTC")
    bench.execute("delete from {ops}.session_excuses where excused_at > %s", until)
    bench.execute(
        "update {ops}.session_excuses set undone_at = null, undone_by = null where undone_at > %s"
        # Two that overlapped after all: one is enough.
        " and not exists (select 1 from {ops}.session_excuses as other where other.undone_at is"
        " null and (other.tutor_id, other.session_id, other.kind) = (session_excuses.tutor_id,"
        " session_excuses.session_id, session_excuses.kind))",
        until,
    )


def check_past_days_count_what_was_excused_by_then(bench: Any, seed: int, ages: list[int]) -> None:
    rng = random.Random(seed)
    start_over(bench, seed, 140)
    excuse_some(bench, rng, 30)
    bench.execute("drop table if exists {ops}.kept_excuses")
    bench.execute("create table {ops}.kept_excuses as select * from {ops}.session_excuses")
    newest = end_of_day(LAST, "UTC")
    bench.refresh(newest, select=CURRENT)
    bench.refresh(newest, days=(LAST - timedelta(days=75), LAST), select=PAST[:1])
    bench.refresh(AS_OF, select=CURRENT)
    bench.refresh(AS_OF, select=[*PAST[1:], "platform_metrics"])
    past = {table: {} for table in [*PAST, "platform_metrics"]}
    days = [LAST - timedelta(days=7 * (age // 7)) for age in ages] + [
        LAST - timedelta(days=age) for age in ages
    ]
    for day in days:
        for table in PAST:
            current = table.removesuffix("_history")
            names = columns_of(current)
            past[table][day] = rows_of(bench, table, names, day)
        past["platform_metrics"][day] = bench.row(
            "select * from {marts}.platform_metrics where metric_date = %s", day
        )
    compared = 0
    for day in days:
        excuses_as_of(bench, day)
        bench.refresh(end_of_day(day, "UTC"), select=CURRENT)
        for table in PAST:
            current = table.removesuffix("_history")
            expected = rows_of(bench, current, columns_of(current), day)
            for tutor, row in past[table][day].items():
                assert row == expected[tutor], (table, day, tutor)
                compared += 1
        platform = bench.row("select * from {marts}.platform_metrics where metric_date = %s", day)
        # Before the first reschedule that is recorded, none is known; today's table knows better.
        knows = platform["reschedule_rate_30d"] is not None
        for name, value in past["platform_metrics"][day].items():
            if knows or not name.startswith("reschedule"):
                assert value == platform[name], (day, name)
        bench.execute("truncate {ops}.session_excuses")
        bench.execute(
            "insert into {ops}.session_excuses overriding system value"
            " select * from {ops}.kept_excuses"
        )
    assert compared
    bench.execute("drop table {ops}.kept_excuses")


@settings(max_examples=1, derandomize=True, database=None,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(seed=st.integers(0, 1000), age=st.integers(1, 60))
def test_past_days_count_what_was_excused_by_then(bench: Any, seed: int, age: int) -> None:
    check_past_days_count_what_was_excused_by_then(bench, seed, [age])


@pytest.mark.long
@pytest.mark.timeout(1800)
@settings(
    max_examples=6, database=None, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(seed=st.integers(0, 10**6), ages=st.lists(st.integers(0, 70), min_size=2, max_size=4))
def test_past_days_count_what_was_excused_by_then_at_length(
    bench: Any, seed: int, ages: list[int]
) -> None:
    check_past_days_count_what_was_excused_by_then(bench, seed, ages)


@pytest.fixture(scope="module")
def taught(bench: Any) -> Any:
    """t0 with 12 sessions in 12 days: two missed, three moved, one not held, three late and poor,
    three good.
    """
    start_over(bench, 0, 0)
    happened = {
        **{f"missed{n}": {"status": "no_show_tutor"} for n in range(2)},
        **{f"moved{n}": {"status": "rescheduled", "rescheduled_by": "tutor"} for n in range(3)},
        "lost": {"status": "not_held"},
        **{
            f"poor{n}": {"status": "completed", "late": 20, "overall_session_score": 3.0}
            for n in range(3)
        },
        **{
            f"good{n}": {"status": "completed", "late": 0, "overall_session_score": 9.0}
            for n in range(3)
        },
    }
    for back, (identity, what) in enumerate(happened.items()):
        start = AS_OF.replace(hour=10) - timedelta(days=back + 1)
        late = what.pop("late", None)
        bench.add(
            "sessions", id=identity, tutor_id="t0", scheduled_start=start, student_id="p1",
            actual_start=None if late is None else start + timedelta(minutes=late),
            tutor_showed_up=late is not None, **what,
        )  # fmt: skip
        if late is not None:
            bench.add(
                "session_feedback", session_id=identity,
                student_satisfaction_rating=2 if late else 5,
            )  # fmt: skip
    return bench


def wide(bench: Any, *excuses: tuple[str, str]) -> dict[str, Any]:
    bench.execute("truncate {ops}.session_excuses")
    for session, kind in excuses:
        bench.execute(
            "insert into {ops}.session_excuses"
            " (tutor_id, session_id, kind, reason, excused_by, excused_at)"
            " values ('t0', %s, %s, 'outage', 'ada', %s)", session, kind, AS_OF,
        )  # fmt: skip
    bench.refresh(AS_OF, select=CURRENT)
    return bench.row("select * from {marts}.tutor_aggregates where tutor_id = 't0'")


def test_without_an_excuse_all_counts(taught: Any) -> None:
    row = wide(taught)
    # One was not held, and nobody says why: how many were missed is not known.
    assert (row["no_show_tutor_30d"], row["no_show_tutor_30d_n"]) == (None, 12)
    assert (row["tutor_reschedules_30d"], row["reschedule_rate_30d_n"]) == (3, 12)
    assert (row["late_count_30d"], row["late_count_30d_n"]) == (3, 6)
    assert (row["avg_session_score_30d"], row["avg_session_score_30d_n"]) == (6, 6)


def test_an_excused_session_leaves_numerator_and_exposure(taught: Any) -> None:
    before = wide(taught)
    row = wide(
        taught, ("lost", "absence"), ("missed0", "absence"), ("moved1", "reschedule"),
        ("poor0", "lateness"), ("poor1", "quality"), ("poor2", "all"), ("good0", "absence"),
    )  # fmt: skip
    assert (row["no_show_tutor_30d"], row["no_show_tutor_30d_n"]) == (1, 8)
    assert row["no_show_rate_30d"] == 1 / 8
    assert row["no_show_session_ids"] == ["missed1"]
    assert (row["tutor_reschedules_30d"], row["reschedule_rate_30d_n"]) == (2, 10)
    assert row["reschedule_rate_30d"] == 2 / 10
    assert row["reschedule_session_ids"] == ["moved0", "moved2"]
    assert (row["late_count_30d"], row["late_count_30d_n"]) == (1, 4)
    assert row["late_session_ids"] == ["poor1"]
    assert (row["avg_session_score_30d"], row["avg_session_score_30d_n"]) == ((3 + 27) / 4, 4)
    assert (row["avg_rating_30d"], row["avg_rating_30d_n"]) == ((2 + 15) / 4, 4)
    assert row["low_score_session_ids"] == ["poor0"]
    # Sessions stay sessions.
    for column in (
        "sessions_30d",
        "sessions_completed_30d",
        "cancelled_30d",
        "completion_rate_30d",
    ):
        assert row[column] == before[column] or column == "cancelled_30d"
    assert (before["cancelled_30d"], row["cancelled_30d"]) == (None, 0)


def test_what_is_undone_counts_again(taught: Any) -> None:
    before = wide(taught)
    assert wide(taught, ("moved0", "all"), ("poor0", "quality")) != before
    taught.execute("update {ops}.session_excuses set undone_at = excused_at, undone_by = 'bea'")
    taught.refresh(AS_OF, select=CURRENT)
    assert taught.row("select * from {marts}.tutor_aggregates where tutor_id = 't0'") == before


@pytest.mark.parametrize("kind", EXCUSES)
def test_the_session_itself_is_told_as_it_was(taught: Any, kind: str) -> None:
    query = "select * from {marts}.fct_sessions where session_id = 'poor0'"
    wide(taught)
    before = taught.row(query)
    wide(taught, ("poor0", kind))
    after = taught.row(query)
    kinds = [kind] if kind != "all" else sorted(set(EXCUSES) - {"all"})
    assert after == before | {"excused_kinds": kinds}

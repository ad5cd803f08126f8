"""A row of history is the wide row as of the end of that day, whatever came later."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from tutor_pipeline.core.warehouse.refresh_runs import end_of_day
from tutor_pipeline.metrics.catalogue import metric_columns

AS_OF = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)
LAST = AS_OF.date() - timedelta(days=1)
TUTORS = [f"t{number}" for number in range(5)]
HISTORY = "tutor_aggregates_history"
WIDE = [
    name
    for name, column in metric_columns()["tutor_aggregates"].items()
    if not column.type.endswith("[]")
]
CURRENT = ["session_rows", "fct_sessions", "dim_tutors", "int_tutor_days", "tutor_aggregates"]


def rows_of(bench: Any, table: str, day: date) -> dict[str, dict[str, Any]]:
    found = bench.rows(
        f"select {', '.join(WIDE)} from {{marts}}.{table} where as_of_date = %s", day
    )
    return {row["tutor_id"]: row for row in found}


def as_it_was(bench: Any, day: date) -> dict[str, dict[str, Any]]:
    """The wide rows of a refresh as of the end of the day."""
    bench.refresh(end_of_day(day, bench.warehouse.timezone), select=CURRENT)
    return rows_of(bench, "tutor_aggregates", day)


def write(bench: Any, first: date, last: date, *options: str) -> None:
    bench.refresh(
        end_of_day(last, bench.warehouse.timezone), days=(first, last), select=[HISTORY, *options]
    )


def start_over(bench: Any, seed: int, sessions: int = 150) -> None:
    bench.execute(
        "truncate {platform}.sessions, {platform}.tutors, {platform}.session_feedback,"
        " {platform}.session_audio_metrics, {platform}.session_transcript_metrics,"
        " {platform}.session_video_metrics, {ops}.refresh_runs, {ops}.history_repairs,"
        " {ops}.session_excuses"
    )
    bench.execute("drop table if exists {marts}.tutor_aggregates_history cascade")
    bench.insert("tutors", [{"user_id": tutor} for tutor in [*TUTORS, "idle"]])
    bench.fill(random.Random(seed), TUTORS, sessions)
    bench.book()


def check_history_equals_the_wide_rows(bench: Any, seed: int, ages: list[int]) -> None:
    start_over(bench, seed)
    compared = {LAST: as_it_was(bench, LAST)}
    write(bench, LAST - timedelta(days=75), LAST)
    compared |= {
        day: as_it_was(bench, day) for age in ages if (day := LAST - timedelta(days=age)) < LAST
    }
    for day, expected in compared.items():
        history = rows_of(bench, HISTORY, day)
        # Who had not joined by then, as far as is known, has no row yet.
        unheard_of = {
            tutor for tutor, row in expected.items() if row["days_since_last_session"] is None
        }
        assert expected.keys() - history.keys() <= unheard_of
        for tutor, row in history.items():
            assert row == expected[tutor], (day, tutor)
        assert history


ages = st.sampled_from([1, 7, 13, 14, 17, 18, 21, 29, 30, 45, 46, 60, 74, 75])


@settings(
    max_examples=1,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(seed=st.integers(0, 1000), age=ages)
def test_history_is_the_wide_row_as_of_the_end_of_each_day(bench: Any, seed: int, age: int) -> None:
    check_history_equals_the_wide_rows(bench, seed, [age])


@pytest.mark.long
@pytest.mark.timeout(1800)
@settings(max_examples=8, database=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10**6), ages=st.lists(ages, min_size=1, max_size=4, unique=True))
def test_history_is_the_wide_row_as_of_the_end_of_each_day_at_length(
    bench: Any, seed: int, ages: list[int]
) -> None:
    check_history_equals_the_wide_rows(bench, seed, ages)


KEPT = [
    *("{platform}.tutors", "{platform}.sessions", "{staging}.session_rows"),
    *("{marts}.fct_sessions", "{marts}.dim_tutors", "{intermediate}.int_tutor_days"),
    *("{marts}.tutor_aggregates", "{marts}.tutor_aggregates_history"),
]


@pytest.fixture(scope="module")
def built(bench: Any) -> Any:
    """t1 with a session a day for four months, t2 with one long ago, t3 who left, and history;
    a copy of every table is kept.
    """
    start_over(bench, 0, sessions=0)
    bench.execute("update {platform}.tutors set active_status = false where user_id = 't3'")
    for back in range(120):
        add(bench, f"s{back}", "t1", LAST - timedelta(days=back), 8)
    add(bench, "old", "t2", LAST - timedelta(days=100), 6)
    add(bench, "last", "t3", LAST - timedelta(days=50), 6)
    bench.refresh(AS_OF, select=CURRENT)
    write(bench, LAST - timedelta(days=95), LAST - timedelta(days=1))
    for number, table in enumerate(KEPT):
        bench.execute(f"create table public.kept_{number} as table {table}")
    return bench


@pytest.fixture
def two_tutors(built: Any) -> Any:
    """The tables as they were built."""
    for number, table in enumerate(KEPT):
        built.execute(f"delete from {table}")
        built.execute(f"insert into {table} table public.kept_{number}")
    built.execute("delete from {ops}.refresh_runs")
    return built


def add(bench: Any, identity: str, tutor: str, day: date, score: float) -> None:
    bench.add(
        "sessions", id=identity, tutor_id=tutor, status="completed", student_id="p1",
        scheduled_start=datetime(day.year, day.month, day.day, 10, tzinfo=UTC),
        overall_session_score=score,
    )  # fmt: skip


def note(bench: Any, tutor: str, day: date) -> None:
    bench.execute(
        "insert into {ops}.history_repairs (tutor_id, changed_on, noted_at)"
        " values (%s, %s, clock_timestamp())"
        " on conflict (tutor_id, changed_on) do update set noted_at = excluded.noted_at",
        tutor,
        day,
    )


def whole(bench: Any) -> list[dict[str, Any]]:
    return bench.rows("select * from {marts}.tutor_aggregates_history order by 1, 2, 3")


def test_those_who_left_are_in_it_from_their_first_session_on(two_tutors: Any) -> None:
    first = LAST - timedelta(days=50)
    days = two_tutors.row(
        "select count(*), min(as_of_date), max(as_of_date) from {marts}.tutor_aggregates_history"
        " where tutor_id = 't3'"
    )
    assert days == {"count": 50, "min": first, "max": LAST - timedelta(days=1)}
    assert not two_tutors.rows("select from {marts}.tutor_aggregates where tutor_id = 't3'")


def test_a_noted_change_is_repaired_from_its_day_on_with_the_next_days(two_tutors: Any) -> None:
    """A late one, which makes a tutor known earlier, and one that moved to another tutor."""
    bench = two_tutors
    late, moved = LAST - timedelta(days=89), LAST - timedelta(days=40)
    add(bench, "late", "t2", late, 2)
    bench.execute("update {platform}.sessions set tutor_id = 't3' where id = 's40'")
    bench.refresh(AS_OF, select=CURRENT)
    for tutor, day in (("t2", late), ("t1", moved), ("t3", moved)):
        note(bench, tutor, day)
    write(bench, LAST, LAST)
    assert bench.rows("select * from {ops}.history_repairs") == []

    patched = whole(bench)
    assert {row["as_of_date"] for row in patched} == {
        LAST - timedelta(days=back) for back in range(96)
    }
    write(bench, LAST - timedelta(days=95), LAST)
    assert patched == whole(bench)
    (after,) = bench.rows(
        "select sessions_completed_all from {marts}.tutor_aggregates_history"
        " where tutor_id = 't2' and as_of_date = %s",
        LAST,
    )
    assert after["sessions_completed_all"] == 2


def test_a_change_noted_again_while_it_is_repaired_stays_noted(two_tutors: Any) -> None:
    bench = two_tutors
    note(bench, "t1", LAST - timedelta(days=3))
    bench.execute(
        "create function {ops}.noted_again() returns trigger language plpgsql as $$ begin"
        " update {ops}.history_repairs set noted_at = clock_timestamp(); return null; end $$"
    )
    bench.execute(
        "create trigger noted_again after insert on {marts}.tutor_aggregates_history"
        " for each statement execute function {ops}.noted_again()"
    )
    try:
        write(bench, LAST, LAST)
        assert len(bench.rows("select * from {ops}.history_repairs")) == 1
    finally:
        bench.execute("drop function {ops}.noted_again() cascade")
    write(bench, LAST, LAST)
    assert bench.rows("select * from {ops}.history_repairs") == []


def test_a_killed_backfill_keeps_its_months_and_the_next_one_finishes(two_tutors: Any) -> None:
    bench = two_tutors
    write(bench, LAST - timedelta(days=95), LAST)
    expected = whole(bench)
    bench.execute("delete from {marts}.tutor_aggregates_history where tutor_id = 't1'")
    # As a kill does: the month in hand is rolled back, what was committed before stays.
    bench.execute(
        "alter table {marts}.tutor_aggregates_history add constraint killed"
        " check (tutor_id <> 't1' or as_of_date < '2026-02-15') not valid"
    )
    with pytest.raises(Exception, match="killed"):
        write(bench, LAST - timedelta(days=95), LAST)
    bench.execute("alter table {marts}.tutor_aggregates_history drop constraint killed")
    kept = bench.row(
        "select max(as_of_date) from {marts}.tutor_aggregates_history where tutor_id = 't1'"
    )
    assert kept["max"] == date(2026, 1, 31)
    assert whole(bench) != expected
    assert [row for row in whole(bench) if row["tutor_id"] != "t1"] == [
        row for row in expected if row["tutor_id"] != "t1"
    ], "the month in hand lost the rows that it had"
    write(bench, LAST - timedelta(days=95), LAST)
    assert whole(bench) == expected


@pytest.mark.parametrize(
    "change",
    [
        "alter table {marts}.tutor_aggregates_history drop column late_rate_30d cascade",
        pytest.param("select 1", marks=pytest.mark.long),
    ],
)
def test_a_table_made_anew_has_every_day_that_the_old_one_had(two_tutors: Any, change: str) -> None:
    bench = two_tutors
    bench.execute(
        "delete from {marts}.tutor_aggregates_history where as_of_date between %s and %s",
        LAST - timedelta(days=60),
        LAST - timedelta(days=20),
    )
    expected = whole(bench)
    bench.execute(change)
    options = ["--full-refresh"] if change == "select 1" else []
    bench.execute("create table {ops}.renamed (transaction xid8 default pg_current_xact_id())")
    bench.execute(
        "create function {ops}.note_rename() returns event_trigger language plpgsql as $$ begin"
        " insert into {ops}.renamed default values; end $$"
    )
    trigger = f"note_rename_{uuid4().hex}"
    bench.execute(
        f"create event trigger {trigger} on ddl_command_end when tag in ('ALTER TABLE')"
        " execute function {ops}.note_rename()"
    )
    try:
        bench.refresh(AS_OF, select=[HISTORY, *options])
        renamed = bench.row(
            "select count(*) as renames, count(distinct transaction) as transactions"
            " from {ops}.renamed"
        )
    finally:
        bench.execute(f"drop event trigger {trigger}")
        bench.execute("drop function {ops}.note_rename")
        bench.execute("drop table {ops}.renamed")
    assert renamed == {"renames": 2, "transactions": 1}, "for a moment nobody could read the table"
    assert whole(bench) == expected


def test_history_and_wide_row_have_the_same_columns_of_the_same_types(two_tutors: Any) -> None:
    def columns(table: str) -> list[dict[str, Any]]:
        return two_tutors.rows(
            "select attname, format_type(atttypid, atttypmod) as type from pg_attribute"
            f" where attrelid = '{{marts}}.{table}'::regclass and attnum > 0 and not attisdropped"
            " and format_type(atttypid, atttypmod) not like '%%[]' order by attnum"
        )

    assert columns(HISTORY) == columns("tutor_aggregates")


@pytest.mark.parametrize(
    ("timezone", "day"),
    [
        pytest.param("America/New_York", date(2026, 3, 8), id="a day of 23 hours"),
        pytest.param(
            "Europe/Berlin", date(2025, 10, 26), id="a day of 25 hours", marks=pytest.mark.long
        ),
    ],
)
def test_a_day_on_which_clocks_change_is_one_day(two_tutors: Any, timezone: str, day: date) -> None:
    """Sessions at 00:30 and 23:30 of the days around it count for their own day, once."""
    bench = replace(two_tutors, warehouse=replace(two_tutors.warehouse, timezone=timezone))
    zone = ZoneInfo(timezone)
    days = [day + timedelta(days=offset) for offset in (-1, 0, 1)]
    bench.execute("truncate {platform}.sessions, {marts}.tutor_aggregates_history")
    for each in days:
        for hour in (0, 23):
            bench.add(
                "sessions", id=f"{each} {hour}", tutor_id="t1", status="completed",
                scheduled_start=datetime(each.year, each.month, each.day, hour, 30, tzinfo=zone),
                overall_session_score=8,
            )  # fmt: skip
    as_it_was(bench, days[-1])
    bench.refresh(
        end_of_day(days[-1], timezone),
        days=(days[0], days[-1]),
        select=[HISTORY, "tutor_performance_snapshots"],
    )
    history = bench.rows(
        "select as_of_date, as_of, sessions_completed_all, last_session_at"
        " from {marts}.tutor_aggregates_history order by as_of_date"
    )
    assert history == [
        {
            "as_of_date": each,
            "as_of": end_of_day(each, timezone),
            "sessions_completed_all": 2 * (number + 1),
            "last_session_at": datetime(each.year, each.month, each.day, 23, 30, tzinfo=zone),
        }
        for number, each in enumerate(days)
    ]
    counted = bench.rows(
        "select snapshot_date, sessions_count from {marts}.tutor_performance_snapshots"
        " where period_type = 'daily' order by 1"
    )
    assert counted == [{"snapshot_date": each, "sessions_count": 2} for each in days]
    assert rows_of(bench, HISTORY, day) == {
        tutor: row for tutor, row in as_it_was(bench, day).items() if tutor == "t1"
    }


def test_a_refresh_does_not_wait_for_a_run_that_writes_days(two_tutors: Any) -> None:
    """A backfill in the middle of its transaction holds rows of both tables. What the refresh
    leaves alone for that, the run of days puts right."""
    bench, now = two_tutors, datetime.now(UTC)
    day = now.date() - timedelta(days=3)
    add(bench, "recent", "t2", day, 8)
    bench.refresh(now, select=CURRENT)
    bench.refresh(now, days=(day, day), select=["tutor_performance_snapshots"])
    bench.execute("update {platform}.sessions set overall_session_score = 1 where id = 'recent'")
    snapshot = (
        "select avg_session_score from {marts}.tutor_performance_snapshots"
        " where period_type = 'daily' and snapshot_date = %s"
    )
    with bench.warehouse.connect() as backfill, psycopg.connect(bench.warehouse.url) as admin:
        for statement in (
            "select pg_advisory_xact_lock(hashtextextended('snapshots marts', 0))",
            "delete from {marts}.tutor_performance_snapshots",
            "delete from {marts}.tutor_aggregates_history",
            "select count(*) from {marts}.dim_tutors, {intermediate}.int_tutor_days",
        ):
            backfill.execute(bench.warehouse.sql(statement))
        name = sql.Identifier(admin.info.dbname)
        # Who meets a lock fails.
        admin.execute(sql.SQL("alter database {} set lock_timeout = '100ms'").format(name))
        admin.commit()
        try:
            bench.refresh(now, tutors=["t1", "t2"], select=CURRENT)
        finally:
            admin.execute(sql.SQL("alter database {} reset lock_timeout").format(name))
        backfill.connection.rollback()
    assert bench.row(snapshot, day) == {"avg_session_score": 8.0}
    tomorrow = day + timedelta(days=1)
    bench.refresh(now, days=(tomorrow, tomorrow), select=["tutor_performance_snapshots"])
    assert bench.row(snapshot, day) == {"avg_session_score": 1.0}

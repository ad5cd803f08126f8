"""dbt on platforms that other people made: other types, missing tables, changes between runs."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse import migrate
from tutor_pipeline.core.warehouse.database import Schemas, Warehouse
from tutor_pipeline.sources.changes import ledger

AS_OF = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)
TUTOR, OTHER = UUID(int=1), UUID(int=2)

FOREIGN = """
create type session_status as enum (
    'scheduled', 'completed', 'no_show_tutor', 'cancelled', 'rescheduled'
);
create table public.sessions (
    id uuid primary key default gen_random_uuid(),
    tutor_id uuid not null,
    scheduled_start timestamp without time zone not null,
    status session_status not null,
    actual_start timestamp without time zone,
    overall_session_score real,
    session_number bigint,
    first_session smallint,
    internal_notes text
);
create table public.session_feedback (
    session_id uuid not null, student_satisfaction_rating text, would_recommend smallint
);
insert into public.sessions (tutor_id, scheduled_start, status, actual_start,
    overall_session_score, session_number) values
    ('00000000-0000-0000-0000-000000000001', '2026-03-17 23:30', 'completed', '2026-03-17 23:40',
        4.2, 1),
    ('00000000-0000-0000-0000-000000000001', '2026-03-16 10:00', 'no_show_tutor', null, null, 2),
    ('00000000-0000-0000-0000-000000000001', 'infinity', 'completed', null, null, 3),
    ('00000000-0000-0000-0000-000000000002', '2026-03-10 10:00', 'completed', null, 9, 9999999999);
insert into public.session_feedback
select id, case session_number when 1 then '4.5' else 'five' end, 1
from public.sessions where status = 'completed';
"""


@pytest.fixture(scope="module")
def foreign(databases: Any, make_bench: Any) -> Any:
    """Another product's public schema: uuid, enum, timestamp without zone, two tables."""
    warehouse = Warehouse(
        databases.create(migrated=False),
        Schemas(prefix="our_", platform="public"),
        timezone="Europe/Berlin",
        platform_timezone="America/New_York",
    )
    migrate.upgrade(warehouse)
    bench = make_bench(warehouse)
    bench.execute(FOREIGN)
    return bench


def catalog(bench: Any) -> list[dict[str, Any]]:
    """Every column, index and trigger of the platform, and how often its rows were written."""
    return bench.rows(
        "select c.relname, c.relkind, a.attname, a.atttypid, a.attnotnull, c.relhastriggers,"
        " pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid)"
        " + pg_stat_get_tuples_deleted(c.oid) as writes"
        " from pg_class as c left join pg_attribute as a on a.attrelid = c.oid"
        " where c.relnamespace = 'public'::regnamespace order by 1, 3"
    )


def test_a_foreign_schema_is_read_as_it_is_and_left_alone(foreign: Any) -> None:
    before = catalog(foreign)
    foreign.refresh(AS_OF)
    assert catalog(foreign) == before

    first, second = foreign.rows(
        "select * from {marts}.fct_sessions where tutor_id = %s order by scheduled_start desc",
        str(TUTOR),
    )
    # 23:30 in New York is 03:30 UTC and 04:30 in Berlin on the next day.
    assert first["scheduled_start"] == datetime(2026, 3, 18, 3, 30, tzinfo=UTC)
    assert first["session_on"] == date(2026, 3, 18)
    assert (first["status"], first["late_minutes"], first["is_late"]) == ("completed", 10, True)
    assert first["session_score"] == 4.2  # a real, not 4.199999809
    assert (first["is_first_session"], first["student_satisfaction_rating"]) == (True, 4.5)
    assert (first["would_recommend"], first["technical_issues"]) == (True, None)
    assert second["status"] == "no_show_tutor"

    bad = foreign.rows(
        "select tutor_id, quarantine_reasons from {staging}.session_rows"
        " where quarantine_reasons <> '{{}}' order by tutor_id"
    )
    assert [(row["tutor_id"], row["quarantine_reasons"]) for row in bad] == [
        (
            str(TUTOR),
            ["scheduled_start_out_of_range", "student_satisfaction_rating_out_of_range"],
        ),
        (str(OTHER), ["session_number_out_of_range", "student_satisfaction_rating_out_of_range"]),
    ]
    wide = foreign.row("select * from {marts}.tutor_aggregates where tutor_id = %s", str(TUTOR))
    assert (wide["sessions_30d"], wide["no_show_tutor_30d"], wide["late_count_30d"]) == (2, 1, 1)
    assert wide["tutor_reschedules_30d"] is wide["avg_engagement_30d"] is None
    assert wide["rebook_rate_90d"] is None


def test_the_platforms_own_migrations_go_through_and_the_next_run_copes(foreign: Any) -> None:
    foreign.execute(
        "alter table public.sessions alter overall_session_score type numeric(4, 2);"
        "alter table public.sessions alter status type varchar(40);"
        "alter table public.sessions drop column actual_start;"
        "alter table public.sessions rename column first_session to is_first_session;"
        "drop table public.session_feedback"
    )
    foreign.refresh(AS_OF, tutors=[str(TUTOR), str(OTHER)])
    row = foreign.row("select * from {marts}.tutor_aggregates where tutor_id = %s", str(TUTOR))
    assert (row["no_show_tutor_30d"], row["late_count_30d"], row["avg_rating_30d"]) == (
        1,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("change", "said", "tutors"),
    [
        (
            "alter table public.sessions rename column status to state",
            "public.sessions.status: completed sessions",
            None,
        ),
        (
            "alter table public.sessions rename column id to number",
            "public.sessions.id: sessions cannot be counted",
            [str(TUTOR)],
        ),
        ("alter table public.sessions rename to lessons", "table public.sessions: every", None),
        (
            "alter table public.sessions alter scheduled_start type text",
            "public.sessions.scheduled_start is text, which cannot be read as timestamptz",
            None,
        ),
        (
            "create table public.session_audio_metrics (session_id uuid)",
            "public.session_audio_metrics.tutor_talk_ratio: talk ratio is not evaluated",
            [str(TUTOR)],
        ),
    ],
)
def test_what_is_missing_is_said_by_name(
    foreign: Any, change: str, said: str, tutors: list[str] | None
) -> None:
    foreign.execute("create schema kept; create table kept.sessions as table public.sessions")
    try:
        foreign.execute(change)
        with pytest.raises(TutorPipelineError) as error:
            foreign.refresh(AS_OF, tutors=tutors, select=["session_rows"])
        assert said in str(error.value)
    finally:
        foreign.execute(
            "drop table if exists public.lessons, public.sessions, public.session_audio_metrics;"
            "create table public.sessions as table kept.sessions; drop schema kept cascade"
        )


def test_only_the_sessions_are_needed(databases: Any, make_bench: Any, tmp_path: Path) -> None:
    bench = make_bench(Warehouse(databases.create()))
    bench.execute(
        "create schema platform; create table platform.sessions"
        " (id text, tutor_id varchar(9), scheduled_start timestamptz, status text);"
        "insert into platform.sessions values ('a', 't1', '2026-03-18 10:00+00', 'completed')"
    )
    bench.refresh(AS_OF)
    wide = bench.row("select * from {marts}.tutor_aggregates")
    assert (wide["tutor_id"], wide["sessions_completed_7d"], wide["sessions_30d"]) == ("t1", 1, 1)
    known = {name for name, value in wide.items() if value not in (None, 0, [])}
    assert known == {
        *("tutor_id", "as_of", "as_of_date", "sessions_completed_all", "last_session_at"),
        *(f"sessions_{days}d" for days in (7, 14, 30, 60, 90)),
        *(f"sessions_completed_{days}d" for days in (7, 14, 30, 90)),
        *("completion_rate_30d", "active_days_30d", "recent_session_ids"),
        *("no_show_tutor_30d_n", "no_show_tutor_90d_n"),
        *(f"reschedule_rate_{days}d_n" for days in (7, 30, 90)),
    }


@pytest.mark.long
def test_people_that_nothing_can_be_known_by_stop_nobody(databases: Any, make_bench: Any) -> None:
    """An id longer than an index takes, and days that no calendar of Python's has."""
    bench = make_bench(Warehouse(databases.create()))
    bench.execute(
        "create schema platform;"
        "create table platform.sessions"
        " (id text, tutor_id text, scheduled_start timestamptz, status text);"
        "create table platform.users (id text, role text, created_at timestamptz);"
        "create table platform.tutors (user_id text, member_since date, last_login timestamptz);"
        "create table platform.students (user_id text, enrolled_since date, churned_date date)"
    )
    endless = "".join(map(str, range(2_000)))
    for person in ("t1", endless):
        bench.add("users", id=person, role="tutor", created_at="infinity")
        bench.add("tutors", user_id=person, member_since="infinity", last_login="-infinity")
        bench.add(
            "students", user_id=person, enrolled_since="0044-03-15 BC", churned_date="infinity"
        )
        bench.add("sessions", id="a", tutor_id=person, scheduled_start=AS_OF, status="completed")
    bench.refresh(AS_OF)
    (tutor,) = bench.rows("select * from {marts}.dim_tutors")
    assert tutor["tutor_id"] == "t1"
    assert tutor["member_since"] is tutor["last_login_at"] is tutor["user_created_at"] is None
    (student,) = bench.rows("select * from {marts}.dim_students")
    assert student["enrolled_since"] is student["churned_date"] is None
    bench.refresh(AS_OF, tutors=["t1"])  # shares a session's id with the endless one


PARTITIONED = """
create domain flag as smallint check (value in (0, 1));
create type session_state as enum ('scheduled', 'completed');
create table public.sessions (
    id bigint generated always as identity,
    tutor_id text not null,
    scheduled_start timestamptz not null,
    status session_state not null,
    actual_start timestamptz,
    first_session boolean generated always as (id = 1) stored,
    overall_session_score numeric generated always as (4.5) stored,
    technical_issues flag
) partition by range (scheduled_start);
create table public.of_february partition of public.sessions
    for values from ('2026-02-01') to ('2026-03-01');
create table public.of_others partition of public.sessions default;
insert into public.sessions (tutor_id, scheduled_start, status, actual_start, technical_issues)
values
    ('t1', '2026-02-20 10:00Z', 'completed', '2026-02-20 10:00Z', 0),
    ('t1', '2026-03-17 10:00Z', 'completed', '2026-03-17 10:20Z', 1);
"""


@pytest.mark.long
def test_partitions_generated_columns_domains_and_an_enum_that_grows(
    databases: Any, make_bench: Any
) -> None:
    warehouse = Warehouse(
        databases.create(migrated=False), Schemas(prefix="our_", platform="public")
    )
    migrate.upgrade(warehouse)
    bench = make_bench(warehouse)
    bench.execute(PARTITIONED)
    bench.refresh(AS_OF)
    with warehouse.connect(autocommit=True) as database:
        ledger.take_all(database, "first", AS_OF)
        ledger.settle(database, "first")
        assert ledger.compare(database, AS_OF, whole=True).changes == 0
    wide = "select sessions_30d, late_count_30d, no_show_tutor_30d"
    wide += " from {marts}.tutor_aggregates"
    assert list(bench.row(wide).values()) == [2, 1, 0]

    bench.execute("alter type session_state add value 'no_show_tutor'")
    bench.execute(
        "create table public.of_april partition of public.sessions"
        " for values from ('2026-04-01') to ('2026-05-01')"
    )
    bench.execute(
        "insert into public.sessions (tutor_id, scheduled_start, status)"
        " values ('t1', '2026-03-18 10:00Z', 'no_show_tutor')"
    )
    with warehouse.connect(autocommit=True) as database:
        assert ledger.compare(database, AS_OF, whole=False).changes == 1
    bench.refresh(AS_OF, tutors=["t1"])
    assert list(bench.row(wide).values()) == [3, 1, 1]


def test_what_does_not_compile_is_named_though_dbt_only_skips_its_readers(
    databases: Any, make_bench: Any
) -> None:
    warehouse = Warehouse(databases.create(migrated=False), Schemas(platform="public"))
    migrate.upgrade(warehouse)
    bench = make_bench(warehouse)
    bench.execute("create table public.sessions (id text, tutor_id text)")
    with pytest.raises(TutorPipelineError) as failed:
        bench.refresh(AS_OF)
    said = str(failed.value)
    assert "the platform lacks what the pipeline needs" in said.splitlines()[0]
    assert "public.sessions.scheduled_start" in said
    assert said.splitlines()[-1].startswith("TUTOR_PLATFORM_SCHEMA names the schema")

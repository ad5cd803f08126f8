"""What a mapping makes of a platform's rows, and what it costs the platform."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.core.warehouse.database import Database, Schemas, Warehouse
from tutor_pipeline.core.warehouse.personal_data import Person, Role
from tutor_pipeline.core.warehouse.platform import ensure_platform
from tutor_pipeline.judgement.quality.suites import load_suites
from tutor_pipeline.sources import losses, relations
from tutor_pipeline.sources.changes import versions
from tutor_pipeline.sources.contract import load_contract
from tutor_pipeline.sources.losses import Limits
from tutor_pipeline.sources.mapping.reading import mapped
from tutor_pipeline.sources.personal_rows import named_in
from tutor_pipeline.sources.platform_check import QUARANTINED, SourceReport, check_source
from tutor_pipeline.sources.relations import UnreadableError
from tutor_pipeline.sources.synthetic.live_player import refuse_others

NOW = datetime(2026, 3, 18, 12, tzinfo=UTC)

SHOP = """
drop schema if exists shop cascade;
create schema shop;
create table shop.lessons (
    "lessonId" uuid primary key default gen_random_uuid(), teacher_id integer not null,
    starts_at timestamp not null, state text, stars numeric, tag text, deleted_at timestamptz
);
create index on shop.lessons (starts_at);
insert into shop.lessons (teacher_id, starts_at, state, stars, tag)
select
    1 + n % 50, timestamp '2026-03-18 07:00' - make_interval(hours => n),
    (array['done', 'gone', 'odd'])[1 + n % 3], n % 11, case when n % 2 = 0 then '50 %' else 'x' end
from generate_series(1, 5000) as n;
analyze shop.lessons;
"""

LESSONS = """
timezone: America/New_York
tables:
  sessions:
    relation: lessons
    where: deleted_at is null
    columns:
      id: lessonId
      tutor_id: teacher_id
      scheduled_start: starts_at
      status: {column: state, values: {done: completed, gone: cancelled}}
"""


@pytest.fixture(scope="module")
def shop(databases: Any) -> Warehouse:
    return Warehouse(databases.create(), Schemas(platform="shop"))


@pytest.fixture
def reading(shop: Warehouse, tmp_path: Path) -> Iterator[Callable[[str], Database]]:
    """`reading(mapping)` opens a connection that reads the shop's tables as the mapping says."""
    with shop.connect() as database:
        database.execute(SHOP.encode())
    opened = []

    def read(text: str) -> Database:
        path = tmp_path / "source.yml"
        path.write_text(text, encoding="utf-8")
        opened.append(mapped(shop, path).connect())
        return opened[-1]

    yield read
    for database in opened:
        database.close()


def rows(database: Database, table: str, columns: str) -> list[Any]:
    return database.execute(
        database.sql(
            f"select distinct {columns} from {{rows}} as r order by 1",
            rows=database.warehouse.platform_table(table),
        )
    ).fetchall()


def test_values_are_renamed_and_others_keep_their_own_name(reading: Any) -> None:
    assert rows(reading(LESSONS), "sessions", "status") == [
        ("cancelled",),
        ("completed",),
        ("odd (not in the mapping)",),
    ]
    assert rows(
        reading(LESSONS.replace("gone: cancelled}", "gone: cancelled}, others: null")),
        "sessions",
        "status",
    ) == [("cancelled",), ("completed",), (None,)]


def test_a_scale_becomes_the_contracts(reading: Any) -> None:
    feedback = """
  session_feedback:
    relation: lessons
    columns:
      session_id: lessonId
      student_satisfaction_rating: {column: stars, scale: [0, 10]}
"""
    found = rows(reading(LESSONS + feedback), "session_feedback", "student_satisfaction_rating")
    assert [float(value) for (value,) in found] == pytest.approx([1 + 0.4 * n for n in range(11)])


def test_rows_that_a_condition_leaves_out_are_not_there(reading: Any) -> None:
    database = reading(LESSONS)
    database.execute("update shop.lessons set deleted_at = now() where teacher_id = 7")
    assert (7,) not in rows(database, "sessions", "tutor_id")
    assert relations.count(database, "sessions") == 4900


def test_texts_with_signs_of_drivers_are_texts(reading: Any) -> None:
    database = reading(LESSONS.replace("deleted_at is null", "tag like '50 %'"))
    assert relations.count(database, "sessions") == 2500
    columns = versions.read_columns(database)
    query = versions.session_versions(database.warehouse, columns)
    found = database.execute(
        query, {"since": NOW - timedelta(days=500), "until": NOW, "recent": NOW}
    ).fetchall()
    assert len(found) == 2500


def test_zones_of_the_file_and_of_a_column(reading: Any) -> None:
    assert relations.newest_completed_session(reading(LESSONS), NOW) == datetime(
        2026, 3, 18, 8, tzinfo=UTC
    )
    of_column = LESSONS.replace(
        "scheduled_start: starts_at", "scheduled_start: {column: starts_at, timezone: UTC}"
    )
    assert relations.newest_completed_session(reading(of_column), NOW) == datetime(
        2026, 3, 18, 4, tzinfo=UTC
    )


def test_what_the_platforms_indexes_promise_holds_for_plain_columns(reading: Any) -> None:
    columns = relations.read_columns(reading(LESSONS), ["sessions", "users"])
    assert columns.keys() == {"sessions"}
    sessions = columns["sessions"]
    assert (sessions["id"].type, sessions["id"].is_unique) == ("uuid", True)
    assert (sessions["status"].type, sessions["tutor_id"].is_unique) == ("text", False)
    same = LESSONS + "  users: {relation: teachers}\n"
    database = reading(same)
    database.execute("create table shop.teachers (id integer primary key, name varchar)")
    users = relations.read_columns(database, ["users"])["users"]
    assert {name: (each.type, each.is_unique) for name, each in users.items()} == {
        "id": ("integer", True),
        "name": ("character varying", False),
    }
    query = """
tables:
  sessions:
    query: |
      select "lessonId" as id, teacher_id as tutor_id, starts_at as scheduled_start, state as status
      from lessons
"""
    assert not relations.read_columns(reading(query), ["sessions"])["sessions"]["id"].is_unique
    unique = query.replace("    query", "    unique: id\n    query")
    assert relations.read_columns(reading(unique), ["sessions"])["sessions"]["id"].is_unique


@pytest.mark.parametrize("by_id", [False, True])
def test_looking_for_changes_uses_the_platforms_indexes(reading: Any, by_id: bool) -> None:
    database = reading(LESSONS)
    columns = versions.read_columns(database)
    query = versions.session_versions(database.warehouse, columns, by_id=by_id)
    (identity,) = database.execute('select min("lessonId"::text) from shop.lessons').fetchone()
    plan = "\n".join(
        line
        for (line,) in database.execute(
            database.sql("explain {query}", query=query),
            {
                "since": versions.BEGINNING if by_id else NOW - timedelta(days=2),
                "until": NOW,
                "recent": NOW - timedelta(days=2),
                "session_ids": [identity],
            },
        )
    )
    assert ("lessons_pkey" if by_id else "lessons_starts_at_idx") in plan, plan


def test_another_mapping_is_no_loss(reading: Any) -> None:
    limits = Limits(0.02, 20, 3)
    database = reading(LESSONS)
    losses.accept(database, NOW, NOW, run_id="r", why="a test", whole=True)
    database.commit()
    half = reading(LESSONS.replace("deleted_at is null", "teacher_id < 20"))
    assert losses.find(half, NOW, limits, whole=True) == []
    losses.accept(half, NOW, NOW, run_id="s", why="a test", whole=True)
    half.commit()
    half.execute("update shop.lessons set teacher_id = 40 where teacher_id < 10")
    assert [loss.kind for loss in losses.find(half, NOW, limits, whole=True)] == ["sessions"]


def test_a_column_that_goes_is_said_with_where_to_look(reading: Any) -> None:
    database = reading(LESSONS)
    database.execute("alter table shop.lessons rename state to phase")
    with pytest.raises(UnreadableError, match=r'sessions.*"?state"? does not exist') as raised:
        versions.read_columns(database)
    assert str(raised.value).splitlines()[-1].endswith("tutor-pipeline check-source")


def test_a_privilege_that_is_missing_is_named(reading: Any, shop: Warehouse) -> None:
    database = reading(LESSONS)
    database.execute(
        "drop role if exists mapped_reader; create role mapped_reader;"
        " grant usage on schema shop to mapped_reader;"
        ' grant select ("lessonId", teacher_id, starts_at, deleted_at) on shop.lessons'
        " to mapped_reader"
    )
    columns = versions.read_columns(database)
    database.execute("set role mapped_reader")
    with pytest.raises(UnreadableError, match=r"may not read shop\.lessons \(state\)"):
        relations.refuse_hidden(database, columns)
    database.rollback()


def test_nothing_is_written_to_a_platform_that_a_mapping_names(reading: Any) -> None:
    database = reading(LESSONS)
    for write in (ensure_platform, refuse_others):
        with pytest.raises(RefusedError, match="unset TUTOR_SOURCE_MAP"):
            write(database)


QUERY = """
tables:
  sessions:
    unique: id
    query: |
      select l.tag as id, l.teacher_id as tutor_id, l.starts_at::date as scheduled_start,
        'completed' as status
      from lessons as l
"""
TUTOR_OR_NONE = "tutor_id: {expression: 'case when teacher_id > 25 then teacher_id end'}"


def checked(database: Database, path: Path) -> SourceReport:
    return check_source(database, load_contract(), NOW, path)


def test_what_would_stop_every_refresh_is_a_problem(reading: Any, tmp_path: Path) -> None:
    path = tmp_path / "source.yml"
    fits = LESSONS.replace("gone: cancelled}", "gone: cancelled, odd: not_held}")
    assert checked(reading(fits), path).problems == []
    # A third of the sessions have a status that is not mapped.
    (problem,) = checked(reading(LESSONS), path).problems
    assert "odd (not in the mapping) (1,667); over 2% of the sessions" in problem
    without = fits.replace("tutor_id: teacher_id", TUTOR_OR_NONE)
    (problem,) = checked(reading(without), path).problems
    assert "tutor_id has no value in 50% of the rows" in problem


def test_a_query_that_is_not_unique_is_a_problem(reading: Any, tmp_path: Path) -> None:
    report = checked(reading(QUERY), tmp_path / "source.yml")
    (problem,) = report.problems
    assert "the mapping says that id of sessions is unique" in problem
    assert any("is a date without a time of day" in remark for remark in report.remarks)


def test_values_beyond_the_contract_are_said(reading: Any, tmp_path: Path) -> None:
    feedback = """
  session_feedback:
    relation: lessons
    columns: {session_id: lessonId, student_satisfaction_rating: stars}
"""
    fits = LESSONS.replace("gone: cancelled}", "gone: cancelled, odd: not_held}")
    report = checked(reading(fits + feedback), tmp_path / "source.yml")
    (said,) = [each for each in report.problems if "student_satisfaction_rating" in each]
    assert " of the rows; the contract allows 1 to 5: sessions with such values go into" in said
    assert "over 2% of the sessions, and every refresh stops. Say in the mapping what they" in said


def test_a_word_that_no_value_of_the_mapping_is_counts_like_an_unknown_status(
    reading: Any, tmp_path: Path
) -> None:
    fits = LESSONS.replace("gone: cancelled}", "gone: cancelled, odd: not_held}")
    column = "rescheduled_by: {column: state, values: {nobody: tutor}}"
    report = checked(
        reading(fits.replace("tutor_id: teacher_id", f"tutor_id: teacher_id\n      {column}")),
        tmp_path / "source.yml",
    )
    (said,) = [each for each in report.problems if "rescheduled_by" in each]
    assert "(not in the mapping)" in said
    assert "in 100% of the rows; the contract allows tutor, student: sessions with" in said


def test_check_source_and_the_suite_stop_at_the_same_share() -> None:
    (threshold,) = [
        check.kwargs["max_value"]
        for suite in load_suites()
        for check in suite.checks
        if check.name == "at_most_2_percent_wait"
    ]
    assert threshold / 100 == QUARANTINED


def test_each_table_that_names_a_person_is_counted(reading: Any) -> None:
    feedback = """
  tutor_subjects:
    relation: lessons
    columns: {tutor_id: teacher_id, subject_id: tag}
"""
    database = reading(LESSONS + feedback)
    assert named_in(database, load_contract(), Person(Role.TUTOR, "7")) == {
        "sessions (shop.lessons)": 100,
        "tutor_subjects (shop.lessons)": 100,
    }

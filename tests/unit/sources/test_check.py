"""What check-source finds in schemas that other people made."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest

from tests.conftest import Databases
from tutor_pipeline.core.warehouse.database import Schemas, Warehouse
from tutor_pipeline.sources import platform_check
from tutor_pipeline.sources.contract import Contract, load_contract
from tutor_pipeline.sources.platform_check import MAX_COUNTED, Gap, SourceReport, check_source

SOURCES = Path(__file__).parents[3] / "dbt_project/models/staging/_platform__sources.yml"
OTHERS_PLATFORM = """
create type {s}.state as enum ('scheduled', 'completed', 'cancelled', 'abandoned');
create domain {s}.score as numeric(4, 2) check (value >= 0);
create table {s}.sessions (
    id uuid primary key default gen_random_uuid(), tutor_id uuid not null,
    scheduled_start timestamp not null, status {s}.state not null,
    overall_session_score {s}.score, session_number smallint
);
create table {s}.people (id uuid primary key, full_name varchar(80));
create view {s}.users as select id, full_name as name, 'tutor'::text as role from {s}.people;
create table {s}.session_feedback (session_id uuid, student_satisfaction_rating numeric(3, 1))
    partition by hash (session_id);
create table {s}.migrations (name text);
"""


@pytest.fixture(scope="module")
def contract() -> Contract:
    return load_contract(SOURCES)


class Live:
    """A schema of somebody else's in the module's database."""

    def __init__(self, warehouse: Warehouse, contract: Contract) -> None:
        self.schema = f"live_{uuid4().hex[:8]}"
        self.warehouse = Warehouse(
            warehouse.url, Schemas(platform=self.schema), platform_timezone="Europe/Berlin"
        )
        self.contract = contract
        self.execute(f"create schema {self.schema}")

    def execute(self, statements: str) -> None:
        with self.warehouse.connect() as database:
            database.execute(statements.replace("{s}", self.schema).encode())

    def check(self, warehouse: Warehouse | None = None) -> SourceReport:
        warehouse = warehouse or self.warehouse
        with warehouse.connect() as database:
            return check_source(database, self.contract, datetime.now(UTC))


@pytest.fixture
def live(warehouse: Warehouse, contract: Contract) -> Live:
    return Live(warehouse, contract)


def test_another_products_schema_is_usable(live: Live) -> None:
    live.execute(OTHERS_PLATFORM)
    live.execute(
        "insert into {s}.sessions (tutor_id, scheduled_start, status) values"
        " (gen_random_uuid(), '2026-07-01 18:00', 'completed'),"
        " (gen_random_uuid(), '2026-07-02 18:00', 'scheduled')"
    )
    report = live.check()
    assert report.problems == []
    assert report.usable
    found = {table.name: table for table in report.tables}
    assert {name: (t.kind, t.rows, t.more) for name, t in found.items()} == {
        "users": ("view", 0, False),
        "sessions": ("table", 2, False),
        "session_feedback": ("partitioned table", 0, False),
    }
    types = {column.name: column.type for column in found["sessions"].columns}
    assert types["id"] == "uuid"
    assert types["overall_session_score"] == "numeric"  # the domain's own type
    assert report.newest_session == datetime(2026, 7, 1, 16, tzinfo=UTC)  # 18:00 in Berlin
    costs = live.contract.table("sessions").column("student_id").costs
    assert Gap("sessions", "student_id", costs) in report.gaps
    assert Gap("tutors", None, live.contract.table("tutors").costs) in report.gaps
    assert [gap for gap in report.gaps if gap.table == "sessions" and gap.column == "id"] == []
    remark, zone = report.remarks
    assert zone.startswith("moments without a zone are read as Europe/Berlin")
    assert "abandoned" in remark
    assert "scheduled" not in remark.split("also has the values")[1]
    assert json.loads(json.dumps(report.as_dict()))["usable"] is True


def test_a_database_that_is_sorted_in_another_way_now_is_said(
    server_url: str, databases: Databases
) -> None:
    name = f"sorted_{uuid4().hex[:8]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        if connection.info.server_version < 170000:
            pytest.skip("this server knows no order of its own")
        connection.execute(
            f"create database {name} template template0 locale_provider builtin"
            " builtin_locale 'C.UTF-8'"
        )
    url = f"{server_url.rsplit('/', 1)[0]}/{name}"
    databases.adopt(url)
    live = Live(Warehouse(url), load_contract(SOURCES))
    live.execute("create table {s}.sessions (id text)")
    assert not [each for each in live.check().remarks if "collation" in each]
    live.execute(f"update pg_database set datcollversion = '0.1' where datname = '{name}'")
    (remark,) = [each for each in live.check().remarks if "collation" in each]
    assert "(0.1, now " in remark
    assert f'reindex database "{name}";' in remark


def test_our_own_platform_has_no_gap(platform_warehouse: Warehouse, contract: Contract) -> None:
    with platform_warehouse.connect() as database:
        report = check_source(database, contract, datetime.now(UTC))
    assert (report.problems, report.gaps) == ([], [])
    # Who teaches one to one lacks nothing without lists of students.
    names = [table.name for table in contract.tables if table.name != "session_students"]
    assert [table.name for table in report.tables] == names
    assert report.remarks == ["the table platform.sessions is empty"]


def test_ids_of_other_rows_are_found_before_they_fill_the_quarantine(live: Live) -> None:
    """Many platforms have a profile with a number of its own, beside the number of the account."""
    live.execute(
        "create table {s}.users (id integer, role text);"
        "create table {s}.tutors (user_id integer);"
        "create table {s}.sessions (id integer, tutor_id integer, student_id integer,"
        " scheduled_start timestamptz, status text);"
        "insert into {s}.users select n, case when n <= 10 then 'tutor' else 'student' end"
        " from generate_series(1, 100) as n;"
        "insert into {s}.tutors values (200);"
        "insert into {s}.sessions select n, 1 + n % 10, 11 + n % 50, now(), 'completed'"
        " from generate_series(1, 200) as n;"
        "insert into {s}.sessions values (201, 200, null, now(), 'completed')"
    )
    assert live.check().problems == []
    live.execute("update {s}.sessions set student_id = 7 where id = 200")
    report = live.check()
    s = live.schema
    assert report.problems == []
    assert (
        f"{s}.sessions.student_id of 1% of the sessions is in no row of {s}.users"
        " (7, for example; are they ids of another table?): these go into quarantine"
    ) in report.remarks
    live.execute("update {s}.sessions set tutor_id = 1000 + tutor_id")
    assert live.check().problems == [
        f"{s}.sessions.tutor_id of 100% of the sessions is in neither {s}.tutors nor"
        f" {s}.users (1001, for example; are they ids of another table?): these go into quarantine;"
        " over 2% of the sessions, and every refresh stops."
        " A mapping says what they are: tutor-pipeline source propose"
    ]
    live.execute(
        "update {s}.sessions set tutor_id = 1, student_id = null;"
        "create table {s}.session_students (session_id integer, student_id integer);"
        "insert into {s}.session_students select id, 500 from {s}.sessions where id <= 50"
    )
    assert live.check().problems == [
        f"{s}.session_students.student_id of 25% of the sessions is in no row of {s}.users"
        " (500, for example; are they ids of another table?): these go into quarantine;"
        " over 2% of the sessions, and every refresh stops."
        " A mapping says what they are: tutor-pipeline source propose"
    ]
    # Who says nothing of people is taken at the word of the sessions.
    live.execute("delete from {s}.users; delete from {s}.tutors")
    assert live.check().problems == []


def test_no_schema_and_an_empty_one(live: Live, warehouse: Warehouse) -> None:
    (problem,) = live.check(Warehouse(warehouse.url, Schemas(platform="nowhere"))).problems
    assert 'no schema "nowhere"' in problem
    report = live.check()
    assert [*report.problems, *report.remarks] == [
        f"the table {live.schema}.sessions is missing: {live.contract.table('sessions').costs}."
        " If the platform calls it otherwise, a mapping says so: tutor-pipeline source propose",
        f'the schema "{live.schema}" has no tables at all',
    ]


def test_missing_required_columns_are_named_with_what_they_are_for(live: Live) -> None:
    live.execute(
        "create table {s}.sessions (id int, tutor_id int, scheduled_start timestamptz);"
        "create table {s}.session_feedback (session_id int)"
    )
    problems = live.check().problems
    assert len(problems) == 2
    assert problems[0].startswith(f"the column {live.schema}.sessions.status is missing: ")
    assert f"{live.schema}.session_feedback.student_satisfaction_rating" in problems[1]


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        ("scheduled_start time", "timestamptz"),
        ("actual_duration interval", "integer"),
        ("technical_issues numeric", "boolean"),
        ("overall_session_score bytea", "double precision"),
    ],
)
def test_types_that_cannot_be_read_are_named(live: Live, column: str, wanted: str) -> None:
    name, _ = column.split()
    other = "" if name == "scheduled_start" else "scheduled_start timestamptz,"
    live.execute(
        f"create table {{s}}.sessions (id int, tutor_id int, {other} status text, {column})"
    )
    (problem,) = live.check().problems
    assert f"{live.schema}.sessions.{name} is " in problem
    assert f"cannot be read as {wanted}" in problem


def test_staging_and_the_check_agree_on_what_is_readable(live: Live) -> None:
    """Text as a number needs PostgreSQL 16, where a text can be asked whether it is one."""
    live.execute(
        "create table {s}.sessions (id int, tutor_id int, scheduled_start date, status text,"
        " actual_duration text)"
    )
    with live.warehouse.connect() as database:
        modern = database.info.server_version >= 160000
    assert live.check().usable == modern


@pytest.fixture
def stranger(live: Live) -> Iterator[tuple[str, Callable[[], SourceReport]]]:
    """A user who has no privilege but to connect, and a check made as that user."""
    role = f"role_{uuid4().hex[:8]}"
    live.execute(f"create role {role} login password 'secret'")
    parts = urlsplit(live.warehouse.url)
    address = f"{role}:secret@{parts.netloc.rpartition('@')[2]}"
    url = urlunsplit(parts._replace(netloc=address))
    theirs = Warehouse(url, live.warehouse.schemas)
    yield role, lambda: live.check(theirs)
    live.execute(f"drop owned by {role}; drop role {role}")


def test_missing_privileges_are_sentences(
    live: Live, stranger: tuple[str, Callable[[], SourceReport]]
) -> None:
    role, check = stranger
    live.execute(
        "create table {s}.sessions (id int, tutor_id int, scheduled_start timestamptz,"
        " status text, grade_level text)"
    )
    (problem,) = check().problems
    assert f'may not look into the schema "{live.schema}"' in problem
    live.execute(f"grant usage on schema {{s}} to {role}")
    (problem,) = check().problems
    assert f"may not read {live.schema}.sessions:" in problem
    live.execute(
        f"grant select (id, tutor_id, scheduled_start, status) on {{s}}.sessions to {role}"
    )
    assert f"may not read {live.schema}.sessions.grade_level" in check().problems[0]
    live.execute(f"grant select on {{s}}.sessions to {role}")
    assert check().usable


def test_a_view_that_fails_is_a_problem_and_the_rest_is_still_checked(live: Live) -> None:
    live.execute(
        "create view {s}.sessions as select 1 as id, 1 as tutor_id,"
        " now() as scheduled_start, (1 / (random() * 0)::int)::text as status;"
        " create table {s}.subjects (id int, name text, category text)"
    )
    report = live.check()
    assert any("division by zero" in problem for problem in report.problems)
    assert "subjects" in {table.name for table in report.tables}


def test_counting_stops_where_nobody_needs_it(live: Live) -> None:
    live.execute(
        "create view {s}.sessions as select n as id, n as tutor_id,"
        " timestamptz '2026-01-01' as scheduled_start, 'completed' as status"
        f" from generate_series(1, {MAX_COUNTED + 5}) as n"
    )
    (table,) = live.check().tables
    assert (table.rows, table.more) == (MAX_COUNTED, True)


@pytest.mark.parametrize(("rows", "more"), [(3, False), (4, True)])
def test_as_many_as_are_counted_are_not_more(
    live: Live, monkeypatch: pytest.MonkeyPatch, rows: int, more: bool
) -> None:
    monkeypatch.setattr(platform_check, "MAX_COUNTED", 3)
    live.execute(
        f"create view {{s}}.students as select n as user_id from generate_series(1, {rows}) as n"
    )
    (table,) = live.check().tables
    assert (table.name, table.rows, table.more) == ("students", 3, more)


def test_checking_changes_nothing(live: Live) -> None:
    live.execute(OTHERS_PLATFORM)
    with live.warehouse.connect() as database:
        database.execute("set default_transaction_read_only = on")
        database.commit()
        assert check_source(database, live.contract, datetime.now(UTC)).usable
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            database.execute("create table public.proof (a int)")

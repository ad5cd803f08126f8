"""What of a session is in its version, on platforms of many shapes."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tutor_pipeline.core.warehouse.database import Schemas, Warehouse
from tutor_pipeline.sources.changes import ledger, versions

PROJECT = Path(__file__).parents[4]
OTHER = {
    "text": "'other'",
    "integer": "7",
    "double precision": "0.7",
    "numeric": "7",
    "boolean": "false",
    "timestamp with time zone": "timestamptz '2026-03-18 01:00+00'",
}


def test_the_parts_are_those_that_staging_joins():
    macro = (PROJECT / "dbt_project" / "macros" / "session_parts.sql").read_text()
    joined = re.findall(r"\['(session_\w+)'|staged\('(session_\w+)'\)", macro)
    assert sorted({part or listed for part, listed in joined}) == sorted(versions.PARTS)


def test_any_id_that_staging_takes_is_one_here():
    macro = (PROJECT / "dbt_project" / "macros" / "contract_checks.sql").read_text()
    (longest,) = re.findall(r"macro max_id_length\(\) -%\} \{\{ return\((\d+)\) \}\}", macro)
    assert int(longest) * 4 == versions.MAX_ID_BYTES


def test_every_column_that_is_read_counts_and_no_other(desk):
    desk.add("S1")
    desk.execute("insert into {platform}.session_students values ('S1', 'who')")
    for part in versions.PARTS:
        if part != "session_students":
            desk.execute(f"insert into {{platform}}.{part} (session_id) values ('S1')")
    kinds = {
        (table, column): kind
        for table, column, kind in desk.rows(
            "select table_name, column_name, data_type from information_schema.columns"
            " where table_schema = 'platform'"
        )
    }
    desk.execute("alter table {platform}.sessions add column unread text")
    before = desk.platform()["T1", "S1"]
    seen = {before}
    for table, columns in versions.contract().items():
        for column in columns:
            if column in ("id", "tutor_id", "session_id"):
                continue
            desk.execute(
                f"update {{platform}}.{table} set {column} = {OTHER[kinds[table, column]]}"
            )
            version = desk.platform()["T1", "S1"]
            assert version not in seen, (table, column)
            assert (version[1] == before[1]) == (table != "sessions"), (table, column)
            seen.add(before := version)
    desk.execute("update {platform}.sessions set unread = 'changed'")
    assert desk.platform()["T1", "S1"] == before
    desk.execute("alter table {platform}.sessions drop column unread")


def test_a_column_that_appears_without_values_changes_nothing(desk):
    desk.add("S1")
    desk.fill()
    desk.execute(
        "alter table {platform}.sessions drop column subject, drop column session_number;"
        " alter table {platform}.session_feedback rename to gone"
    )
    assert desk.compare(whole=True).changes == 0
    desk.execute(
        "alter table {platform}.sessions add column subject text,"
        " add column session_number integer;"
        " alter table {platform}.gone rename to session_feedback"
    )
    assert desk.compare(whole=True).changes == 0


# -- platforms of other shapes ----------------------------------------------------------------

SHAPES = {
    "uuids and enums": """
        create type {p}.state as enum ('completed', 'cancelled');
        create table {p}.sessions (id uuid primary key, tutor_id uuid not null,
            scheduled_start timestamp, status {p}.state);
        create table {p}.session_feedback (session_id uuid primary key, feedback_text text);
        create table {p}.session_audio_metrics (session_id uuid, student_talk_ratio real);
    """,
    "numbers": """
        create table {p}.sessions (id bigint primary key, tutor_id integer,
            scheduled_start timestamptz, status text, subject json, grade_level point);
        create index on {p}.sessions (scheduled_start);
        create table {p}.session_feedback (session_id integer, feedback_text varchar(99));
        create table {p}.session_audio_metrics (session_id bigint unique, student_talk_ratio text);
    """,
    "no promises": """
        create table {p}.sessions (id varchar, tutor_id text, scheduled_start timestamptz,
            status text, subject xml);
        create table {p}.session_feedback (session_id text, feedback_text text);
        create table {p}.session_audio_metrics (session_id text, student_talk_ratio numeric);
    """,
    "collations and domains": """
        create domain {p}.key as text collate "C" check (value <> 'x');
        create table {p}.sessions (id {p}.key primary key, tutor_id char(12) collate "POSIX",
            scheduled_start timestamptz, status varchar(20) collate "ucs_basic");
        create table {p}.session_feedback (session_id text collate "POSIX" primary key,
            feedback_text text);
        create table {p}.session_audio_metrics (session_id char(40) unique,
            student_talk_ratio money);
    """,
    "views, days and no parts": """
        create table {p}.lessons (id text, tutor_id text, day date, status text);
        create view {p}.sessions as
            select id, tutor_id, day as scheduled_start, status from {p}.lessons;
    """,
}


def identity(shape, number):
    if shape == "uuids and enums":
        return f"00000000-0000-0000-0000-{number:012}"
    return str(number)


@pytest.fixture
def strange(request, databases, make_desk):
    warehouse = Warehouse(
        databases.create(), Schemas(platform="their platform"), platform_timezone="Asia/Tokyo"
    )
    desk = make_desk(warehouse)
    desk.execute('create schema "their platform"')
    desk.execute(SHAPES[request.param].replace("{p}", "{platform}"))
    desk.shape = request.param
    return desk


@pytest.mark.parametrize("strange", SHAPES, indirect=True)
def test_a_change_is_found_and_settled_on_any_platform(strange):
    desk = strange
    table = "lessons" if "views" in desk.shape else "sessions"
    start = "day" if "views" in desk.shape else "scheduled_start"

    def add(number, tutor, days):
        moment = (desk.now - timedelta(days=days)).isoformat()
        desk.execute(
            f"insert into {{platform}}.{table} (id, tutor_id, {start}, status) values"
            f" ({named(number)}, {named(tutor)}, '{moment}', 'completed')"
        )

    def named(number):
        return f"'{identity(desk.shape, number)}'"

    for number in range(1, 13):
        add(number, 100 + number % 3, number)
    assert desk.fill().changes == 12
    assert desk.compare(whole=True).changes == 0
    desk.execute(f"update {{platform}}.{table} set status = 'cancelled' where id = {named(4)}")
    desk.execute(f"delete from {{platform}}.{table} where id = {named(5)}")
    add(13, 107, 0.5)
    assert desk.compare().changes == 3
    assert desk.process() == [" ".join(identity(desk.shape, tutor) for tutor in (101, 102, 107))]
    if "no parts" not in desk.shape:
        for part, column in (
            ("feedback", "feedback_text"),
            ("audio_metrics", "student_talk_ratio"),
        ):
            desk.execute(
                f"insert into {{platform}}.session_{part} (session_id, {column})"
                f" values ({named(7)}, '1')"
            )
            assert desk.compare(whole=True).changes == 1, part
            assert len(desk.process()) == 1
    assert desk.ledger() == desk.platform()
    assert desk.compare(whole=True).changes == 0
    assert desk.take_all().changes == 0


@pytest.mark.parametrize(
    "strange", ["numbers", "no promises", "collations and domains"], indirect=True
)
def test_rows_that_are_no_sessions_are_passed_over(strange):
    desk, shape = strange, strange.shape
    desk.execute(
        "insert into {platform}.sessions (id, tutor_id, scheduled_start, status)"
        f" values ('{identity(shape, 1)}', '{identity(shape, 9)}', %s, 'completed')",
        desk.now,
    )
    assert desk.fill().changes == 1
    for number, start in enumerate(["null", "'infinity'", "'-infinity'", "'294276-12-31'"], 20):
        desk.execute(
            "insert into {platform}.sessions (id, tutor_id, scheduled_start, status)"
            f" values ('{identity(shape, number)}', '{identity(shape, 9)}', {start}, 'completed')"
        )
    desk.execute(
        "insert into {platform}.sessions (id, tutor_id, scheduled_start, status)"
        f" values ('{identity(shape, 40)}', null, '{desk.now}', 'completed')"
    )
    if "no promises" in shape:
        for session, tutor in (
            ("null", "'9'"),
            ("repeat('i', 5000)", "'9'"),
            ("'9'", "repeat('t', 5000)"),
        ):
            desk.execute(
                "insert into {platform}.sessions (id, tutor_id, scheduled_start, status)"
                f" values ({session}, {tutor}, '{desk.now}', 'completed')"
            )
    assert desk.compare(whole=True).changes == 0
    desk.execute("update {platform}.sessions set scheduled_start = null")
    assert len(desk.process()) == 1, "one that was a session is none any more"
    assert desk.ledger() == {}


def test_starts_without_a_zone_are_read_in_the_platforms(databases, make_desk):
    warehouse = Warehouse(databases.create(), platform_timezone="America/New_York")
    desk = make_desk(warehouse)
    desk.execute(
        "create schema platform; create table platform.sessions"
        " (id text primary key, tutor_id text, scheduled_start timestamp, status text);"
        " insert into platform.sessions values ('S1', 'T1', '2026-03-18 11:30'),"
        " ('S2', 'T1', '2026-03-18 11:31'), ('S3', 'T1', '2026-03-04 11:30'),"
        " ('S4', 'T1', '2026-03-04 11:31'), ('S5', 'T1', 'infinity'), ('S6', 'T1', '290000-01-01')"
    )
    assert {session: start for (_, session), (start, *_) in desk.platform().items()} == {
        "S1": datetime(2026, 3, 18, 15, 30, tzinfo=UTC),
        # On 4 March it is 16:30, five hours off: a day before the clocks go forward.
        "S3": datetime(2026, 3, 4, 16, 30, tzinfo=UTC),
        "S4": datetime(2026, 3, 4, 16, 31, tzinfo=UTC),
    }


def test_rows_of_one_id_count_together_in_any_order(databases, make_desk):
    desk = make_desk(Warehouse(databases.create()))
    desk.execute(
        "create schema platform; create table platform.sessions"
        " (id text, tutor_id text, scheduled_start timestamptz, status text);"
        " create table platform.session_feedback (session_id text, feedback_text text)"
    )
    rows = [("S1", "T1", 1, "a"), ("S1", "T1", 20, "b"), ("S1", "T1", 2, "c"), ("S1", "T2", 1, "a")]

    def write(rows):
        desk.execute("truncate platform.sessions, platform.session_feedback")
        for session, tutor, days, status in rows:
            desk.execute(
                "insert into platform.sessions values (%s, %s, %s, %s)",
                *(session, tutor, desk.now - timedelta(days=days), status),
            )
            desk.execute("insert into platform.session_feedback values ('S1', %s)", status)

    write(rows)
    desk.fill()
    for order in (rows[::-1], rows[2:] + rows[:2]):
        write(order)
        assert desk.compare(whole=True).changes == 0
    write([*rows, rows[0]])
    assert desk.compare().tutors == 1
    assert desk.process() == ["T1"]
    # What left the window counts no more, whoever looks how far back.
    assert desk.compare(whole=True).changes == 1, "the other's feedback has changed too"
    assert desk.process() == ["T2"]
    assert desk.take_all().changes == 0
    desk.execute("update platform.sessions set status = 'd' where status = 'b'")
    assert desk.compare(whole=True).changes == 0
    assert desk.take_all().changes == 0
    assert desk.ledger() == desk.platform() == desk.platform(ledger.LOOKBACK)

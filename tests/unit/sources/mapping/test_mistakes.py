"""What people get wrong in a mapping: each is named with its line and the nearest right name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Schemas, Warehouse
from tutor_pipeline.sources.mapping.reading import read_map
from tutor_pipeline.sources.mapping.verifying import verify

PLATFORM = """
create schema shop;
create table shop.lessons (
    "lessonId" uuid primary key, teacher_id integer not null, learner_id integer,
    starts_at timestamp not null, ends_at timestamptz, state text not null, stars integer,
    deleted_at timestamptz, is_test boolean not null default false
);
create table shop.people (id integer primary key, full_name text, kind text);
create function shop.note(text) returns text language sql as 'select $1';
"""

GOOD = """
timezone: America/New_York
tables:
  sessions:
    relation: lessons
    where: deleted_at is null and not is_test
    columns:
      id: lessonId
      tutor_id: teacher_id
      scheduled_start: {column: starts_at, timezone: UTC}
      status: {column: state, values: {done: completed, "no": no_show_tutor}}
"""


def sessions(*lines: str) -> str:
    """A mapping of sessions alone, its first line being line 2."""
    return "\n".join(["tables: {sessions: {", *lines, "}}"])


COLUMNS = "columns: {id: lessonId, tutor_id: teacher_id, scheduled_start: starts_at, status: "

# The file, the line, and what the message must have.
IN_THE_FILE = {
    "not YAML": ("tables: [", 2, ["this is not YAML"]),
    "a list": ("- tables", 1, ["must be a mapping"]),
    "unknown key": ("tabels: {}", 1, ["tabels", "did you mean tables?"]),
    "unknown table": (
        GOOD + "  session_feedbak: {relation: lessons}",
        12,
        ["session_feedbak", "did you mean session_feedback?"],
    ),
    "unknown column": (
        GOOD + "      tutr_showed_up: x",
        12,
        ["tutr_showed_up", "did you mean tutor_showed_up?"],
    ),
    "unknown key of a table": (
        sessions("relaton: lessons"),
        2,
        ["relaton", "did you mean relation?"],
    ),
    "unknown key of a column": (
        GOOD.replace("timezone: UTC", "timezon: UTC"),
        10,
        ["timezon", "did you mean timezone?"],
    ),
    "unknown zone": (
        GOOD.replace("America/New_York", "New York"),
        2,
        ["New York", "Europe/Berlin"],
    ),
    "two columns for one": (
        GOOD + "      id: other",
        12,
        ["stands twice, in lines 8 and 12"],
    ),
    "a required column left out": (
        GOOD.replace("      tutor_id: teacher_id\n", ""),
        7,
        ["tutor_id is missing", "every metric is counted per tutor"],
    ),
    "no sessions": ("tables:\n  users: {relation: people}", 1, ["sessions is missing"]),
    "a column and an expression": (
        sessions("relation: lessons,", COLUMNS + "{column: state, expression: state}}"),
        3,
        ["say either column or expression"],
    ),
    "neither": (
        sessions("relation: lessons,", COLUMNS + "{values: {a: completed}}}"),
        3,
        ["say either column or expression"],
    ),
    "a word that the contract does not know": (
        GOOD.replace("done: completed", "done: complete"),
        11,
        ["done becomes complete", "did you mean completed?"],
    ),
    "a scale for a column without bounds": (
        GOOD + "      actual_duration: {column: stars, scale: [0, 10]}",
        12,
        ["actual_duration has no", "bounds"],
    ),
    "a scale of one number": (
        GOOD + "      overall_session_score: {column: stars, scale: [5, 5]}",
        12,
        ["two different numbers"],
    ),
    "a zone of no moment": (
        GOOD + "      student_id: {column: learner_id, timezone: UTC}",
        12,
        ["student_id is no moment"],
    ),
    "an expression that does not end": (
        GOOD + "      student_id: {expression: coalesce(learner_id}",
        12,
        ["no expression near 'learner_id'", "Expecting )"],
    ),
    "two expressions": (
        GOOD + "      student_id: {expression: learner_id; drop table lessons}",
        12,
        ["one expression"],
    ),
    "an aggregate": (
        GOOD + "      student_id: {expression: max(learner_id)}",
        12,
        ["aggregate function", "query"],
    ),
    "a SELECT in an expression": (
        GOOD + "      student_id: {expression: (select min(id) from people)}",
        12,
        ["query"],
    ),
    "a write as an expression": (
        GOOD.replace("deleted_at is null and not is_test", "drop table lessons"),
        6,
        ["only reads"],
    ),
    "a parameter": (
        GOOD.replace("deleted_at is null", "deleted_at > %(since)s"),
        6,
        ["parameter"],
    ),
    "a relation and a query": (
        sessions("relation: lessons,", "query: select 1 as id"),
        1,
        ["say either relation or query"],
    ),
    "a write in a query": (
        sessions("query: 'with gone as (delete from lessons returning id) select id from gone'"),
        2,
        ["only read", "DELETE"],
    ),
    "a query that locks": (
        sessions("query: select id from lessons for update"),
        2,
        ["only read", "FOR UPDATE"],
    ),
    "a query of everything": (sessions("query: select * from lessons"), 2, ["name the columns"]),
    "a column of a query without a name": (
        sessions("query: 'select id, count(*) from lessons group by id'"),
        2,
        ["column 2 has no name"],
    ),
    "no query at all": (
        sessions("query: update lessons set stars = 1"),
        2,
        ["one SELECT", "UPDATE"],
    ),
    "a query without a required column": (
        sessions("query: 'select \"lessonId\" as id, teacher_id as tutor_id from lessons'"),
        2,
        ["scheduled_start is missing"],
    ),
    "a column that the query does not give": (
        sessions(
            "query: 'select \"lessonId\" as lesson, teacher_id, starts_at, state from lessons',",
            "columns: {id: leson, tutor_id: teacher_id, scheduled_start: starts_at, status: state}",
        ),
        3,
        ["the query gives no column leson", "did you mean lesson?"],
    ),
    "unique of a table": (
        sessions("relation: lessons, unique: id"),
        1,
        ["unique is of a query"],
    ),
}

IN_THE_DATABASE = {
    "unknown relation": (GOOD.replace("lessons", "lesson"), 5, ["shop.lesson", "mean lessons?"]),
    "unknown schema": (
        GOOD.replace("lessons", "shopp.lessons"),
        5,
        ["no schema shopp", "mean shop?"],
    ),
    "unknown column": (
        GOOD.replace("teacher_id", "teachr_id"),
        9,
        ["no column teachr_id", "did you mean teacher_id?"],
    ),
    "a column in another case": (
        GOOD.replace("lessonId", "lessonid"),
        8,
        ["no column lessonid", "lessonId"],
    ),
    "mixed case without quotes": (
        GOOD + "      student_id: {expression: 'lessonId::text'}",
        12,
        ["no column lessonid", 'write "lessonId" in double quotes'],
    ),
    "unknown column in a condition": (
        GOOD.replace("is_test", "is_tst"),
        6,
        ["no column is_tst", "did you mean is_test?"],
    ),
    "a condition that is none": (
        GOOD.replace("deleted_at is null and not is_test", "stars"),
        6,
        ["boolean"],
    ),
    "types that do not fit": (
        GOOD + "      student_id: {expression: starts_at + 1}",
        12,
        ["operator does not exist"],
    ),
    "unknown function": (
        GOOD + "      student_id: {expression: upperr(state)}",
        12,
        ["upperr", "does not exist"],
    ),
    "a function that may write": (
        GOOD + "      student_id: {expression: 'nextval(state)'}",
        12,
        ["nextval may change something"],
    ),
    "a function of theirs that may write": (
        GOOD + "      student_id: {expression: 'note(state)'}",
        12,
        ["note may change something"],
    ),
    "a zone of a moment that has one": (
        GOOD + "      actual_start: {column: ends_at, timezone: UTC}",
        12,
        ["has a time zone already"],
    ),
    "a scale of a text": (
        GOOD + "      overall_session_score: {expression: starts_at, scale: [0, 10]}",
        12,
        ["cannot cast"],
    ),
    "our own tables": (
        GOOD.replace("lessons", "marts.fct_sessions"),
        5,
        ["made by the pipeline itself"],
    ),
    "a query of an unknown table": (
        sessions(
            "query: 'select id, tutor_id, scheduled_start, status from lesons'",
        ),
        2,
        ["shop.lesons", "did you mean lessons?"],
    ),
    "a query with an unknown column": (
        sessions(
            "query: 'select l.lesson as id, l.teacher_id as tutor_id, l.starts_at as"
            " scheduled_start, l.state as status from lessons as l'",
        ),
        2,
        ["l.lesson does not exist"],
    ),
}


@pytest.fixture(scope="module")
def shop(databases: Any) -> Iterator[Warehouse]:
    url = databases.create()
    with Warehouse(url).connect() as database:
        database.execute(PLATFORM.encode())
    return Warehouse(url, Schemas(platform="shop"))


def refusal(path: Path, text: str, shop: Warehouse | None = None) -> str:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TutorPipelineError) as raised:
        if shop is None:
            read_map(path)
        else:
            with shop.connect() as database:
                verify(database, path)
    return str(raised.value)


@pytest.mark.parametrize("mistake", IN_THE_FILE)
def test_a_mistake_in_the_file_is_named_with_its_line(mistake: str, tmp_path: Path) -> None:
    text, line, parts = IN_THE_FILE[mistake]
    said = refusal(tmp_path / "source.yml", text)
    assert f"line {line}:" in said
    for part in parts:
        assert part in said


@pytest.mark.parametrize("mistake", IN_THE_DATABASE)
def test_what_does_not_fit_the_database_is_named_with_its_line(
    mistake: str, tmp_path: Path, shop: Warehouse
) -> None:
    text, line, parts = IN_THE_DATABASE[mistake]
    said = refusal(tmp_path / "source.yml", text, shop)
    assert f"line {line}:" in said
    for part in parts:
        assert part in said


def test_every_mistake_is_named_at_once(tmp_path: Path, shop: Warehouse) -> None:
    text = GOOD.replace("teacher_id", "teachr_id").replace("is_test", "is_tst")
    said = refusal(tmp_path / "source.yml", text, shop)
    lines = [line.split(":")[0].strip() for line in said.splitlines()[1:]]
    assert sorted(lines) == ["line 6", "line 9"]


def test_a_good_mapping_is_read(tmp_path: Path, shop: Warehouse) -> None:
    path = tmp_path / "source.yml"
    path.write_text(dedent(GOOD), encoding="utf-8")
    entry = read_map(path).tables["sessions"]
    # Words of YAML stay words: `no` is no false.
    assert entry.columns is not None
    assert entry.columns["status"].values == {"done": "completed", "no": "no_show_tutor"}
    with shop.connect() as database:
        verify(database, path)

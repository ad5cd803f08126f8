"""Drafts of a mapping for the schemas of public products: near enough to correct in minutes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.test_mapped_platforms import GIVEN, PLATFORMS, given
from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Schemas, Warehouse
from tutor_pipeline.sources.mapping.draft.drafting import propose
from tutor_pipeline.sources.mapping.draft.likeness import words_of
from tutor_pipeline.sources.mapping.reading import read_map

PRODUCTS = [
    "cal_com",
    "easy_appointments",
    "moodle_scheduler",
    "odoo",
    "teachworks",
    "twenty",
]
MOST_EDITS = 10


@pytest.fixture
def draft(databases: Any) -> Any:
    def make(*statements: str) -> str:
        url = databases.create()
        with Warehouse(url).connect() as database:
            for statement in statements:
                database.execute(statement.encode())
        with Warehouse(url, Schemas(platform="shop")).connect() as database:
            return propose(database)

    return make


def filled() -> list[str]:
    tutors, sessions = given(5)
    quoted = [
        ", ".join("null" if v is None else f"'{v}'" for v in row) for row in [*tutors, *sessions]
    ]
    return [
        GIVEN,
        "insert into given.tutors values " + ", ".join(f"({row})" for row in quoted[:25]),
        "insert into given.sessions values " + ", ".join(f"({row})" for row in quoted[25:]),
    ]


def edits(draft: str, final: str) -> list[str]:
    """What a person does to a draft: each line that is written, changed or deleted."""
    return [*_edits(yaml.safe_load(draft), yaml.safe_load(final), "")]


def _edits(drafted: Any, wanted: Any, place: str) -> Iterator[str]:
    if isinstance(drafted, dict) and isinstance(wanted, dict):
        for key in drafted.keys() | wanted.keys():
            if key not in wanted:
                yield f"{place}.{key}: deleted"
            else:
                yield from _edits(drafted.get(key), wanted[key], f"{place}.{key}")
    elif isinstance(wanted, dict):
        for key, value in wanted.items():
            yield from _edits(None, value, f"{place}.{key}")
    elif _clauses(drafted) != _clauses(wanted):
        known = _clauses(drafted)
        new = [clause for clause in _clauses(wanted) if clause not in known]
        yield from (f"{place}: {clause}" for clause in new or ["a line deleted"])


def _clauses(text: Any) -> list[str]:
    """A long text by its clauses, however its lines are broken."""
    broken = re.split(r"\b(?=(?:when|else|end|from|select|left|where|and|union)\b)", str(text))
    return [clause for part in broken if (clause := " ".join(part.split()))]


@pytest.mark.parametrize("product", PRODUCTS)
def test_ten_edits_make_a_mapping_of_a_draft(draft: Any, product: str) -> None:
    folder = PLATFORMS
    text = draft(*filled(), folder.joinpath(f"{product}.sql").read_text(encoding="utf-8"))
    final = folder.joinpath(f"{product}.yml").read_text(encoding="utf-8")
    made = edits(text, final)
    assert len(made) <= MOST_EDITS, "\n".join([*made, text])


def test_edits_are_counted() -> None:
    mapping = "tables: {sessions: {relation: lessons, columns: {id: id, status: state}}}"
    assert edits(mapping, mapping) == []
    other = "tables: {sessions: {relation: lessons, where: not gone, columns: {id: key}}}"
    assert len(edits(mapping, other)) == 3


def test_a_draft_of_our_own_names_is_a_mapping(draft: Any, tmp_path: Path) -> None:
    path = tmp_path / "source.yml"
    path.write_text(
        draft(
            "create schema shop",
            "create table shop.lessons (id int primary key, teacher_id int, starts_at timestamptz,"
            " state text, deleted_at timestamptz, is_test boolean)",
            "insert into shop.lessons select n, 1, now(), case when n % 2 = 0 then 'done' else"
            " 'no-show teacher' end from generate_series(1, 10) as n",
        ),
        encoding="utf-8",
    )
    entry = read_map(path).tables["sessions"]
    assert entry.where == "deleted_at is null and is_test is not true"
    assert entry.columns is not None
    assert entry.columns["status"].values == {
        "done": "completed",
        "no-show teacher": "no_show_tutor",
    }


RAILS = """
create schema shop;
create table shop.users (id bigint primary key, email text, first_name text, last_name text);
create table shop.tutors (
    id bigint primary key, user_id bigint references shop.users, hourly_rate numeric, active boolean
);
create table shop.students (id bigint primary key, user_id bigint references shop.users, grade int);
create table shop.lesson_statuses (id int primary key, name text);
create table shop.lessons (
    id bigint primary key, tutor_id bigint references shop.tutors,
    student_id bigint references shop.students, starts_at timestamp, duration interval,
    lesson_status_id int references shop.lesson_statuses, created_at timestamp,
    discarded_at timestamp
);
create table shop.reviews (
    id bigint primary key, reviewable_type text, reviewable_id bigint, stars int, comment text
);
create table shop.payments (
    id bigint primary key, lesson_id bigint references shop.lessons, student_id bigint, status text
);
insert into shop.users select n, 'u' || n, 'A' || n, 'B' || n from generate_series(1, 20) as n;
insert into shop.tutors select n, n, 20, true from generate_series(1, 5) as n;
insert into shop.students select n, n + 5, 7 from generate_series(1, 15) as n;
insert into shop.lesson_statuses values (1, 'Booked'), (2, 'Done'), (3, 'On hold');
insert into shop.lessons
select n, n % 5 + 1, n % 15 + 1, '2026-03-01', '45 min', n % 3 + 1, '2026-03-01', null
from generate_series(1, 30) as n;
insert into shop.reviews
select n, case when n % 2 = 0 then 'Lesson' else 'Tutor' end, n, 5, 'x'
from generate_series(1, 10) as n;
insert into shop.payments select n, n, 1, 'paid' from generate_series(1, 10) as n;
"""


def test_a_draft_follows_keys_names_ids_and_kinds(draft: Any) -> None:
    tables = yaml.safe_load(draft(RAILS))["tables"]
    sessions = tables["sessions"]
    assert sessions["where"] == "discarded_at is null"
    # What a number means stands in the table it refers to; the rest is for a person.
    assert sessions["columns"]["status"] == {
        "column": "lesson_status_id",
        "values": {"1": "scheduled", "2": "completed", "3": "TODO"},
    }
    # Tutors and students have numbers of their own, and their names stand in a third table.
    assert sessions["columns"]["student_id"] == {"expression": "'s' || student_id"}
    assert "from tutors as p left join users as n on n.id = p.user_id" in tables["users"]["query"]
    assert tables["tutors"]["columns"]["user_id"] == "id"
    assert tables["tutors"].get("where") is None
    # Reviews are of lessons and of tutors; payments are no list of who takes part.
    feedback = tables["session_feedback"]
    assert feedback["where"] == "reviewable_type = 'Lesson'"
    assert feedback["columns"]["session_id"] == "reviewable_id"
    assert "session_students" not in tables


def test_what_only_a_person_knows_stops_the_mapping_by_its_line(draft: Any, tmp_path: Path) -> None:
    path = tmp_path / "source.yml"
    path.write_text(
        draft(
            "create schema shop",
            "create table shop.session (id int primary key, teacher int, start_ts timestamptz,"
            " state smallint)",
            "insert into shop.session select n, 1, now(), n % 2 from generate_series(1, 9) as n",
        ),
        encoding="utf-8",
    )
    with pytest.raises(TutorPipelineError, match=r"line 11: .*: 1 becomes TODO, which status"):
        read_map(path)


def test_a_draft_without_a_start_is_a_draft(draft: Any) -> None:
    text = draft(
        "create schema shop",
        "create table shop.lessons (id int primary key, tutor_id int, status text, cancelled bool)",
        "insert into shop.lessons select n, 1, 'accepted', false from generate_series(1, 9) as n",
    )
    columns = yaml.safe_load(text)["tables"]["sessions"]["columns"]
    assert "when cancelled then 'cancelled'" in columns["status"]["expression"]
    assert "# scheduled_start: ?  not found" in text


def test_the_status_of_a_student_is_no_outcome_of_a_session(draft: Any) -> None:
    text = draft(
        "create schema shop",
        "create table shop.students (id int primary key, status text, name text)",
        "create table shop.lessons (id int primary key, tutor_id int, starts_at timestamptz,"
        " status text, student_id int references shop.students)",
        "insert into shop.students values (1, 'Active', 'A'), (2, 'Churned', 'B'), (3, 'new', 'C')",
        "insert into shop.lessons select n, 1, now(), 'done', 1 from generate_series(1, 9) as n",
    )
    assert yaml.safe_load(text)["tables"]["students"]["columns"]["status"] == {
        "column": "status",
        "others": None,
        "values": {"Active": "active", "Churned": "churned"},
    }


@pytest.mark.parametrize(
    ("table", "expression"),
    [
        ("starts timestamp, duration_seconds int", "(duration_seconds / 60)::integer"),
        ("starts timestamp, duration numeric", "(duration * 60)::integer"),
        ("starts timestamp, length interval", "(extract(epoch from length) / 60)::integer"),
        ("starts timestamp, ends timestamp", "(extract(epoch from ends - starts) / 60)::integer"),
        (
            "date date, start_time time, end_time time",
            "(extract(epoch from end_time - start_time) / 60)::integer",
        ),
    ],
)
def test_a_draft_finds_how_long_sessions_are(draft: Any, table: str, expression: str) -> None:
    names = [part.split()[0] for part in table.split(", ")]
    values = {
        "duration_seconds": "3600",
        "duration": "1.5",
        "length": "interval '1 h'",
        "date": "date '2026-03-01'",
        "start_time": "time '09:00'",
        "end_time": "time '10:00'",
    }
    text = draft(
        "create schema shop",
        f"create table shop.lessons (id int primary key, tutor_id int, status text, {table})",
        "insert into shop.lessons select 1, 1, 'done', "
        + ", ".join(values.get(name, "timestamp '2026-03-01 09:00'") for name in names),
    )
    columns = yaml.safe_load(text)["tables"]["sessions"]["columns"]
    assert columns["scheduled_duration"] == {"expression": expression}


def test_a_schema_without_sessions_is_said(draft: Any) -> None:
    with pytest.raises(TutorPipelineError, match="no table of the schema"):
        draft("create schema shop", "create table shop.prices (amount numeric)")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lessonStartsAt", "lesson starts at"),
        ("Tutor ID", "tutor id"),
        ("mdl_scheduler_slots", "mdl scheduler slot"),
        ("HTTPStatus", "http status"),
        ("categories", "category"),
        ("classes", "class"),
    ],
)
def test_names_are_compared_as_words(name: str, words: str) -> None:
    assert words_of(name) == words

"""Drafts of a mapping for the schemas of public products: near enough to correct in minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.test_mapped_platforms import GIVEN, PLATFORMS, given
from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Schemas, Warehouse
from tutor_pipeline.sources.mapping.proposing import propose, words_of
from tutor_pipeline.sources.mapping.reading import read_map

# What the draft has of each: (table, column) → the platform's column.
FOUND = {
    "cal_com": {
        ("sessions", "relation"): "Booking",
        ("sessions", "id"): "id",
        ("sessions", "tutor_id"): "userId",
        ("sessions", "scheduled_start"): "startTime",
        ("sessions", "status"): "status",
        ("users", "relation"): "users",
        ("session_feedback", "student_satisfaction_rating"): "rating",
    },
    "easy_appointments": {
        ("sessions", "relation"): "ea_appointments",
        ("sessions", "id"): "id",
        ("sessions", "tutor_id"): "id_users_provider",
        ("sessions", "student_id"): "id_users_customer",
        ("sessions", "scheduled_start"): "start_datetime",
        ("sessions", "status"): "status",
        ("users", "relation"): "ea_users",
    },
    "odoo": {
        ("sessions", "relation"): "calendar_event",
        ("sessions", "id"): "id",
        ("sessions", "tutor_id"): "user_id",
        ("sessions", "student_id"): "appointment_booker_id",
        ("sessions", "scheduled_start"): "start",
        ("sessions", "status"): "appointment_status",
    },
    "twenty": {
        ("sessions", "relation"): "calendarEvent",
        ("sessions", "id"): "id",
        ("sessions", "scheduled_start"): "startsAt",
        ("sessions", "status"): "lessonOutcome",
    },
    "moodle_scheduler": {
        ("sessions", "relation"): "mdl_scheduler_slots",
        ("sessions", "id"): "id",
        ("sessions", "tutor_id"): "teacherid",
        ("sessions", "scheduled_start"): "to_timestamp(starttime)",
        ("users", "relation"): "mdl_user",
    },
}


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


def entries(text: str) -> dict[tuple[str, str], str]:
    found = {}
    for table, entry in yaml.safe_load(text)["tables"].items():
        found[table, "relation"] = entry["relation"]
        for name, column in (entry["columns"] or {}).items():
            found[table, name] = (
                column
                if isinstance(column, str)
                else column.get("column", column.get("expression"))
            )
    return found


@pytest.mark.parametrize("product", FOUND)
def test_a_draft_finds_the_sessions_of_a_product(draft: Any, product: str) -> None:
    text = draft(*filled(), PLATFORMS.joinpath(f"{product}.sql").read_text(encoding="utf-8"))
    found = entries(text)
    assert {name: found.get(name) for name in FOUND[product]} == FOUND[product], text


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

"""The types of events: each has a schema that is one, and an example that says what it should."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.sources.contract import load_contract
from tutor_pipeline.sources.events.bodies import parse
from tutor_pipeline.sources.events.catalogue import EventType, load_types
from tutor_pipeline.sources.events.reading import read
from tutor_pipeline.sources.events.receiver.pages import example

NOW = datetime(2026, 12, 1, tzinfo=UTC)
TYPES = load_types().types
each_type = pytest.mark.parametrize("kind", TYPES.values(), ids=lambda kind: kind.name)


def validator(kind: EventType) -> Draft202012Validator:
    return Draft202012Validator(kind.schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)


@each_type
def test_its_schema_is_one(kind: EventType) -> None:
    Draft202012Validator.check_schema(kind.schema())
    json.dumps(kind.schema(), allow_nan=False)
    assert kind.says.endswith(".")
    assert all(each.column.description for each in kind.fields.values())


@each_type
def test_its_example_is_valid_and_read_without_reasons(kind: EventType) -> None:
    made = example(kind)
    validator(kind).validate(made["data"])
    assert made["data"].keys() == set(kind.usual) <= kind.fields.keys()
    reading = read(parse(json.dumps(made).encode()), "e", NOW)
    assert reading.reasons == ()
    assert {change.table for change in reading.changes} == {each.table for each in kind.targets}
    assert reading.ignored == ()
    assert all(change.deletes == kind.deletes for change in reading.changes)


def values(kind: EventType) -> Any:
    """Yields data with one field changed to something odd."""
    data = example(kind)["data"]
    for name in kind.fields:
        yield {each: value for each, value in data.items() if each != name}
        for odd in (None, "", "x", "7", "2026-03-02", "2026-03-02T16:00:00Z", "x" * 300, 7, -1, 2.5,
                    10**6, True, [], {}, "1e9"):  # fmt: skip
            yield {**data, name: odd}


@each_type
def test_what_has_no_reasons_is_valid_by_the_schema(kind: EventType) -> None:
    """Who checks against the schema before sending is never stricter than we are, but for enums,
    which we take in any case.
    """
    of = validator(kind)
    for data in values(kind):
        made = json.dumps({**example(kind), "data": data}).encode()
        if read(parse(made), "e", NOW).reasons == ():
            assert [error.message for error in of.iter_errors(data)] == [], data


def test_every_table_that_can_be_written_can_be_deleted_from_or_is_said_otherwise() -> None:
    keys = load_types().keys
    assert set(keys) == {table.name for table in load_contract().tables}
    for table, key in keys.items():
        columns = {column.name for column in load_contract().table(table).columns}
        assert set(key) <= columns


def test_every_column_of_the_contract_can_be_said() -> None:
    said = {
        (target.table, column)
        for kind in TYPES.values()
        for target in kind.targets
        for column in (*target.fields, *target.set)
    }
    all_of_them = {
        (table.name, column.name) for table in load_contract().tables for column in table.columns
    }
    assert said == all_of_them


def test_the_specified_types_are_there() -> None:
    assert TYPES.keys() >= {
        *(f"session.{each}" for each in (
            "scheduled", "started", "completed", "rescheduled", "cancelled", "no_show", "deleted",
            "feedback", "metrics", "billing",
        )),
        "tutor.updated", "tutor.availability", "tutor.left", "student.updated", "student.left",
        *(f"{table}.upserted" for table in (
            "engagement_events", "interventions", "experiments", "experiment_assignments",
            "student_progress", "tutor_certifications", "subjects", "session_students",
        )),
    }  # fmt: skip
    ranks = [TYPES[f"session.{each}"].rank for each in (
        "scheduled", "started", "cancelled", "completed", "deleted")]  # fmt: skip
    assert ranks == sorted(set(ranks))


@pytest.mark.parametrize(
    "text",
    ["", "types: [", "minutes: []\ntypes: {}", "minutes: []\ntypes: {}\ntables: {}\nother: 1",
     "minutes: []\ntables: {}\ntypes: {a: {says: x., targets: [{table: sessions}]}}"],
)  # fmt: skip
def test_a_file_that_is_none_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "types.yml"
    path.write_text(text)
    with pytest.raises(TutorPipelineError, match="types of events"):
        load_types(path)

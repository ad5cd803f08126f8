"""Rows said as events make the same rows again, whatever they hold and whoever applies them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.platform import ensure_session_students
from tutor_pipeline.sources.contract import Column, load_contract
from tutor_pipeline.sources.events import applying, inbox
from tutor_pipeline.sources.events.bodies import canonical, parse
from tutor_pipeline.sources.events.catalogue import load_types
from tutor_pipeline.sources.events.inbox import Incoming
from tutor_pipeline.sources.events.saying import (
    Event,
    UnsayableError,
    deletion_of,
    event_of,
    events_of,
)
from tutor_pipeline.sources.synthetic import Parameters, generate
from tutor_pipeline.sources.synthetic.load import load
from tutor_pipeline.sources.synthetic.rows import rows_of

NOW = datetime(2026, 11, 20, tzinfo=UTC)
SINCE = datetime(2000, 1, 1, tzinfo=UTC)
TABLES = [table.name for table in load_contract().tables]

Rows = Mapping[str, list[dict[str, Any]]]


class Platform:
    """A platform's tables, and what events make of them."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        with warehouse.connect() as database:
            ensure_session_students(database)
            self.types = {
                (table, column): kind
                for table, column, kind in database.execute(
                    "select table_name::text, column_name::text, data_type::text"
                    " from information_schema.columns where table_schema = 'platform'"
                )
            }
            self.needed = set(
                database.execute(
                    "select table_name::text, column_name::text from information_schema.columns"
                    " where table_schema = 'platform' and is_nullable = 'NO'"
                )
            )

    def clear(self) -> None:
        with self.warehouse.connect() as database:
            names = ", ".join(f"{{platform}}.{table}" for table in TABLES)
            database.execute(
                f"truncate {names}, {{ops}}.event_inbox, {{ops}}.event_versions, {{ops}}.quarantine"
            )

    def fill(self, rows: Rows) -> None:
        with self.warehouse.connect() as database:
            for table, several in rows.items():
                for row in several:
                    values = {
                        name: Jsonb(value)
                        if self.types[table, name] == "jsonb" and value is not None
                        else value
                        for name, value in row.items()
                    }
                    database.execute(
                        f"insert into {{platform}}.{table} ({', '.join(row)})"
                        f" values ({', '.join(f'%({name})s' for name in row)})",
                        values,
                    )

    def rows(self) -> Rows:
        """All rows as Python has them."""
        with self.warehouse.connect(row_factory=psycopg.rows.dict_row) as database:
            return {
                table: database.execute(f"select * from {{platform}}.{table}").fetchall()
                for table in TABLES
            }

    def stored(self) -> dict[str, list[str]]:
        """All rows as JSON, to the last digit. JSON has neither -0 nor, as we bring it to one form,
        1.0.
        """
        with self.warehouse.connect() as database:
            return {
                table: sorted(
                    canonical(row)
                    for (row,) in database.execute(
                        f"select to_jsonb(t) from {{platform}}.{table} as t"
                    )
                )
                for table in TABLES
            }

    def apply(self, events: list[Event]) -> list[str]:
        made = [Incoming("shop", each["id"], parse(json.dumps(each).encode())) for each in events]
        with self.warehouse.connect() as database:
            answers = [str(each) for each in inbox.store(database, made)]
        with self.warehouse.connect(autocommit=True) as database:
            while applying.apply_waiting(database, NOW).is_more:
                pass
        return answers

    def not_applied(self) -> list[tuple[str, str, list[str]]]:
        with self.warehouse.connect() as database:
            return database.execute(
                "select body, state, reasons from {ops}.event_inbox where state <> 'applied'"
            ).fetchall()


@pytest.fixture(scope="module")
def platform(platform_warehouse: Warehouse) -> Platform:
    return Platform(platform_warehouse)


@pytest.fixture(autouse=True)
def cleared(request: pytest.FixtureRequest) -> Iterator[None]:
    if "platform" in request.fixturenames:
        request.getfixturevalue("platform").clear()
    yield


def said(rows: Rows) -> list[Event]:
    return list(events_of(rows, now=NOW, since=SINCE))


@pytest.fixture(scope="module")
def generated() -> Rows:
    population = generate(Parameters(end=date(2026, 11, 19), tutors=20, days=20))
    return {table: list(rows_of(table, each)) for table, each in population.platform.items()}


def test_a_generated_platform_comes_back_equal(platform: Platform, generated: Rows) -> None:
    with platform.warehouse.connect() as database:
        load(database, generate(Parameters(end=date(2026, 11, 19), tutors=20, days=20)))
    before, from_tables = platform.stored(), said(platform.rows())
    for events in (said(generated), from_tables):
        platform.clear()
        random.Random(5).shuffle(events)
        assert set(platform.apply(events)) == {"accepted"}
        assert platform.not_applied() == []
        assert platform.stored() == before
    assert all(rows for table, rows in before.items() if table != "session_students")


def test_what_is_said_twice_is_a_duplicate(platform: Platform, generated: Rows) -> None:
    events = said(generated)
    platform.apply(events)
    before = platform.stored()
    assert set(platform.apply(said(generated))) == {"duplicate"}
    assert platform.stored() == before
    assert len({each["id"] for each in events}) == len(events)
    assert all(re.fullmatch(r"evt_[0-9a-f]{32}", each["id"]) for each in events)


def test_few_events_say_a_platform(generated: Rows) -> None:
    events = said(generated)
    kinds = [each["type"] for each in events]
    assert kinds.count("tutor.updated") == len(generated["tutors"])
    assert kinds.count("student.updated") == len(generated["students"])
    parts = ("audio", "video", "screen", "transcript")
    measured = {row["session_id"] for part in parts for row in generated[f"session_{part}_metrics"]}
    assert kinds.count("session.metrics") == len(measured)
    # The accounts of administrators alone have no profile.
    assert kinds.count("users.upserted") == 2


def test_an_event_happened_when_its_row_can_have_been_written(generated: Rows) -> None:
    written = {row["id"]: row["updated_at"] for row in generated["sessions"]}
    for each in said(generated):
        at = datetime.fromisoformat(each["timestamp"])
        assert SINCE <= at < NOW
        assert at.utcoffset() == timedelta(0)
        kind, data = each["type"], each["data"]
        if kind.startswith("session.") and kind.removeprefix("session.") not in (
            "metrics", "feedback", "billing",
        ):  # fmt: skip
            assert at == written[data["session_id"]]
        elif kind.startswith("session_"):
            assert at == written[data["session_id"]], "a part that says no time has the session's"
        elif kind == "session.feedback":
            assert at == datetime.fromisoformat(data["submitted_at"])
    (subject,) = said({"subjects": generated["subjects"][:1]})
    assert datetime.fromisoformat(subject["timestamp"]) == SINCE


_STRANGE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
_JSON = st.recursive(
    st.booleans() | st.integers(-(10**6), 10**6) | _STRANGE | st.floats(-1e6, 1e6),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(_STRANGE, each, max_size=3),
    max_leaves=5,
)
_ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))])
_MOMENTS = st.datetimes(datetime(2000, 1, 2), datetime(2030, 1, 1), timezones=_ZONES)


def _values(column: Column, kind: str) -> st.SearchStrategy[Any]:
    """Values that a column of a type may have."""
    low, high = column.minimum or 0, 99 if column.maximum is None else column.maximum
    dates = st.dates(date(2000, 1, 2), date(2030, 1, 1))
    if column.accepted:
        return st.sampled_from(column.accepted)
    if column.type == "date" and kind != "date":
        return dates.map(lambda each: datetime(each.year, each.month, each.day, tzinfo=UTC))
    return {
        "integer": st.integers(int(low), int(high)),
        "double precision": st.floats(low, high),
        "numeric": st.decimals(Decimal(str(low)), Decimal(str(high)), places=2),
        "boolean": st.booleans(),
        "date": dates,
        "timestamp with time zone": _MOMENTS,
        "jsonb": _JSON,
        # What names something is not empty.
        "text": _STRANGE.filter(len) if column.name.endswith("_id") else _STRANGE,
    }[kind]


_PEOPLE = {"tutor": ["T1", "T2"], "student": ["P1", "P 2/%"]}
_IDS = {
    "tutor_id": st.sampled_from(_PEOPLE["tutor"]),
    "student_id": st.sampled_from(_PEOPLE["student"]),
    "session_id": st.sampled_from(["S1", "S2"]),
}


@st.composite
def platforms(draw: Callable[..., Any], of: Platform) -> Rows:
    """Rows of every table, any value empty where it may be; everybody with an account."""
    found: dict[str, list[dict[str, Any]]] = {}
    keys = load_types().keys
    fixed = {
        "users": ["T1", "T2", "P1", "P 2/%", "A1", "T3"],
        "tutors": ["T1", "T2", *draw(st.sampled_from([[], ["P1"]]))],
        "students": _PEOPLE["student"],
        "sessions": ["S1", "S2"],
    }
    for table in load_contract().tables:
        key = keys[table.name]
        places = fixed.get(table.name) or range(draw(st.integers(0, 2)))
        made = {}
        for place in places:
            row = {}
            for column in table.columns:
                values = _values(column, of.types[table.name, column.name])
                if column.name in key:
                    if column.name in _IDS:
                        values = _IDS[column.name]
                    elif not column.accepted and column.type != "date":
                        values = st.just(str(place))
                elif column.name in _IDS and column.name != "student_id":
                    values = _IDS[column.name]
                elif (table.name, column.name) not in of.needed:
                    values = st.none() | values
                row[column.name] = draw(values)
            made[tuple(str(row[each]) for each in key)] = row
        found[table.name] = list(made.values())
    return found


@settings(max_examples=40, phases=[Phase.explicit, Phase.reuse, Phase.generate],
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(st.data(), st.randoms(use_true_random=False))
def test_any_rows_come_back_equal(
    platform: Platform, data: st.DataObject, chance: random.Random
) -> None:
    platform.clear()
    platform.fill(data.draw(platforms(platform)))
    before, events = platform.stored(), said(platform.rows())
    platform.clear()
    chance.shuffle(events)
    platform.apply(events)
    assert platform.not_applied() == []
    assert platform.stored() == before
    assert all(datetime.fromisoformat(each["timestamp"]) < NOW for each in events)


def test_an_update_to_nothing_empties_the_column(platform: Platform) -> None:
    people = said({"tutors": [{"user_id": "T1"}], "users": [{"id": "T1", "role": "tutor"}]})
    row = {"id": "S1", "tutor_id": "T1", "status": "completed", "subject": "Art",
           "scheduled_start": NOW - timedelta(days=2)}  # fmt: skip
    platform.apply([*people, event_of("sessions", row, NOW - timedelta(hours=2))])
    platform.apply([event_of("sessions", {**row, "subject": None}, NOW - timedelta(hours=1))])
    assert platform.rows()["sessions"][0]["subject"] is None


@pytest.mark.parametrize(
    ("table", "row", "kind"),
    [
        *(("sessions", {"id": "S1", "status": status}, f"session.{kind}") for status, kind in {
            "scheduled": "scheduled", "in_progress": "started", "completed": "completed",
            "rescheduled": "rescheduled", "cancelled": "cancelled", "no_show_tutor": "no_show",
            "no_show_student": "no_show", "not_held": "no_show",
        }.items()),
        *((f"session_{part}_metrics", {"session_id": "S1"}, "session.metrics")
          for part in ("audio", "video", "screen", "transcript")),
        ("session_feedback", {"session_id": "S1"}, "session.feedback"),
        ("session_billing", {"session_id": "S1"}, "session.billing"),
        ("tutors", {"user_id": "T1", "hourly_rate": None}, "tutor.updated"),
        ("students", {"user_id": "P1", "status": "churned"}, "student.updated"),
        ("users", {"id": "T1", "role": "tutor"}, "tutor.updated"),
        ("users", {"id": "P1", "role": "student"}, "student.updated"),
        ("users", {"id": "A1", "role": "admin"}, "users.upserted"),
        ("tutor_availability", {"tutor_id": "T1", "week_start": date(2026, 1, 5)},
         "tutor.availability"),
        ("student_churn_reasons", {"student_id": "P1", "reason": "other"},
         "student_churn_reasons.upserted"),
        *((table, dict.fromkeys(key, "1"), f"{table}.upserted")
          for table, key in load_types().keys.items()
          if f"{table}.upserted" in load_types().types and table != "users"),
    ],
)  # fmt: skip
def test_a_row_is_said_by_its_type(table: str, row: dict[str, Any], kind: str) -> None:
    assert event_of(table, row, NOW)["type"] == kind


def test_who_did_not_come_is_said() -> None:
    said = event_of("sessions", {"id": "S1", "status": "no_show_tutor"}, NOW)
    assert said["data"] == {"session_id": "S1", "status": "no_show_tutor"}
    assert "status" not in event_of("sessions", {"id": "S1", "status": "cancelled"}, NOW)["data"]


def test_what_is_gone_is_said() -> None:
    gone = deletion_of("sessions", {"id": "S1", "subject": "Art"}, NOW)
    assert (gone["type"], gone["data"]) == ("session.deleted", {"session_id": "S1"})
    tag = {"session_id": "S1", "tag": "kind"}
    gone = deletion_of("session_feedback_tags", tag, NOW)
    assert (gone["type"], gone["data"]) == ("session_feedback_tags.deleted", tag)
    with pytest.raises(UnsayableError, match="a row of tutors is gone"):
        deletion_of("tutors", {"user_id": "T1"}, NOW)


@pytest.mark.parametrize("row", [{"id": "S1"}, {"id": "S1", "status": "lost"}])
def test_a_session_of_no_known_status_is_not_said(row: dict[str, Any]) -> None:
    with pytest.raises(UnsayableError, match="no event says this row of sessions"):
        event_of("sessions", row, NOW)


def test_values_are_said_without_loss() -> None:
    row = {
        "user_id": UUID(int=7),
        "hourly_rate": Decimal("12345678901234567890.10"),
        "reliability_score": 0.1,
        "last_login": datetime(2026, 1, 1, 12),
        "member_since": date(2026, 1, 1),
        "shoe_size": 43,
    }
    assert event_of("tutors", row, NOW)["data"] == {
        "tutor_id": "00000000-0000-0000-0000-000000000007",
        "hourly_rate": "12345678901234567890.10",
        "reliability_score": 0.1,
        "last_login": "2026-01-01T12:00:00+00:00",
        "member_since": "2026-01-01",
    }
    assert event_of("tutors", {"user_id": "T", "hourly_rate": float("nan")}, NOW)["data"][
        "hourly_rate"
    ] == "nan"  # fmt: skip
    with pytest.raises(TypeError):
        event_of("tutors", {"user_id": b"T"}, NOW)

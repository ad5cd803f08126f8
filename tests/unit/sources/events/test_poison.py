"""Events that are odd, early or break the applying hold nobody else up."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.unit.sources.events.lives import Event, apply, clear, in_peace, platform, states, store
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.sources.events import applying
from tutor_pipeline.sources.events.catalogue import load_types
from tutor_pipeline.sources.events.reading import Reading, read
from tutor_pipeline.sources.events.receiver.pages import example

NOW = datetime(2026, 3, 3, tzinfo=UTC)
PRIVATE = "ada@example.org"


@pytest.fixture(autouse=True)
def cleared(platform_warehouse: Warehouse) -> None:
    clear(platform_warehouse)


def event(id_: str, kind: str, at: datetime = NOW, **data: Any) -> Event:
    return {"id": id_, "type": kind, "timestamp": at.isoformat(), "data": data}


def tutors(warehouse: Warehouse) -> list[str]:
    return [row["user_id"] for row in platform(warehouse)["tutors"]]


def of_tutors(number: int) -> list[Event]:
    return [event(f"e{at}", "tutor.updated", tutor_id=f"T{at}", name="n") for at in range(number)]


def breaking(reading: Reading) -> Reading:
    raise RecursionError("a fault of ours")


def emptying(reading: Reading) -> Reading:
    """PostgreSQL refuses the row."""
    changes = [
        replace(each, fields={**each.fields, "role": None}) if each.table == "users" else each
        for each in reading.changes
    ]
    return replace(reading, changes=tuple(changes))


@pytest.mark.parametrize("fault", [breaking, emptying])
@pytest.mark.parametrize("bad", [[0], [7], [12, 13, 29], list(range(30))], ids=str)
def test_what_breaks_the_applying_is_set_aside(
    platform_warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Any,
    bad: list[int],
) -> None:
    """The other events of its batch are applied, and later ones."""
    poison = {f"shop/e{at}" for at in bad}
    # Each person is there, so that an empty role is an update.
    before = NOW - timedelta(days=1)
    in_peace(
        platform_warehouse,
        [
            event(f"u{at}", "users.upserted", before, id=f"T{at}", role="tutor", email=PRIVATE)
            for at in range(30)
        ],
    )

    def read_wrongly(body: Any, event_id: str, now: datetime) -> Reading:
        reading = read(body, event_id, now)
        return fault(reading) if event_id in poison else reading

    with monkeypatch.context() as patched, caplog.at_level(logging.ERROR):
        patched.setattr(applying, "read", read_wrongly)
        in_peace(platform_warehouse, of_tutors(30))
    assert sorted(tutors(platform_warehouse)) == sorted(
        f"T{at}" for at in range(30) if at not in bad
    )
    found = {id_: state for id_, (state, _) in states(platform_warehouse).items()}
    for at in range(30):
        assert found[f"e{at}"] == ("dead" if at in bad else "applied")
    with platform_warehouse.connect() as database:
        errors = database.rows("select error from {ops}.event_inbox where state = 'dead'")
        assert all(0 < len(row["error"]) <= 500 for row in errors)
        # PostgreSQL repeats the row that it refuses, with what it says of people.
        assert PRIVATE not in str(errors) + caplog.text
    assert len([each for each in caplog.records if "cannot be applied" in each.message]) == len(bad)
    # Once it is mended, they are applied as any others.
    with platform_warehouse.connect(autocommit=True) as database:
        applying.replay(database, NOW)
    assert len(tutors(platform_warehouse)) == 30
    assert {state for state, _ in states(platform_warehouse).values()} == {"applied"}


EDGES: dict[str, list[Any]] = {
    "text": ["", " ", "x" * 19_000, "é\U0001f600" * 500, "\u0001", "'; drop table x; --", "\\N"],
    "timestamptz": ["1900-01-01", "2199-12-31T23:59:59.999999Z", "2026-03-02T16:00:00+14:00"],
    "date": ["1900-01-01", "2199-12-31"],
    "integer": [2**31 - 1, -(2**31) + 1, 0, "2147483647"],
    "double precision": [1e300, -1e300, 5e-324, 10**299, "1e299", 0.1, 1e308, 99.99, 99.995,
                         9_999.99, 9_999.995, 100],
    "numeric": [1e9, 999_999.99, 999_999.994, 999_999.995, 99_999_999.99, 99_999_999.995, 1e-300,
                1e300, "99999999.989999999999999"],
    "boolean": [True, False],
    "jsonb": [None, "", 0, [], {"a": [1.5, None, "é"]}, 10**400, 1e300, 5e-324, [[]] * 50],
}  # fmt: skip


def of_odd_values() -> list[Event]:
    """An event for each odd value of each field of each type, about a row of its own."""
    made = []
    for kind in load_types().types.values():
        usual = example(replace(kind, usual=tuple(kind.fields)))["data"]
        for field in kind.fields.values():
            ids = ["x" * 255, "\U0001f600" * 255, "%/" * 127, "'"] if field.is_id else []
            for value in [None, *EDGES[field.column.type], *ids, *field.accepted]:
                at = NOW - timedelta(days=1)
                number = len(made)
                data = {
                    name: f"{each.name}-{number}" if each.is_id else usual[name]
                    for name, each in kind.fields.items()
                    if each.is_key or each.is_required or (number % 2 and not each.is_id)
                }
                data[field.name] = value
                made.append(event(f"e{number}", kind.name, at, **data))
    return made


def test_no_value_breaks_the_applying(platform_warehouse: Warehouse) -> None:
    """What cannot be stored has a reason instead."""
    events = of_odd_values()
    with platform_warehouse.connect() as database:
        # Whoever they name is there, so that their rows are written.
        for table, key, names in (
            ("tutors", "user_id", "tutor_id"), ("users", "id", "tutor_id"),
        ):  # fmt: skip
            rest = (", role", ", 'tutor'") if table == "users" else ("", "")
            database.execute(
                f"insert into {{platform}}.{table} ({key}{rest[0]})"
                f" select distinct id{rest[1]} from unnest(%s::text[]) as new (id)"
                " on conflict do nothing",
                ([str(each["data"][names]) for each in events
                  if 0 < len(str(each["data"].get(names) or "")) < 256],),
            )  # fmt: skip
        database.execute(
            "insert into {platform}.sessions (id, tutor_id, scheduled_start, status)"
            " select distinct id, 'T1', now(), 'scheduled' from unnest(%s::text[]) as new (id)",
            ([str(each["data"]["session_id"]) for each in events
              if 0 < len(str(each["data"].get("session_id") or "")) < 256],),
        )  # fmt: skip
    assert set(store(platform_warehouse, events)) == {"accepted"}
    apply(platform_warehouse, NOW)
    with platform_warehouse.connect() as database:
        dead = database.rows("select body, error from {ops}.event_inbox where state = 'dead'")
        by_state = dict(
            database.execute("select state, count(*) from {ops}.event_inbox group by 1").fetchall()
        )
    assert [(json.loads(row["body"]), row["error"]) for row in dead] == []
    assert by_state["applied"] > len(events) / 2


def test_an_event_of_the_future_is_applied_when_its_time_has_come(
    platform_warehouse: Warehouse,
) -> None:
    later = NOW + timedelta(hours=1)
    store(platform_warehouse, [event("early", "tutor.updated", later, tutor_id="T1", name="x")])
    apply(platform_warehouse, NOW)
    assert states(platform_warehouse) == {"early": ("quarantined", ["timestamp_ahead"])}

    def look(now: datetime) -> None:
        with platform_warehouse.connect(autocommit=True) as database:
            applying.look_again(database, now)
        apply(platform_warehouse, now)

    look(later - timedelta(minutes=5, microseconds=1))
    assert tutors(platform_warehouse) == []
    look(later - timedelta(minutes=5))
    assert tutors(platform_warehouse) == ["T1"]
    assert states(platform_warehouse) == {"early": ("applied", [])}
    with platform_warehouse.connect() as database:
        assert (
            database.value("select count(*) from {ops}.quarantine where resolved_at is null") == 0
        )


def test_one_of_a_year_far_ahead_blocks_nothing(platform_warehouse: Warehouse) -> None:
    far = datetime(2099, 1, 1, tzinfo=UTC)
    ahead = event("far", "tutor.updated", far, tutor_id="T1", name="far")
    in_peace(platform_warehouse, [ahead, event("now", "tutor.updated", tutor_id="T1", name="now")])
    (user,) = platform(platform_warehouse)["users"]
    assert user["name"] == "now"


def test_what_another_door_brings_lets_events_go_on(platform_warehouse: Warehouse) -> None:
    booked = event("booked", "session.scheduled", tutor_id="T9", session_id="S9",
                   scheduled_start="2026-03-02T16:00:00Z")  # fmt: skip
    store(platform_warehouse, [booked, event("rated", "session.feedback", session_id="S9",
                                             feedback_text="good")])  # fmt: skip
    apply(platform_warehouse, NOW)
    assert states(platform_warehouse) == {
        "booked": ("quarantined", ["unknown_tutor"]),
        "rated": ("quarantined", ["unknown_session"]),
    }
    with platform_warehouse.connect() as database:
        database.execute("insert into {platform}.tutors (user_id) values ('T9')")
    with platform_warehouse.connect(autocommit=True) as database:
        assert applying.look_again(database, NOW)
    assert {state for state, _ in states(platform_warehouse).values()} == {"applied"}
    assert len(platform(platform_warehouse)["session_feedback"]) == 1

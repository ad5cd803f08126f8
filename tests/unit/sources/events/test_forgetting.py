"""Who was erased does not come back by an event, and nobody else is missed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tutor_pipeline.core.warehouse import erasure
from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.core.warehouse.event_versions import forget_all
from tutor_pipeline.core.warehouse.personal_data import Role
from tutor_pipeline.sources.contract import load_contract
from tutor_pipeline.sources.events import applying, erased, inbox
from tutor_pipeline.sources.events.bodies import parse
from tutor_pipeline.sources.events.catalogue import EventType, load_types
from tutor_pipeline.sources.events.inbox import Incoming
from tutor_pipeline.sources.events.reading import read
from tutor_pipeline.sources.events.receiver.pages import example
from tutor_pipeline.sources.personal_rows import erase_from_ours, with_sessions_of_ours

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
OURS = ("ops", "platform")


class Door:
    """Sends events, and forgets people as the command does."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self.sent = 0

    def send(self, kind: str, *, id_: str | None = None, **data: Any) -> str:
        """Sends an event and applies it. Returns what it was answered."""
        self.sent += 1
        at = (NOW - timedelta(days=1) + timedelta(seconds=self.sent)).isoformat()
        return self.post({"type": kind, "timestamp": at, "data": data}, id_ or f"e{self.sent}")

    def post(self, body: dict[str, Any] | bytes, id_: str) -> str:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        with self.warehouse.connect() as database:
            (answer,) = inbox.store(database, [Incoming("shop", id_, parse(raw))])
        with self.warehouse.connect(autocommit=True) as database:
            applying.apply_waiting(database, NOW)
        return str(answer)

    def forget(self, role: Role, id_: str) -> dict[str, int]:
        with self.warehouse.connect() as database:
            erasure.lock_queues(database)
            person = with_sessions_of_ours(database, erasure.known(database, role, id_))
            erased.remember(database, person, NOW)
            rows = erasure.erase(database, person)
            rows |= erase_from_ours(database, load_contract(), person)
        with self.warehouse.connect() as database:
            assert [each for each in erasure.left(database, person, OURS)
                    if not each.of_other_role] == []  # fmt: skip
        return rows

    def state(self, id_: str) -> str:
        with self.warehouse.connect() as database:
            return str(inbox.shown(database, id_)[0]["state"])

    def value(self, query: str) -> Any:
        with self.warehouse.connect() as database:
            return database.value(query)

    def dropped(self) -> int:
        return int(self.value("select coalesce(sum(dropped), 0) from {ops}.event_erasures"))

    def everything(self) -> dict[str, list[str]]:
        """The texts of all rows of the platform, of the inbox and of what is known of rows."""
        with self.warehouse.connect() as database:
            return {
                name: sorted(text for (text,) in database.execute(
                    database.sql("select t::text from {t} as t", t=erasure._name(database, name))))
                for name in _tables(database)
            }  # fmt: skip


def _tables(database: Database) -> list[str]:
    found = database.execute("select tablename from pg_tables where schemaname = 'platform'")
    return [*(f"platform.{name}" for (name,) in found), "ops.event_inbox", "ops.event_versions",
            "ops.quarantine"]  # fmt: skip


@pytest.fixture(scope="module")
def place(platform_warehouse: Warehouse) -> Door:
    return Door(platform_warehouse)


@pytest.fixture
def door(place: Door) -> Iterator[Door]:
    with place.warehouse.connect() as database:
        for table in _tables(database):
            database.execute(database.sql("delete from {t}", t=erasure._name(database, table)))
        database.execute("delete from {ops}.event_erasures")
    place.sent = 0
    yield place


def a_life(door: Door, tutor: str, student: str, session: str) -> None:
    """Events about a tutor, a student and a session of theirs."""
    door.send("tutor.updated", tutor_id=tutor, name="Ada Park")
    door.send("student.updated", student_id=student, name="Bo Lee")
    door.send("session.scheduled", session_id=session, tutor_id=tutor, student_id=student,
              scheduled_start="2026-11-19T14:00:00Z")  # fmt: skip
    door.send("session.completed", session_id=session, actual_duration=50)
    door.send("session.feedback", session_id=session, feedback_text="I liked it",
              student_satisfaction_rating=4)  # fmt: skip


@pytest.mark.parametrize("near", ["T10", "1T1", "T1-2"])
def test_what_names_an_erased_tutor_is_dropped_and_counted(door: Door, near: str) -> None:
    a_life(door, "T1", "P1", "S1")
    a_life(door, near, "P10", "S10")
    rows = door.forget(Role.TUTOR, "T1")
    assert (rows["ops.event_inbox"], rows["platform.sessions"]) == (4, 1)
    left = door.everything()
    named = (
        door.send("tutor.updated", id_="again", tutor_id="T1", name="Ada Park"),
        door.send("session.scheduled", id_="new", session_id="S7", tutor_id="T1",
                  scheduled_start="2026-11-19T15:00:00Z"),
        door.send("session.completed", id_="held", session_id="S1", actual_duration=50),
        door.send("session_completed", id_="old", session_id="S1", tutor_id="T1",
                  started_at="2026-11-19T14:00:00Z", ended_at="2026-11-19T15:00:00Z"),
        door.send("users.upserted", id_="user", id="T1", role="tutor"),
        door.send("what.is.this", id_="unknown", tutor_id="T1"),
        # One of theirs that comes again: it says nothing by which it is known but its id.
        door.post({"type": "session.metrics", "data": {}}, "e4"),
    )  # fmt: skip
    assert named == ("accepted",) * 7
    assert {door.state(id_) for id_ in ("again", "new", "held", "old", "user", "e4")} == {"dropped"}
    assert door.state("unknown") == "dropped"
    assert door.dropped() == 8  # one names the tutor and the session
    now = door.everything()
    assert {name: rows for name, rows in now.items() if name != "ops.event_inbox"} == {
        name: rows for name, rows in left.items() if name != "ops.event_inbox"
    }
    with door.warehouse.connect() as database:
        for row in inbox.listed(database, [inbox.State.DROPPED]):
            assert (row["tutor_id"], row["session_id"], row["reasons"]) == (None, None, [])
            assert inbox.shown(database, row["event_id"])[0]["body"] == ""
    # Those with ids that are alike go on.
    assert door.send("session.completed", id_="other", session_id="S10", actual_duration=40)
    assert door.state("other") == "applied"
    assert door.value("select actual_duration from {platform}.sessions") == 40
    # A tutor's id is not that of a student.
    door.send("student.updated", id_="of role", student_id="T1")
    assert door.state("of role") == "applied"


def test_a_students_events_are_dropped_and_their_lessons_stay(door: Door) -> None:
    a_life(door, "T1", "P1", "S1")
    a_life(door, "T1", "P10", "S10")
    rows = door.forget(Role.STUDENT, "P1")
    assert rows["ops.event_inbox"] == 3  # with their words on the session
    assert door.value("select student_id from {platform}.sessions where id = 'S1'") is None
    door.send("student.updated", id_="again", student_id="P1")
    door.send("session_students.upserted", id_="list", session_id="S1", student_id="P1")
    door.post({"type": "session.feedback", "timestamp": NOW.isoformat(),
               "data": {"session_id": "S1", "feedback_text": "I liked it"}}, "e5")  # fmt: skip
    assert [door.state(id_) for id_ in ("again", "list", "e5")] == ["dropped"] * 3
    words = "select string_agg(session_id, ',') from {platform}.session_feedback"
    assert door.value(f"{words} where feedback_text is not null") == "S10"
    # The lesson is its tutor's.
    door.send("session.completed", id_="later", session_id="S1", actual_duration=45)
    assert door.state("later") == "applied"
    assert door.value("select actual_duration from {platform}.sessions where id = 'S1'") == 45


def test_what_waits_for_an_erased_tutor_never_comes(door: Door) -> None:
    """Also events that are in the inbox while the tutor is erased."""
    door.send("session.scheduled", session_id="S1", tutor_id="T1",
              scheduled_start="2026-11-19T14:00:00Z")  # fmt: skip
    door.send("session.feedback", session_id="S1", feedback_text="x")
    assert [door.state(id_) for id_ in ("e1", "e2")] == ["quarantined"] * 2
    door.forget(Role.TUTOR, "T1")
    assert all(rows == [] for rows in door.everything().values())
    with door.warehouse.connect(autocommit=True) as database:
        assert applying.look_again(database, NOW) == 0
    # Stored before the erasure, applied after it.
    with door.warehouse.connect() as database:
        inbox.store(database, [Incoming("shop", "late", parse(json.dumps(
            {"type": "tutor.updated", "timestamp": NOW.isoformat(), "data": {"tutor_id": "T2"}}
        ).encode()))])  # fmt: skip
        erased.remember(database, erasure.known(database, Role.TUTOR, "T2"), NOW)
    with door.warehouse.connect(autocommit=True) as database:
        applying.apply_waiting(database, NOW)
    assert door.state("late") == "dropped"
    assert door.value("select count(*) from {platform}.tutors") == 0


def _about(kind: EventType) -> dict[str, Any]:
    """An event of a type about tutor T1, student P1 and session S1."""
    made = example(kind)
    for name in made["data"]:
        for field, id_ in (("tutor_id", "T1"), ("student_id", "P1"), ("session_id", "S1")):
            if name == field:
                made["data"][name] = id_
    if kind.name.startswith("users."):
        made["data"]["id"] = "T1"
    return made


@pytest.mark.parametrize(("role", "id_"), [(Role.TUTOR, "T1"), (Role.STUDENT, "P1")])
@pytest.mark.parametrize("waits", [False, True], ids=["applied", "waiting"])
def test_no_type_of_event_leaves_anything_of_a_person(
    door: Door, role: Role, id_: str, waits: bool
) -> None:
    """`forget` searches every column for the id."""
    if not waits:
        a_life(door, "T1", "P1", "S1")
    for number, kind in enumerate(load_types().types.values()):
        if not kind.deletes:
            made = _about(kind)
            assert read(parse(json.dumps(made).encode()), "x", NOW).reasons == (), kind.name
            door.post(made, f"n{number}")
    door.post(b"no JSON, but T1 and P1 are in it, T10 too", "malformed")
    door.post({"type": "t", "data": {"tutors": [{"tutor_id": "T1"}], "students": ["P1"]}}, "other")
    door.forget(role, id_)
    everything = json.dumps(door.everything())
    if role is Role.TUTOR:
        assert "Ada Park" not in everything
    else:
        assert "I liked it" not in everything
    assert door.value("select body from {ops}.event_inbox where event_id = 'malformed'").endswith(
        "T10 too"
    )


def test_a_platform_that_is_replaced_is_not_older_than_what_was_before(door: Door) -> None:
    a_life(door, "T1", "P1", "S1")
    door.send("session.feedback", id_="waits", session_id="S9", student_satisfaction_rating=4)
    assert door.state("waits") == "quarantined"
    with door.warehouse.connect() as database:
        forget_all(database)
        assert database.value("select count(*) from {ops}.event_versions") == 0
        for table in ("session_feedback", "sessions"):
            database.execute(f"delete from {{platform}}.{table}")
        database.execute(
            "insert into {platform}.sessions (id, tutor_id, scheduled_start, status)"
            " values ('S9', 'T1', now(), 'scheduled'), ('S1', 'T1', now(), 'scheduled')"
        )
    # Of before all that came until now.
    door.post({"type": "session.completed", "timestamp": "2026-01-01T00:00:00Z",
               "data": {"session_id": "S1"}}, "early")  # fmt: skip
    assert door.value("select status from {platform}.sessions where id = 'S1'") == "completed"
    # What waited is not lost.
    assert door.state("waits") == "applied"
    assert door.value("select session_id from {platform}.session_feedback") == "S9"

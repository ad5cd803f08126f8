"""What events make of the platform: a function of the set of events, whatever their order."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.sources.events import applying, inbox
from tutor_pipeline.sources.events.bodies import parse
from tutor_pipeline.sources.events.inbox import Incoming

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
TABLES = ("users", "tutors", "students", "sessions", "session_feedback", "session_audio_metrics",
          "session_feedback_tags")  # fmt: skip


def event(kind: str, minute: int, **data: Any) -> dict[str, Any]:
    at = (NOW - timedelta(days=1) + timedelta(minutes=minute)).isoformat()
    return {"type": kind, "timestamp": at, "data": data}


class Door:
    """Sends events to a platform and shows what came of them."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse

    def clear(self) -> None:
        with self.warehouse.connect() as database:
            for table in (*TABLES, "subjects", "engagement_events"):
                database.execute(f"delete from {{platform}}.{table}")
            database.execute(
                "truncate {ops}.event_inbox, {ops}.event_versions, {ops}.event_erasures,"
                " {ops}.quarantine"
            )

    def post(self, *events: dict[str, Any] | bytes, ids: list[str] | None = None) -> list[str]:
        made = [
            Incoming("shop", (ids or [f"e{at}" for at in range(len(events))])[at],
                     parse(each if isinstance(each, bytes) else json.dumps(each).encode()))
            for at, each in enumerate(events)
        ]  # fmt: skip
        with self.warehouse.connect() as database:
            return [str(answer) for answer in inbox.store(database, made)]

    def apply(self, limit: int = applying.BATCH, now: datetime = NOW) -> None:
        with self.warehouse.connect(autocommit=True) as database:
            while applying.apply_waiting(database, now, limit).is_more:
                pass

    def rows(self, table: str) -> list[dict[str, Any]]:
        with self.warehouse.connect() as database:
            return [
                row for (row,) in database.execute(
                    f"select to_jsonb(t) from {{platform}}.{table} as t order by t::text"
                )
            ]  # fmt: skip

    def platform(self) -> dict[str, list[dict[str, Any]]]:
        return {table: self.rows(table) for table in TABLES}

    def states(self) -> dict[str, tuple[str, list[str]]]:
        with self.warehouse.connect() as database:
            found = inbox.listed(database, limit=10_000)
            return {row["event_id"]: (row["state"], row["reasons"]) for row in found}


@pytest.fixture(scope="module")
def door(platform_warehouse: Warehouse) -> Door:
    return Door(platform_warehouse)


@pytest.fixture(autouse=True)
def cleared(door: Door) -> Iterator[None]:
    door.clear()
    yield


TUTOR = event("tutor.updated", 0, tutor_id="T1", name="Ada", hourly_rate=30)
BOOKED = event("session.scheduled", 1, session_id="S1", tutor_id="T1", student_id="P1",
               scheduled_start="2026-11-19T14:00:00Z", scheduled_duration=60)  # fmt: skip
HELD = event("session.completed", 90, session_id="S1", actual_start="2026-11-19T14:07:00Z",
             actual_duration=58.5)  # fmt: skip


def test_a_session_comes_field_by_field(door: Door) -> None:
    assert door.post(TUTOR, BOOKED, HELD) == ["accepted"] * 3
    door.apply()
    (row,) = door.rows("sessions")
    assert (row["id"], row["tutor_id"], row["status"]) == ("S1", "T1", "completed")
    assert (row["scheduled_start"], row["actual_duration"]) == ("2026-11-19T14:00:00+00:00", 59)
    assert door.rows("users")[0]["role"] == "tutor"
    assert list(door.states().values()) == [("applied", [])] * 3


def test_what_waits_is_quarantined_and_applied_when_it_comes(door: Door) -> None:
    rated = event("session.feedback", 100, session_id="S1", student_satisfaction_rating="4.5")
    door.post(rated, HELD, ids=["rated", "held"])
    door.apply()
    assert door.states()["rated"] == ("quarantined", ["unknown_session"])
    assert door.states()["held"] == ("quarantined", ["tutor_id_missing"])
    door.post(BOOKED, ids=["booked"])
    door.apply()
    assert door.states()["booked"] == ("quarantined", ["unknown_tutor"])
    assert door.rows("sessions") == []
    door.post(TUTOR, ids=["tutor"])
    door.apply()
    assert {state for state, _ in door.states().values()} == {"applied"}
    assert door.rows("session_feedback")[0]["student_satisfaction_rating"] == 4.5
    assert door.rows("sessions")[0]["scheduled_start"] == "2026-11-19T14:00:00+00:00"
    with door.warehouse.connect() as database:
        (open_,) = database.execute(
            "select count(*) filter (where resolved_at is null) from {ops}.quarantine"
        ).fetchone()
        assert open_ == 0
        assert database.value("select count(*) from {ops}.quarantine") == 3


_SESSIONS = ("S1", "S2")
_MOMENTS = st.integers(min_value=0, max_value=9)


@st.composite
def lives(draw: Callable[..., Any]) -> list[dict[str, Any]]:
    """Events about two tutors and two sessions, in the order in which they happened, or nearly."""
    made = []
    for _ in range(draw(st.integers(1, 9))):
        minute = draw(_MOMENTS)
        session = draw(st.sampled_from(_SESSIONS))
        kind = draw(st.sampled_from(["tutor", "scheduled", "completed", "cancelled", "deleted",
                                     "feedback", "tag", "untag", "no_show", "alias"]))  # fmt: skip
        tutor = draw(st.sampled_from(["T1", "T2"]))
        if kind == "tutor":
            made.append(event("tutor.updated", minute, tutor_id=tutor, name=f"n{minute}"))
        elif kind == "scheduled":
            made.append(event("session.scheduled", minute, session_id=session, tutor_id=tutor,
                              scheduled_start=f"2026-11-19T1{minute}:00:00Z"))  # fmt: skip
        elif kind == "completed":
            made.append(event("session.completed", minute, session_id=session,
                              actual_duration=minute))  # fmt: skip
        elif kind == "no_show":
            made.append(event("session.no_show", minute, session_id=session,
                              status="no_show_tutor"))  # fmt: skip
        elif kind == "alias":
            made.append(event("session_completed", minute, session_id=session, tutor_id=tutor,
                              started_at=f"2026-11-19T1{minute}:00:00Z", rating=3,
                              ended_at=f"2026-11-19T1{minute}:50:00Z"))  # fmt: skip
        elif kind == "feedback":
            made.append(event("session.feedback", minute, session_id=session,
                              feedback_text=f"f{minute}"))  # fmt: skip
        elif kind in ("tag", "untag"):
            made.append(event(f"session_feedback_tags.{'upserted' if kind == 'tag' else 'deleted'}",
                              minute, session_id=session, tag="kind"))  # fmt: skip
        else:
            made.append(event(f"session.{kind}", minute, session_id=session))
    return made


# A database for each example: shrinking would take minutes.
@settings(
    max_examples=40,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(lives(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(
    door: Door, made: list[dict[str, Any]], chance: random.Random
) -> None:
    ids = [f"e{at}" for at in range(len(made))]
    seen = []
    for _ in range(3):
        door.clear()
        order = list(range(len(made)))
        chance.shuffle(order)
        order += chance.sample(order, chance.randrange(len(order)))
        for at in order:
            door.post(made[at], ids=[ids[at]])
            if chance.random() < 0.6:
                door.apply(limit=chance.choice([1, 2, 100]))
        door.apply()
        states = {name: state for name, (state, _) in door.states().items()}
        seen.append((door.platform(), states))
    assert seen[0][0] == seen[1][0] == seen[2][0]


def test_moments_without_an_offset_are_the_platforms(door: Door) -> None:
    there = Door(replace(door.warehouse, platform_timezone="Europe/Berlin"))
    there.post(TUTOR, event("session.scheduled", 1, session_id="S1", tutor_id="T1",
                            scheduled_start="2026-11-19T14:00:00"))  # fmt: skip
    there.apply()
    (row,) = door.rows("sessions")
    assert datetime.fromisoformat(row["scheduled_start"]) == datetime(2026, 11, 19, 13, tzinfo=UTC)

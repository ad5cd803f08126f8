"""Events of a made-up platform, and what is left of them when they are applied in peace."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.sources.contract import load_contract
from tutor_pipeline.sources.events import applying, inbox
from tutor_pipeline.sources.events.bodies import parse
from tutor_pipeline.sources.events.catalogue import load_types
from tutor_pipeline.sources.events.inbox import Incoming

Event = dict[str, Any]
BEGAN = datetime(2026, 3, 2, tzinfo=UTC)


def life(
    chance: random.Random, tutors: int = 4, sessions: int = 12, *, by_the_way: bool = True
) -> Iterator[Event]:
    """Yields events without end, each with an id: about few rows, so that they meet; in any order,
    so that some wait for others. `by_the_way`: some tell when a session was to begin only by when
    it began.
    """
    for number in itertools.count():
        at = BEGAN + timedelta(minutes=chance.randrange(50_000))
        tutor, session = f"T{chance.randrange(tutors)}", f"S{chance.randrange(sessions)}"
        named = {"session_id": session}
        start = BEGAN + timedelta(minutes=15 * chance.randrange(3_000))
        kind, data = chance.choice([
            ("tutor.updated", {"tutor_id": tutor, "name": f"n{number}", "hourly_rate": number}),
            ("tutor.left", {"tutor_id": tutor}),
            ("student.updated", {"student_id": f"P{number % 5}", "grade_level": str(number % 12)}),
            ("session.scheduled", {**named, "tutor_id": tutor, "student_id": f"P{number % 5}",
                                   "scheduled_start": start.isoformat()}),
            ("session.scheduled", {**named, "tutor_id": tutor,
                                   "scheduled_start": start.isoformat()}),
            ("session.completed", {**named, "actual_duration": number % 90}),
            *([("session_completed", {
                **named, "tutor_id": tutor, "rating": 1 + number % 5,
                "started_at": start.isoformat(),
                "ended_at": (start + timedelta(hours=1)).isoformat()})] if by_the_way else []),
            ("session.cancelled", named),
            ("session.feedback", {**named, "feedback_text": f"f{number}"}),
            ("session.metrics", {**named, "empathy_score": number % 10, "clarity_score": None}),
            ("session_feedback_tags.upserted", {**named, "tag": f"t{number % 3}"}),
            ("session_feedback_tags.deleted", {**named, "tag": f"t{number % 3}"}),
            *([("session.deleted", named)] if chance.random() < 0.2 else []),
        ])  # fmt: skip
        yield {"id": f"evt-{number}", "type": kind, "timestamp": at.isoformat(), "data": data}


def tables() -> list[str]:
    """The platform's tables that events write."""
    keys = load_types().keys
    return [table.name for table in load_contract().tables if table.name in keys]


def platform(warehouse: Warehouse) -> dict[str, list[Any]]:
    """All rows of the platform, by table."""
    found = {}
    with warehouse.connect() as database:
        for table in tables():
            if database.value("select to_regclass(%s)", (f"platform.{table}",)):
                found[table] = [
                    row
                    for (row,) in database.execute(
                        f"select to_jsonb(t) from {{platform}}.{table} as t order by t::text"
                    )
                ]
    return found


def states(warehouse: Warehouse) -> dict[str, tuple[str, list[str]]]:
    """What became of each event, by its id."""
    with warehouse.connect() as database:
        rows = database.rows("select event_id, state, reasons from {ops}.event_inbox")
    return {row["event_id"]: (row["state"], sorted(row["reasons"])) for row in rows}


def store(warehouse: Warehouse, events: Sequence[Event], source: str = "shop") -> list[str]:
    """Stores events as the receiver does. Returns what their sender is told."""
    made = [Incoming(source, each["id"], parse(json.dumps(each).encode())) for each in events]
    with warehouse.connect() as database:
        return [str(answer) for answer in inbox.store(database, made)]


def apply(warehouse: Warehouse, now: datetime | None = None, limit: int = applying.BATCH) -> None:
    """Applies what waits."""
    now = now or datetime.now(UTC)
    with warehouse.connect(autocommit=True) as database:
        while applying.apply_waiting(database, now, limit).is_more:
            pass


def in_peace(warehouse: Warehouse, events: Sequence[Event]) -> None:
    """Stores and applies events, one batch after the other."""
    for start in range(0, len(events), 1_000):
        store(warehouse, events[start : start + 1_000])
    apply(warehouse)


def clear(warehouse: Warehouse) -> None:
    """Empties the platform, and all that is known of events."""
    with warehouse.connect() as database:
        here = [name for name in tables() if database.value(
            "select to_regclass(%s)", (f"platform.{name}",))]  # fmt: skip
        for name in here:
            database.execute(f"delete from {{platform}}.{name}")
        for name in ("event_inbox", "event_versions", "event_erasures", "quarantine"):
            database.execute(f"delete from {{ops}}.{name}")

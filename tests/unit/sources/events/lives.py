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
            ("session_students.upserted", {**named, "student_id": f"P{number % 3}",
                                           "attended": bool(number % 2)}),
            ("engagement_events.upserted", {"event_id": f"E{number % 4}", "tutor_id": tutor,
                                            "event_type": "login",
                                            "occurred_at": start.isoformat()}),
            ("tutor.availability", {"tutor_id": tutor, "week_start": "2026-03-02",
                                    "available_hours": number % 40}),
            ("users.upserted", {"id": tutor, "role": "tutor", "email": f"{number}@example.org"}),
            ("session.scheduled", {**named, "student_id": None, "subject": f"s{number}"}),
            *chance.choices([
                ("session.deleted", named),
                ("users.deleted", {"id": tutor}),
                ("session_students.deleted", {**named, "student_id": f"P{number % 3}"}),
                ("engagement_events.deleted", {"event_id": f"E{number % 4}"}),
                ("session.completed", {**named, "actual_duration": -1}),
                ("session.odd", named),
            ], k=chance.randrange(2)),
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


def outcomes(warehouse: Warehouse) -> dict[str, str]:
    """What became of each event, as far as it follows from the set of them: one that is overruled
    counts as applied or as waiting with its row, as it was when it came.
    """
    return {
        id_: "taken" if state in ("applied", "quarantined") else state
        for id_, (state, _) in states(warehouse).items()
    }


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


def apply_somehow(
    warehouse: Warehouse,
    events: Sequence[Event],
    chance: random.Random,
    now: datetime | None = None,
) -> None:
    """Stores and applies events in any order, in batches of any size."""
    order = list(events)
    chance.shuffle(order)
    while order:
        size = chance.choice([1, 5, 40])
        some, order = order[:size], order[size:]
        store(warehouse, some)
        if chance.random() < 0.7:
            apply(warehouse, now, limit=chance.choice([3, 1_000]))
    apply(warehouse, now)


def clear(warehouse: Warehouse) -> None:
    """Empties the platform, and all that is known of events."""
    with warehouse.connect() as database:
        here = [name for name in tables() if database.value(
            "select to_regclass(%s)", (f"platform.{name}",))]  # fmt: skip
        for name in here:
            database.execute(f"delete from {{platform}}.{name}")
        for name in ("event_inbox", "event_versions", "event_erasures", "quarantine"):
            database.execute(f"delete from {{ops}}.{name}")

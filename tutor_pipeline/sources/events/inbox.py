"""The inbox: events as they came, each once, and what became of them.

Belongs here: `ops.event_inbox`. Does not belong here: what events change (applying.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from psycopg.types.json import Jsonb

from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.sources.events.bodies import Body

STUCK_AFTER = timedelta(minutes=2)
"""An event that waits for longer than this is not being applied."""


class State(StrEnum):
    """What became of an event, as in the column `state`."""

    WAITING = "waiting"
    APPLIED = "applied"
    QUARANTINED = "quarantined"
    UNKNOWN = "unknown"
    DEAD = "dead"
    DROPPED = "dropped"


class Answer(StrEnum):
    """What the sender of an event is told."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Incoming:
    """An event that was verified."""

    source: str
    event_id: str
    body: Body

    def row(self) -> tuple[Any, ...]:
        """Returns what is stored of it."""
        names = ("tutor_id", "student_id", "session_id")
        if self.body.type.startswith("users."):
            names = ("id", "id", "session_id")  # of either role
        people = (_id(self.body.data.get(name)) for name in names)
        return (self.source, self.event_id, self.body.type, self.body.text, self.body.digest,
                *people)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Queue:
    """Events that wait to be applied, since when the oldest does, and what else is not applied."""

    waiting: int
    oldest_at: datetime | None
    quarantined: int
    unknown: int
    dead: int

    def is_stuck(self, now: datetime) -> bool:
        """Whether nobody applies them."""
        return self.oldest_at is not None and now - self.oldest_at > STUCK_AFTER


_STORED_COLUMNS = ("source", "event_id", "type", "body", "digest", "tutor_id", "student_id",
                   "session_id")  # fmt: skip

_STORE = statement(__file__, "store_events")
_STORED = statement(__file__, "stored_digests")
_QUEUE = statement(__file__, "queue_of_events")
_LISTED = statement(__file__, "listed_events")
_MARK = statement(__file__, "mark_events")


def store(database: Database, events: Sequence[Incoming]) -> list[Answer]:
    """Stores events in the open transaction. Returns what to answer of each, once it is committed.

    An id that is there with the same content is a duplicate, with another one a conflict.
    """
    stored = database.execute(
        _STORE, _lists(_STORED_COLUMNS, [event.row() for event in events])
    ).fetchall()
    new = {tuple(row) for row in stored}
    answers: list[Answer | None] = []
    for event in events:
        key = (event.source, event.event_id)
        answers.append(Answer.ACCEPTED if key in new else None)
        new.discard(key)  # what comes twice at once is compared with the first one
    if None in answers:
        known = [event for event, answer in zip(events, answers, strict=True) if answer is None]
        digests = {
            (source, event_id): bytes(digest)
            for source, event_id, digest in database.execute(
                _STORED,
                _lists(
                    ("sources", "event_ids"), [(event.source, event.event_id) for event in known]
                ),
            )
        }
        for at, event in enumerate(events):
            if answers[at] is None:
                there = digests[event.source, event.event_id]
                # Of one that was dropped nothing is left to compare.
                same = there in (b"", event.body.digest)
                answers[at] = Answer.DUPLICATE if same else Answer.CONFLICT
    return [answer for answer in answers if answer is not None]


def queue(database: Database) -> Queue:
    """Returns how many events are in which state."""
    row = database.one(_QUEUE)
    assert row is not None
    return Queue(**row)


def listed(
    database: Database,
    states: Sequence[State] = tuple(State),
    *,
    source: str | None = None,
    kind: str | None = None,
    about: str | None = None,
    limit: int = 50,
) -> list[Row]:
    """Returns events, the newest first. `about`: the id of an event, a tutor, a student or a
    session.
    """
    return database.rows(
        _LISTED,
        {"states": list(states), "source": source, "type": kind, "about": about, "most": limit},
    )


def shown(database: Database, event_id: str) -> list[Row]:
    """Returns all that is stored of an event: one row per source that has the id."""
    return database.rows(
        "select * from {ops}.event_inbox where event_id = %s order by source", (event_id,)
    )


def try_again(database: Database, source: str, event_id: str) -> bool:
    """Lets an event that is not applied wait again, so that it is. Returns whether there is one."""
    return (
        database.execute(
            "update {ops}.event_inbox set state = 'waiting', state_at = clock_timestamp(),"
            " reasons = '{{}}', waits_on = '{{}}', due_at = null, error = null"
            " where source = %s and event_id = %s"
            " and state in ('quarantined', 'unknown', 'dead')",
            (source, event_id),
        ).rowcount
        > 0
    )


def _id(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value or "\0" in value or not value.isprintable():
        return None
    return value[:255]


def _lists(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def mark(
    database: Database,
    states: Mapping[int, State],
    details: Mapping[int, Mapping[str, Any]],
) -> None:
    """Writes what became of events, by their number, in the open transaction."""
    rows = [
        {"received_no": number, "state": state, **details.get(number, {})}
        for number, state in states.items()
    ]
    if rows:
        database.execute(_MARK, {"events": Jsonb(rows)})

"""Applies events to the rows of the platform's tables, in batches, each in one transaction.

A row is written once all that it needs is known: the columns in which every row has a value, and
the tutor and session that it names. Until then its values are kept, and its events are quarantined
with the reason. A kill at any moment leaves an event waiting or applied.

Belongs here: the order of the steps. Does not belong here: which event counts (merging.py), SQL
over the platform's tables (tables.py).
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import psycopg

from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.platform import is_ours, refuse_mapping, reserve
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.sources import quarantine
from tutor_pipeline.sources.events import erased, inbox, tables
from tutor_pipeline.sources.events.bodies import Body, again
from tutor_pipeline.sources.events.inbox import State
from tutor_pipeline.sources.events.merging import Row, Step, Version
from tutor_pipeline.sources.events.reading import Reading, UnknownTypeError, read
from tutor_pipeline.sources.events.tables import Key, Table, name_of
from tutor_pipeline.sources.quarantine import MAX_BUSINESS_KEY

log = logging.getLogger(__name__)

BATCH = 1_000
"""Events of one transaction at most."""
LOCK = "event_inbox apply"
"""The lock of who applies: one at a time."""
_LONGEST_ERROR = 500

_TAKE = statement(__file__, "take_events")
_RELEASED = statement(__file__, "released_events")
_BAD_EVENTS = statement(__file__, "bad_events")
_RESOLVE = statement(__file__, "resolve_events")
_DROP = statement(__file__, "drop_events")
_AWAITED = statement(__file__, "awaited_rows")
_DUE = """
    update {ops}.event_inbox set state = 'waiting', due_at = null
    where state = 'quarantined' and due_at <= %s
"""
_REPLAYED = """
    select received_no, source || '/' || event_id from {ops}.event_inbox
    where state <> 'dropped' and (%s::timestamptz is null or received_at >= %s)
    order by received_no
"""
_TAKE_THESE = """
    select received_no, source, event_id, body from {ops}.event_inbox where received_no = any(%s)
"""
_DELETIONS = """
    select row_key[1], deleted from {ops}.event_versions
    where row_name = any(%s) and deleted is not null
"""


@dataclass(frozen=True)
class Stored:
    """An event of the inbox."""

    number: int
    source: str
    event_id: str
    text: str

    @property
    def name(self) -> str:
        """Its id among those of all sources."""
        return f"{self.source}/{self.event_id}"

    @cached_property
    def body(self) -> Body:
        """Its body."""
        return again(self.text)


@dataclass(frozen=True, slots=True)
class Applied:
    """How many events a batch took. `is_more`: others wait. `is_held_up`: somebody else writes to
    the platform just then, or applies events, so nothing was taken.
    """

    events: int = 0
    is_more: bool = False
    is_held_up: bool = False


def apply_waiting(database: Database, now: datetime, limit: int = BATCH) -> Applied:
    """Applies the events that wait, the oldest first, in a transaction of its own. `database` is in
    autocommit mode.

    An event that breaks the applying is set aside as dead. Raises RefusedError: a mapping names
    another platform; and psycopg.Error: the database failed.
    """
    with database.long_transaction():
        if not _may_write(database):
            return Applied(is_held_up=True)
        events = [Stored(*row) for row in database.execute(_TAKE, {"most": limit})]
        if events:
            _apply_all(database, events, now)
    return Applied(len(events), is_more=len(events) == limit)


def look_again(database: Database, now: datetime) -> int:
    """Takes up what was held up: events whose time has come, and rows that wait for others which
    another door brought. Returns how many rows that were. `database` is in autocommit mode.
    """
    with database.long_transaction():
        if not _may_write(database):
            return 0
        database.execute(_DUE, (now,))
        awaited: dict[str, set[Key]] = defaultdict(set)
        for (name,) in database.execute(_AWAITED):
            table, _, key = name.partition("/")
            if key:
                awaited[table].add((key.replace("%2F", "/").replace("%25", "%"),))
        here = tables.read_tables(database)
        appeared = {
            name_of(table, key)
            for table, keys in awaited.items()
            for key in tables.existing(database, here[table], keys)
        }
        if appeared:
            batch = _Batch(database, now, here, appeared=appeared)
            batch.apply()
            batch.finish()
        return len(appeared)


def replay(
    database: Database,
    now: datetime,
    *,
    since: datetime | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> int:
    """Applies all events that are kept anew, or those received since a moment, as if they had not
    been applied: what a fault of ours made of them is mended. Returns how many.

    Opens a transaction, so that nobody sees what lies between. Rows that other doors brought, and
    what older events say, stay. Raises RefusedError: somebody else writes to the platform.
    """
    with database.long_transaction():
        database.lock(LOCK)
        if not _may_write(database):
            raise RefusedError(
                "somebody else is writing to the platform, or it is not ours; nothing was changed"
            )
        chosen = database.execute(_REPLAYED, (since, since)).fetchall()
        numbers = [number for number, _ in chosen]
        said = tables.forget(database, {name for _, name in chosen})
        for start in range(0, len(numbers), BATCH):
            progress(start, len(numbers))
            some = database.execute(_TAKE_THESE, (numbers[start : start + BATCH],))
            _apply_all(database, [Stored(*row) for row in some], now)
        tables.empty(database, said)
        progress(len(numbers), len(numbers))
    return len(numbers)


def _may_write(database: Database) -> bool:
    refuse_mapping(database)
    # Moments without an offset are the platform's.
    zone = database.warehouse.platform_timezone
    database.execute("select set_config('timezone', %s, true)", (zone,))
    return database.lock(LOCK, wait=False) and is_ours(database) and reserve(database)


def _apply_all(database: Database, events: Sequence[Stored], now: datetime) -> None:
    """Applies events; sets aside the one that cannot be, which halving finds."""
    try:
        with database.transaction():
            _apply(database, events, now)
    except (
        psycopg.OperationalError,
        psycopg.InterfaceError,
        psycopg.errors.InsufficientPrivilege,
    ):
        raise  # the fault of the server or of our role, not theirs
    except Exception as error:
        if len(events) > 1:
            half = len(events) // 2
            _apply_all(database, events[:half], now)
            _apply_all(database, events[half:], now)
            return
        # What PostgreSQL says in detail repeats the row, with names and words of people.
        told = error.diag.message_primary if isinstance(error, psycopg.Error) else None
        said = f"{type(error).__name__}: {(told or str(error)).strip()}"
        said = said[:_LONGEST_ERROR].replace("\0", "")
        log.error(
            "event %s of %s cannot be applied: %s", events[0].event_id, events[0].source, said,
            exc_info=None if told else error,
        )  # fmt: skip
        inbox.mark(database, {events[0].number: State.DEAD}, {events[0].number: {"error": said}})


def _apply(database: Database, events: Sequence[Stored], now: datetime) -> None:
    left = _drop_erased(database, events)
    batch = _Batch(database, now, tables.read_tables(database))
    for event in left:
        batch.read(event)
    batch.apply()
    batch.finish()


def _drop_erased(database: Database, events: Sequence[Stored]) -> list[Stored]:
    """Drops what names somebody who was erased. Returns the other events."""
    names = {
        event.number: set(
            erased.named_by(event.body.type, event.event_id, event.source, event.body.data)
        )
        for event in events
    }
    found = erased.erased(database, set().union(*names.values()))
    if not found:
        return list(events)
    dropped = {number: each & found.keys() for number, each in names.items()}
    dropped = {number: each for number, each in dropped.items() if each}
    erased.count_dropped(database, (found[name] for each in dropped.values() for name in each))
    database.execute(_DROP, {"numbers": list(dropped)})
    return [event for event in events if event.number not in dropped]


@dataclass(slots=True)
class _Batch:
    """Events that are applied together. `appeared`: names of rows that came into their table;
    `gone`: sessions that left it.
    """

    database: Database
    now: datetime
    tables: Mapping[str, Table]
    appeared: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    changes: dict[str, dict[Key, list[tuple[Any, Version, int]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    states: dict[int, State] = field(default_factory=dict)
    details: dict[int, dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))
    waiting: dict[str, list[str]] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)
    there: dict[str, set[Key]] = field(default_factory=lambda: defaultdict(set))

    def read(self, event: Stored) -> None:
        """Reads an event; its changes are taken by `apply`."""
        try:
            reading = read(event.body, event.name, self.now)
        except UnknownTypeError:
            self.states[event.number] = State.UNKNOWN
            return
        self._note(event, reading)
        for change in reading.changes:
            assert reading.version is not None
            taken = (change, reading.version, event.number)
            self.changes[change.table][change.key].append(taken)

    def _note(self, event: Stored, reading: Reading) -> None:
        self.states[event.number] = State.QUARANTINED if reading.reasons else State.APPLIED
        self.details[event.number] = {
            "event_at": reading.version and reading.version.moment.isoformat(),
            "reasons": list(reading.reasons),
            "due_at": reading.due_at and reading.due_at.isoformat(),
        }

    def apply(self) -> None:
        """Writes the rows, those before others that refer to them."""
        for table in self.tables.values():
            changes = self.changes.get(table.name, {})
            keys = set(changes) | tables.waiting_for(self.database, table.name, self.appeared)
            if "session_id" in table.references:
                keys |= tables.parts_of(self.database, table, self.gone)
            if keys:
                self._settle(table, tables.known(self.database, table, keys), changes)

    def _settle(
        self,
        table: Table,
        rows: dict[Key, Row],
        changes: Mapping[Key, Sequence[tuple[Any, Version, int]]],
    ) -> None:
        for key, taken in changes.items():
            for change, version, _ in taken:
                if change.deletes:
                    rows[key].delete(version)
                else:
                    rows[key].take(change.fields, change.otherwise, version)
        self._delete_with_sessions(table, rows)
        held = self._held(table, rows)
        recalled = {key for key, row in rows.items() if row.is_to_be_recalled()}
        recalled |= {key for key in held if rows[key].is_there}
        for key, values in tables.current(self.database, table, recalled).items():
            rows[key].recall(values)
        owners = {key: tables.owners_of(table, key, row) for key, row in rows.items()}
        steps, waits = self._steps(table, rows, held)
        tables.write(self.database, table, steps)
        tables.remember(self.database, table, rows, waits, owners)
        self._note_rows(table, rows, steps, waits)

    def _delete_with_sessions(self, table: Table, rows: Mapping[Key, Row]) -> None:
        """A session is deleted with all its parts."""
        if table.references.get("session_id") is None:
            return
        sessions = {key: tables.owners_of(table, key, row)["session_id"]
                    for key, row in rows.items()}  # fmt: skip
        wanted = [name_of("sessions", (each,)) for each in {*sessions.values()} if each]
        deletions = {
            session: Version(*deleted)
            for session, deleted in self.database.execute(_DELETIONS, (wanted,))
        }
        for key, session in sessions.items():
            if session in deletions:
                rows[key].delete(deletions[session])

    def _held(self, table: Table, rows: Mapping[Key, Row]) -> dict[Key, list[str]]:
        """Returns which rows wait for which others."""
        asked: dict[str, dict[Key, set[Key]]] = defaultdict(lambda: defaultdict(set))
        for key, row in rows.items():
            owners = tables.owners_of(table, key, row)
            for column, of in table.references.items():
                # Of a row that is there, only what is new of it.
                value = owners[column]
                is_new = not row.is_there or column not in table.key or value in self.gone
                if value is not None and is_new:
                    asked[of][value,].add(key)
        held: dict[Key, list[str]] = defaultdict(list)
        for of, wanted in asked.items():
            there = self.there[of]
            unknown = wanted.keys() - there
            there |= tables.existing(self.database, self.tables[of], unknown)
            for reference in wanted.keys() - there:
                for key in wanted[reference]:
                    held[key].append(name_of(of, reference))
        return held

    def _steps(
        self, table: Table, rows: Mapping[Key, Row], held: Mapping[Key, Sequence[str]]
    ) -> tuple[dict[Key, Step], dict[Key, list[str]]]:
        steps, waits = {}, {}
        for key, row in rows.items():
            steps[key], waits_for = row.settle(table.needed, held.get(key, ()))
            if waits_for:
                waits[key] = waits_for
        return steps, waits

    def _note_rows(
        self,
        table: Table,
        rows: Mapping[Key, Row],
        steps: Mapping[Key, Step],
        waits: Mapping[Key, Sequence[str]],
    ) -> None:
        """Notes what follows for rows that refer to these, and for the events about these."""
        is_referred_to = table.name in tables.REFERENCES.values()
        for key, row in rows.items():
            name = name_of(table.name, key)
            if is_referred_to:
                (self.there[table.name].add if row.is_there else self.there[table.name].discard)(
                    key
                )
                if steps[key].inserts:
                    self.appeared.add(name)
                # A deletion takes the parts with it, also where later events make the session anew.
                is_gone = steps[key].deletes and not steps[key].inserts
                if table.name == "sessions" and (is_gone or row.deleted > row.was_deleted):
                    self.gone.add(key[0])
            if key in waits:
                self.waiting[name] = [_reason(each) for each in waits[key]]
            else:
                self.settled.add(name)
        for key, taken in self.changes.get(table.name, {}).items():
            name = name_of(table.name, key)
            for _, _, number in taken:
                if name in self.waiting:
                    self.states[number] = State.QUARANTINED
                    of = self.details[number]
                    of["waits_on"] = [*of.get("waits_on", ()), name]
                    of["reasons"] = list(dict.fromkeys([*of["reasons"], *self.waiting[name]]))

    def finish(self) -> None:
        """Writes what became of the events, and keeps the quarantine."""
        inbox.mark(self.database, self.states, self.details)
        released = self.database.execute(_RELEASED, {"names": list(self.settled)}).fetchall()
        bad = [number for number, state in self.states.items() if state is State.QUARANTINED]
        if bad:
            quarantine.record(
                self.database,
                self.database.sql(_BAD_EVENTS),
                {"as_of": self.now, "numbers": bad, "max_key": MAX_BUSINESS_KEY},
            )
        good = [number for number, state in self.states.items() if state is not State.QUARANTINED]
        good += [number for (number,) in released]
        self.database.execute(_RESOLVE, {"as_of": self.now, "numbers": good})


def _reason(waits_for: str) -> str:
    table, slash, _ = waits_for.partition("/")
    return f"unknown_{table.removesuffix('s')}" if slash else f"{waits_for}_missing"

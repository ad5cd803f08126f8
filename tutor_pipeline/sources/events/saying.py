"""Says rows of the platform's tables as events: the way back of reading.py. Pure.

A row is said whole, an empty column as null: what an earlier event said of it is emptied too, and
the tables become equal. An id follows from what its event says: the same said twice is one event.

Belongs here: which type says a row, values as JSON, times and ids of events.
Does not belong here: sending them (sending.py).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.sources.contract import load_contract
from tutor_pipeline.sources.events.bodies import canonical
from tutor_pipeline.sources.events.catalogue import EventType, Target, load_types

Row = Mapping[str, Any]
Event = dict[str, Any]
"""{id, type, timestamp, data}, as a line of a batch has it."""
Key = tuple[str, ...]

_ID_DIGITS = 32
_WRITTEN = "updated_at"
"""The column in which a platform says when it wrote a row."""
_NEXT = timedelta(microseconds=1)


class UnsayableError(TutorPipelineError):
    """No event says this."""


def event_of(table: str, row: Row, at: datetime) -> Event:
    """Returns the event that a row was made or changed at a moment. `row` has its key and all of
    its columns or those that changed; of a session its status, of a user the role. What is not in
    the contract is left out.

    Raises UnsayableError.
    """
    way = _ways(table, row)[0]
    return _event(way.kind, at, way.data(row))


def deletion_of(table: str, row: Row, at: datetime) -> Event:
    """Returns the event that a row is gone since a moment; a session goes with all its parts.

    Raises UnsayableError: there is no such event for rows of the table.
    """
    for kind, target in _targets(table):
        if kind.deletes:
            return _event(kind, at, _Way(kind, target).data(row))
    raise UnsayableError(f"no event says that a row of {table} is gone")


def events_of(
    platform: Mapping[str, Iterable[Row]], *, now: datetime, since: datetime
) -> Iterator[Event]:
    """Yields the events of all rows of a platform, as few as can say them, those of a table before
    those of tables that refer to it. An event happened when its row can have been written, after
    `since` and before `now`; one of which nothing says when, at `since`.

    A tutor or student without an account gets one: no event says the profile alone. Raises
    UnsayableError.
    """
    tables = {
        table.name: list(platform[table.name])
        for table in load_contract().tables
        if table.name in platform
    }
    for each in _Saying(tables, now, since).all():
        yield _event(each.kind, each.at, each.data)


@dataclass(frozen=True, slots=True)
class _Way:
    """A type of events whose data gives rows of a table, among others."""

    kind: EventType
    target: Target

    def says(self, row: Row) -> bool:
        """Whether it says all of a row and sets nothing to what the row has not."""
        fields, sets = self.target.fields, self.target.set
        columns = _columns(self.target.table)
        return (
            all(column in fields or column in sets for column in row if column in columns)
            and all(column in row and row[column] == value for column, value in sets.items())
            and all(
                row.get(column) in self.kind.fields[name].accepted
                for column, name in fields.items()
                if self.kind.fields[name].is_required
            )
        )

    def data(self, row: Row) -> dict[str, Any]:
        """Returns the data of the event that says a row."""
        return {
            name: _json(row[column])
            for column, name in self.target.fields.items()
            if column in row
        }  # fmt: skip


@dataclass(slots=True)
class _Said:
    """An event in the making."""

    kind: EventType
    at: datetime
    data: dict[str, Any] = field(default_factory=dict)


class _Saying:
    """Says the rows of a platform."""

    def __init__(self, tables: Mapping[str, list[Row]], now: datetime, since: datetime) -> None:
        self._tables = tables
        self._now = now
        self._since = since
        self._keys = {name: {_key(name, row) for row in rows} for name, rows in tables.items()}
        self._sessions = {
            _key("sessions", row)[0]: self._moment("sessions", row)
            for row in tables.get("sessions", ())
        }

    def all(self) -> Iterable[_Said]:
        """Returns what there is to say."""
        said: dict[tuple[str, Key], _Said] = {}
        for table, rows in self._tables.items():
            for row in rows:
                key = _key(table, row)
                way = self._way(table, row, key)
                each = said.setdefault((way.kind.name, key), _Said(way.kind, self._since))
                each.at = max(each.at, self._moment(table, row) or self._of_session(row))
                each.data |= way.data(row)
        for (_, key), each in said.items():
            # What others say of the row by the way, as the role of a user, must not count.
            for target in each.kind.targets if len(each.kind.targets) == 1 else ():
                for kind in _makers(target.table):
                    if (other := said.get((kind.name, key))) is not None:
                        each.at = max(each.at, other.at + _NEXT)
        return said.values()

    def _way(self, table: str, row: Row, key: Key) -> _Way:
        """Returns the way that says the row with rows of other tables, where these are there and
        nothing else claims it; else the one that says the least beside it.
        """
        ways = _ways(table, row)
        claims = {
            kind.name
            for kind in _makers(table)
            for target in kind.targets
            if target.table != table and key in self._keys.get(target.table, ())
        }
        if claims == {ways[0].kind.name}:
            return ways[0]
        return min(ways, key=lambda way: len(way.kind.targets))

    def _moment(self, table: str, row: Row) -> datetime | None:
        """Returns a moment at which the row can have been written, None where nothing says it."""
        moments = {name: _moment_of(row[name]) for name in _times(table) if row.get(name)}
        past = {name: moment for name, moment in moments.items() if moment < self._now}
        return past.get(_WRITTEN) or max(past.values(), default=None)

    def _of_session(self, row: Row) -> datetime:
        return self._sessions.get(_text(row.get("session_id"))) or self._since


def _event(kind: EventType, at: datetime, data: Mapping[str, Any]) -> Event:
    said = {"type": kind.name, "timestamp": _moment_of(at).isoformat(), "data": data}
    digest = hashlib.sha256(canonical(said).encode()).hexdigest()
    return {"id": f"evt_{digest[:_ID_DIGITS]}", **said}


def _ways(table: str, row: Row) -> list[_Way]:
    """Returns the ways to say a row that was made or changed, the usual one first."""
    found = [
        way
        for way in (_Way(kind, target) for kind, target in _targets(table) if not kind.deletes)
        if way.says(row)
    ]
    if not found:
        said = ", ".join(f"{name} {row[name]!r}" for name in ("status", "role") if name in row)
        raise UnsayableError(f"no event says this row of {table}{said and f' with {said}'}")
    return found


@cache
def _targets(table: str) -> tuple[tuple[EventType, Target], ...]:
    """Returns the types whose data gives rows of a table, but for what one gives by the way."""
    return tuple(
        (kind, target)
        for kind in load_types().types.values()
        for target in kind.targets
        if target.table == table
        and (not target.optional or all(each.optional for each in kind.targets))
    )


@cache
def _makers(table: str) -> tuple[EventType, ...]:
    """Returns the types that always give a row of this table and one of another."""
    return tuple(
        kind
        for kind, target in _targets(table)
        if not target.optional and sum(not each.optional for each in kind.targets) > 1
    )


@cache
def _columns(table: str) -> frozenset[str]:
    return frozenset(column.name for column in load_contract().table(table).columns)


@cache
def _times(table: str) -> tuple[str, ...]:
    columns = load_contract().table(table).columns
    return tuple(each.name for each in columns if each.type in ("timestamptz", "date"))


def _key(table: str, row: Row) -> Key:
    return tuple(_text(row[column]) for column in load_types().keys[table])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


def _moment_of(value: datetime | date) -> datetime:
    """Returns a moment in UTC, of a day its start."""
    if not isinstance(value, datetime):
        value = datetime.combine(value, time.min)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _json(value: Any) -> Any:
    """Returns a value as JSON has it, without loss."""
    if isinstance(value, datetime):
        return _moment_of(value).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if value is None or isinstance(value, bool | int | str | dict | list):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, float | Decimal | UUID):
        return str(value)
    raise TypeError(type(value).__name__)

"""Says rows of the platform's tables as events: what reading.py reads. Pure.

A row is said whole, its empty columns as null: what another event said of them before is emptied
too, and the tables become equal. An id follows from what an event says, so that the same row said
twice is one event.

Belongs here: which type says a row, values as JSON, times and ids of events.
Does not belong here: sending them (sending.py).
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.sources.contract import load_contract
from tutor_pipeline.sources.events.bodies import canonical
from tutor_pipeline.sources.events.catalogue import EventType, Target, load_types

Row = Mapping[str, Any]
Event = dict[str, Any]
"""{id, type, timestamp, data}, as a line of a batch has it."""
Key = tuple[str, ...]

_ID_DIGITS = 32
_TIMES = ("timestamptz", "date")
_WRITTEN = "updated_at"
"""The column in which a platform says when it wrote a row."""
_MOMENT = timedelta(microseconds=1)


class UnsayableError(TutorPipelineError):
    """No event says this."""


def event_of(table: str, row: Row, at: datetime) -> Event:
    """Returns the event that a row of a table was made or changed, of all or some of its columns;
    of a session always its id and status. Columns that are not in the contract are left out.

    Raises UnsayableError.
    """
    way = _ways_of(table, row)[0]
    return _event(way.kind.name, at, way.data(row))


def deletion_of(table: str, row: Row, at: datetime) -> Event:
    """Returns the event that a row is gone; of a session, with all that belongs to it.

    Raises UnsayableError: rows of the table cannot go.
    """
    for kind in load_types().types.values():
        for target in kind.targets:
            if kind.deletes and target.table == table:
                return _event(kind.name, at, _Way(kind, target).data(row))
    raise UnsayableError(f"no event says that a row of {table} is gone")


def events_of(
    platform: Mapping[str, Iterable[Row]], *, now: datetime, since: datetime
) -> Iterator[Event]:
    """Yields the events that make a platform of these rows, by table; rows that one event can say
    are one. Each has a moment at which its row could have been written, `now` at the latest; one
    that says none, and belongs to no session, that of `since`.

    Raises UnsayableError.
    """
    said = _Platform({
        table.name: [{n: v for n, v in row.items() if v is not ...} for row in platform[table.name]]
        for table in load_contract().tables
        if table.name in platform
    })  # fmt: skip
    for each in said.all(now):
        yield _event(each.kind.name, each.at or since, each.data)


@dataclass(frozen=True, slots=True)
class _Way:
    """A type of events that says rows of a table."""

    kind: EventType
    target: Target

    def says(self, row: Row) -> bool:
        """Whether it says what is in the row, and sets nothing else."""
        fields = self.target.fields
        return all(
            row.get(column) == value if column in self.target.set else column in fields
            for column, value in {**dict.fromkeys(_known(self.target.table, row)), **self.target.set}.items()
        ) and all(
            row.get(column) in self.kind.fields[name].accepted
            for column, name in fields.items()
            if self.kind.fields[name].is_required
        )  # fmt: skip

    def data(self, row: Row) -> dict[str, Any]:
        """Returns what its event carries of a row."""
        return {
            name: _json(row[column])
            for column, name in self.target.fields.items()
            if column in row
        }  # fmt: skip

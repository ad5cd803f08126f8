"""Which of several events counts, field by field. Pure.

A row is a function of the set of events about it, whatever the order in which they arrive: of each
field the latest event counts, by (event time, rank, id); what is not later than the latest deletion
does not count at all.

Belongs here: the order of events, the state of a row. Does not belong here: the database.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self


class Version(NamedTuple):
    """Says which of two events is the later one. `at`: UTC with microseconds, as text."""

    at: str
    rank: int
    event_id: str

    @classmethod
    def of(cls, at: datetime, rank: int, event_id: str) -> Self:
        """Returns the version of an event."""
        return cls(at.astimezone(UTC).replace(tzinfo=None).isoformat("T", "microseconds"), rank,
                   event_id)  # fmt: skip

    @property
    def moment(self) -> datetime:
        """When the event happened."""
        return datetime.fromisoformat(self.at).replace(tzinfo=UTC)


NEVER = Version("", 0, "")
"""Earlier than every event."""
EXISTENCE = ""
"""The column that every event says: that the row is there."""
_OTHERWISE = "~"


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done with a row in its table. `values`: column → value to insert or update."""

    inserts: bool = False
    updates: bool = False
    deletes: bool = False
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Row:
    """What is known of a row of a table.

    `is_there`: it is in its table. `versions`: column → the latest event that says it; columns
    that begin with ~ are said by the way, where nothing else says them. `deleted`: the latest
    deletion, `was_deleted` that before. `kept`: values that its table does not have; all of them
    when it `is_recalled`. `is_ours`: an event made the row.
    """

    is_there: bool = False
    versions: dict[str, Version] = field(default_factory=dict)
    deleted: Version = NEVER
    was_deleted: Version = NEVER
    kept: dict[str, Any] = field(default_factory=dict)
    is_recalled: bool = False
    is_ours: bool = False

    def take(
        self, fields: Mapping[str, Any], otherwise: Mapping[str, Any], version: Version
    ) -> None:
        """Takes what an event says of the row. Taking it again changes nothing."""
        self._say(EXISTENCE, None, version)
        for column, value in fields.items():
            self._say(column, value, version)
        for column, value in otherwise.items():
            # What another door brought is known otherwise.
            if not self.is_there or self.is_ours or self._is_said(column):
                self._say(_OTHERWISE + column, value, version)

    def delete(self, version: Version) -> None:
        """Takes a deletion, of the row or of what it is a part of."""
        self.deleted = max(self.deleted, version)
        # At once: what the row waits for must not follow from what no longer counts.
        for column in [c for c, said in self.versions.items() if said <= self.deleted]:
            del self.versions[column]
            self.kept.pop(column, None)

    def is_to_be_recalled(self) -> bool:
        """Whether a new deletion concerns the row in its table: then it is to be made anew, of what
        later events said of it.
        """
        return self.is_there and self.deleted > self.was_deleted

    def recall(self, values: Mapping[str, Any]) -> None:
        """Takes back what its table has: what events said, and without a deletion the rest too."""
        for column, value in values.items():
            is_by_the_way = column not in self.versions and self._is_said(column)
            is_wanted = column in self.versions or self.deleted == NEVER
            if is_wanted and not is_by_the_way and column not in self.kept:
                self.kept[column] = value
        self.is_recalled = True

    def said(self, column: str) -> Any:
        """Returns the value that is to be written of a column, None without one."""
        return self._values().get(column)

    def settle(self, needed: Collection[str], held: Collection[str] = ()) -> tuple[Step, list[str]]:
        """Returns what to do, and what the row waits for: columns that are `needed` and that nobody
        said, and rows that are missing (`held`). Recall a row of which something is held.
        """
        was_there, self.is_there = self.is_there, False
        is_made_anew = self.is_recalled or not was_there
        is_known = self.deleted == NEVER and (was_there or bool(self.kept))
        if EXISTENCE not in self.versions and is_made_anew and not is_known:
            self.kept, self.is_ours = {}, False
            return Step(deletes=was_there), []
        values = self._values()
        waits = [
            *held,
            *(column for column in needed if is_made_anew and values.get(column) is None),
        ]
        if waits:
            return Step(deletes=was_there), waits
        self.is_there = True
        if is_made_anew:
            self.is_ours = all(map(self._is_said, values))
        self.kept = {c: value for c, value in self.kept.items() if c.startswith(_OTHERWISE)}
        if is_made_anew:
            return Step(inserts=True, deletes=was_there, values=values), []
        return Step(updates=bool(values), values=values), []

    def _is_said(self, column: str) -> bool:
        return column in self.versions or _OTHERWISE + column in self.versions

    def _say(self, column: str, value: Any, version: Version) -> None:
        if version > self.deleted and version >= self.versions.get(column, NEVER):
            self.versions[column] = version
            if column != EXISTENCE:
                self.kept[column] = value

    def _values(self) -> dict[str, Any]:
        values = {c: value for c, value in self.kept.items() if not c.startswith(_OTHERWISE)}
        for column, value in self.kept.items():
            if column.startswith(_OTHERWISE) and column[1:] not in self.versions:
                values[column[1:]] = value
        return values


def packed(versions: Mapping[str, Version]) -> list[list[Any]]:
    """Returns versions as JSON: most columns of a row have the same one."""
    columns: dict[Version, list[str]] = {}
    for column, version in versions.items():
        columns.setdefault(version, []).append(column)
    return [[*version, sorted(each)] for version, each in sorted(columns.items())]


def unpacked(groups: Iterable[Iterable[Any]]) -> dict[str, Version]:
    """Returns the versions that `packed` made JSON of."""
    return {
        column: Version(at, rank, event_id)
        for at, rank, event_id, columns in groups
        for column in columns
    }

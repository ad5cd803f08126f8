"""What became of one event: which fields of which rows it holds now, what overrules it.

Belongs here: reading `ops.event_versions` for people. Does not belong here: writing it (tables.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.sources.events.bodies import again
from tutor_pipeline.sources.events.merging import EXISTENCE, unpacked
from tutor_pipeline.sources.events.reading import Change, UnknownTypeError, read
from tutor_pipeline.sources.events.tables import name_of

_BY_THE_WAY = "~"
_KNOWN = """
    select row_name, versions, deleted, kept is not null as waits, waits_on
    from {ops}.event_versions where row_name = any(%s)
"""


@dataclass(frozen=True, slots=True)
class Held:
    """A row that an event is about. `fields`: those whose value is the event's now. `overruled`:
    field → the event that says it instead. `deletes`: the row is gone because of it. `waits_on`:
    what a row that cannot be written yet waits for.
    """

    row: str
    fields: tuple[str, ...]
    overruled: Mapping[str, str]
    deletes: bool
    waits_on: tuple[str, ...]


def held_by(database: Database, source: str, event_id: str, body: str, now: datetime) -> list[Held]:
    """Returns the rows that an event of the inbox is about, none where it cannot be read."""
    name = f"{source}/{event_id}"
    try:
        changes = read(again(body), name, now).changes
    except UnknownTypeError:
        return []
    names = {name_of(each.table, each.key): each for each in changes}
    return list(_held(database, name, names))


def _held(database: Database, event: str, changes: Mapping[str, Change]) -> Iterator[Held]:
    known = {row["row_name"]: row for row in database.rows(_KNOWN, (list(changes),))}
    for name, change in changes.items():
        if (row := known.get(name)) is None:
            continue
        says = {each: version.event_id for each, version in unpacked(row["versions"]).items()}
        said = [*change.fields, *(_BY_THE_WAY + each for each in change.otherwise)]
        fields = [each for each in said if says.get(each) == event]
        yield Held(
            name,
            tuple(each.removeprefix(_BY_THE_WAY) for each in fields),
            {
                each: says.get(each) or says.get(EXISTENCE) or (row["deleted"] or (0, 0, ""))[2]
                for each in change.fields
                if each not in fields
            },
            bool(row["deleted"]) and row["deleted"][2] == event,
            tuple(row["waits_on"]) if row["waits"] else (),
        )

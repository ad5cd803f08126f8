"""Who was erased, so that no later event brings anybody back: keyed hashes, no ids.

Belongs here: `ops.event_erasures`. Does not belong here: erasing (`core.warehouse.erasure`).
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.erasure import EVENTS_ABOUT, parameters_of
from tutor_pipeline.core.warehouse.personal_data import Person, Role

Name = tuple[str, str]
"""A kind (tutor, student, session, event) and an id."""

_KINDS = {"tutor_id": ("tutor",), "student_id": ("student",), "session_id": ("session",)}
_OF_USERS = {"id": ("tutor", "student")}


def named_by(type_: str, event_id: str, source: str, data: dict[str, Any]) -> Iterator[Name]:
    """Yields whom and what an event names."""
    yield "event", f"{source}/{event_id}"
    kinds = _KINDS | (_OF_USERS if type_.startswith("users.") else {})
    for field, each in kinds.items():
        value = data.get(field)
        if isinstance(value, str | int):
            yield from ((kind, str(value)) for kind in each)


def erased(database: Database, names: Iterable[Name]) -> dict[Name, bytes]:
    """Returns those of the names that were erased, each with its hash."""
    if not database.value("select exists (select 1 from {ops}.event_erasures)"):
        return {}
    key = _key(database)
    hashes = {_hash(key, name): name for name in names}
    found = database.execute(
        "select hash from {ops}.event_erasures where hash = any(%s)", (list(hashes),)
    )
    return {hashes[bytes(each)]: bytes(each) for (each,) in found}


def count_dropped(database: Database, hashes: Iterable[bytes]) -> None:
    """Counts events that were dropped, by the hash of what they name."""
    counts = Counter(hashes)
    database.execute(
        "update {ops}.event_erasures as kept set dropped = kept.dropped + new.events"
        " from unnest(%s::bytea[], %s::bigint[]) as new (hash, events) where kept.hash = new.hash",
        (list(counts), list(counts.values())),
    )


def remember(database: Database, person: Person, now: datetime) -> None:
    """Keeps hashes of a person, of a tutor's sessions and of the events about them, in the open
    transaction, before these are erased.
    """
    names: list[Name] = [(person.role.value, person.id)]
    if person.role is Role.TUTOR:
        names += [("session", each) for each in person.sessions]
    events = database.execute(
        f"select source, event_id from {{ops}}.event_inbox where {EVENTS_ABOUT[person.role]}",
        parameters_of(person),
    )
    names += [("event", f"{source}/{event_id}") for source, event_id in events]
    key = _key(database)
    database.execute(
        "insert into {ops}.event_erasures (hash, erased_at) select hash, %s"
        " from unnest(%s::bytea[]) as new (hash) on conflict do nothing",
        (now, [_hash(key, name) for name in names]),
    )


def _key(database: Database) -> bytes:
    return bytes(database.value("select key from {ops}.event_erasure_key"))


def _hash(key: bytes, name: Name) -> bytes:
    return hmac.digest(key, "\0".join(name).encode("utf-8", "surrogatepass"), hashlib.sha256)

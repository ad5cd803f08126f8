"""Requests that were not accepted: counted by hour, source and true reason, without the body.

Belongs here: `ops.event_rejections`. Does not belong here: what the sender is told (receiver).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tutor_pipeline.core.warehouse.database import Database, Row

UNKNOWN = "(unknown)"
"""Whoever claims to be a source that has no secret: any name may be claimed."""
_LONGEST = 200


@dataclass(slots=True)
class Count:
    """Requests of one kind: how many, and the last one."""

    requests: int
    last_at: datetime
    last_id: str


class Counts:
    """Requests that were not accepted since the last `taken`. Bounded: reasons are few."""

    _MOST = 500

    def __init__(self) -> None:
        self._counts: dict[tuple[datetime, str, str], Count] = {}

    def add(self, source: str, reason: str, id_: str, now: datetime) -> None:
        """Counts a request, or an event of one."""
        hour = now.replace(minute=0, second=0, microsecond=0)
        key = (hour, source, reason[:_LONGEST])
        if key not in self._counts and len(self._counts) >= self._MOST:
            return
        count = self._counts.setdefault(key, Count(0, now, ""))
        count.requests += 1
        count.last_at, count.last_id = now, id_[:_LONGEST]

    def taken(self) -> Mapping[tuple[datetime, str, str], Count]:
        """Returns them, and begins anew."""
        counts, self._counts = self._counts, {}
        return counts


def write(database: Database, counts: Mapping[tuple[datetime, str, str], Count]) -> None:
    """Adds counts to the table."""
    database.execute_many(
        "insert into {ops}.event_rejections as kept"
        " (hour, source, reason, requests, last_at, last_id) values (%s, %s, %s, %s, %s, %s)"
        " on conflict (hour, source, reason) do update set"
        " requests = kept.requests + excluded.requests,"
        " last_at = greatest(kept.last_at, excluded.last_at), last_id = excluded.last_id",
        [(*key, each.requests, each.last_at, each.last_id) for key, each in counts.items()],
    )


def listed(database: Database, since: datetime) -> list[Row]:
    """Returns what was not accepted since a moment, the newest hour first."""
    return database.rows(
        "select hour, source, reason, requests, last_at, last_id from {ops}.event_rejections"
        " where last_at >= %s order by hour desc, requests desc, source, reason",
        (since,),
    )

"""How events fare, for people and incidents: what is of unknown type, dead, quarantined and why.

Belongs here: counts over the inbox. Does not belong here: single events (inbox.py). Reads only.
"""

from __future__ import annotations

from datetime import datetime

from tutor_pipeline.core.warehouse.database import Database, Row


def is_used(database: Database) -> bool:
    """Whether a platform pushes events here, or may."""
    return bool(
        database.value(
            "select exists (select 1 from {ops}.event_inbox)"
            " or exists (select 1 from {ops}.event_secrets)"
        )
    )


def received(database: Database, since: datetime) -> int:
    """Returns how many events came since a moment."""
    return int(
        database.value("select count(*) from {ops}.event_inbox where received_at >= %s", (since,))
    )


def kept(database: Database, since: datetime | None) -> int:
    """Returns how many events can be applied anew, of all or of those received since a moment."""
    return int(
        database.value(
            "select count(*) from {ops}.event_inbox where state <> 'dropped'"
            " and (%(since)s::timestamptz is null or received_at >= %(since)s)",
            {"since": since},
        )
    )


def unknown_types(database: Database) -> list[Row]:
    """Returns the types that are not read, by source: events, first_at, last_at. Those that came
    first stand first.
    """
    return database.rows(
        "select source, type, count(*) as events, min(received_at) as first_at,"
        " max(received_at) as last_at from {ops}.event_inbox where state = 'unknown'"
        " group by source, type order by first_at, source, type"
    )


def dead(database: Database) -> list[Row]:
    """Returns, by source, the events on which applying failed: events, and the newest one with its
    error.
    """
    return database.rows(
        "select distinct on (source) source, count(*) over (partition by source) as events,"
        " event_id, error from {ops}.event_inbox where state = 'dead'"
        " order by source, received_no desc"
    )


def reasons(database: Database, limit: int) -> list[Row]:
    """Returns why events are quarantined, the most frequent reason first: reason, events."""
    return database.rows(
        "select reasons.reason, count(*) as events from {ops}.event_inbox as stored"
        " cross join unnest(stored.reasons) as reasons (reason)"
        " where stored.state = 'quarantined'"
        " group by reasons.reason order by events desc, reasons.reason limit %s",
        (limit,),
    )

"""Incidents: `report` opens one, `close` ends it.

A cause is a kind and a subject. The database allows one open row per cause, however often and from
however many processes it is reported.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from psycopg.types.json import Jsonb

from tutor_pipeline.core.warehouse.database import Database, Row


class Kind(StrEnum):
    """The kinds of incidents, as in the column `kind`."""

    RUN_FAILURE = "run_failure"
    BLOCKING_CHECK = "blocking_check"
    STUCK_QUEUE = "stuck_queue"
    TUTOR_SET_ASIDE = "tutor_set_aside"
    DRIFT = "drift"
    UNDELIVERED = "undelivered"
    LEAKAGE = "leakage"
    HELD_BACK = "held_back"
    SOURCE_LOSS = "source_loss"
    UNKNOWN_EVENTS = "unknown_events"
    DEAD_EVENTS = "dead_events"


MEANING: Mapping[Kind, tuple[str, str]] = {
    Kind.RUN_FAILURE: (
        "a run failed; what it makes stays as it was",
        "read why in the run's log; over when a later run succeeds",
    ),
    Kind.BLOCKING_CHECK: (
        "data breaks a rule; no alert is made of it, those that stand stay",
        "tutor-pipeline validate shows the rows: mend them on the platform, then enrich",
    ),
    Kind.STUCK_QUEUE: (
        "sessions, or events, are not processed; alerts are as of before them",
        "see why; over when they are processed",
    ),
    Kind.TUTOR_SET_ASIDE: (
        "a tutor's rows break the computation; the others go on",
        "mend what the reason names on the platform; tried again by itself",
    ),
    Kind.DRIFT: (
        "rows differed from what a rebuild makes of the platform; the rebuilt ones stand",
        "look at the differing rows of the check; over when the next comparison finds none",
    ),
    Kind.UNDELIVERED: (
        "messages did not get to that address in eight tries; whoever reads there was not told",
        "see why; mend the address or its server, then tutor-pipeline notify retry",
    ),
    Kind.LEAKAGE: (
        "a column holds what was not known then; nothing is learned from it, scores go on",
        "find who rewrites it, or how it knows; if that is right: tutor-pipeline scores accept"
        " COLUMN, else over when the weekly learning no longer finds it",
    ),
    Kind.HELD_BACK: (
        "what was learned is better than it can be; documented weights stay in force",
        "find the column that knows the future; if there is none: tutor-pipeline scores accept"
        " VERSION, as the incident names it",
    ),
    Kind.SOURCE_LOSS: (
        "rows of the platform are missing or cannot be read; nothing is derived of the rest, alerts"
        " stay as they are",
        "see who copies or hides them; over when they are back. If they are gone for good:"
        " tutor-pipeline enrich --accept-loss",
    ),
    Kind.UNKNOWN_EVENTS: (
        "a platform pushes events of a type that is not read; they are kept and change nothing",
        "tutor-pipeline events types lists those that are read: have the sender name one of them;"
        " over when none came for a week",
    ),
    Kind.DEAD_EVENTS: (
        "applying an event fails; it is set aside, the others go on",
        "tutor-pipeline events dead shows the error; once its cause is mended:"
        " tutor-pipeline events replay --id ID",
    ),
}
"""What each kind means, and what to do next."""


def report(
    database: Database,
    kind: Kind,
    subject: str,
    title: str,
    details: Mapping[str, Any],
    *,
    run_id: str | None,
    now: datetime,
) -> int | None:
    """Opens an incident. Returns its id, or None when the cause has an open one already.

    The open one gets the new title and details. It counts one more occurrence when another run
    reports it; repeated reports of the same run, or of a lasting state without a run, count once.
    """
    opened: int | None = database.value(
        """
            insert into {ops}.incidents as incidents
                (kind, subject, title, details, run_id, opened_at, last_seen_at)
            values (%(kind)s, %(subject)s, %(title)s, %(details)s, %(run_id)s, %(now)s, %(now)s)
            on conflict (kind, subject) where closed_at is null do update set
                title = excluded.title,
                details = excluded.details,
                run_id = excluded.run_id,
                last_seen_at = greatest(incidents.last_seen_at, excluded.last_seen_at),
                occurrences = incidents.occurrences
                    + case when excluded.run_id is distinct from incidents.run_id then 1 else 0 end
            -- xmax is 0 in a row that this statement inserted.
            returning case when xmax = 0 then incident_id end
            """,
        {
            "kind": kind,
            "subject": subject,
            "title": title,
            "details": Jsonb(dict(details)),
            "run_id": run_id,
            "now": now,
        },
    )
    return opened


def close(database: Database, kind: Kind, subjects: Collection[str], now: datetime) -> int:
    """Closes the open incidents of a kind about these subjects. Returns how many there were."""
    closed = database.execute(
        "update {ops}.incidents set closed_at = greatest(opened_at, %(now)s)"
        " where kind = %(kind)s and subject = any(%(subjects)s) and closed_at is null",
        {"now": now, "kind": kind, "subjects": list(subjects)},
    )
    return closed.rowcount


def listed(
    database: Database,
    *,
    kind: Kind | None = None,
    include_closed: bool = False,
    limit: int = 1_000,
) -> list[Row]:
    """Returns incidents: open ones first, each group the newest first."""
    return database.rows(
        "select incident_id, kind, subject, title, details, run_id, opened_at,"
        " last_seen_at, occurrences, closed_at from {ops}.incidents"
        " where (%(kind)s::text is null or kind = %(kind)s)"
        " and (%(all)s or closed_at is null)"
        " order by closed_at is not null, opened_at desc, incident_id desc limit %(limit)s",
        {"kind": kind, "all": include_closed, "limit": limit},
    )

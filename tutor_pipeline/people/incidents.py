"""Incidents: `report` says that something is broken, `close` that it is over.

A cause is a kind and a subject, and has one open row at most (the database sees to it), however
often and by however many it is reported.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from psycopg.types.json import Jsonb

from tutor_pipeline.core.warehouse.database import Database


class Kind(StrEnum):
    """What may break, as the column `kind` has it."""

    RUN_FAILURE = "run_failure"
    BLOCKING_CHECK = "blocking_check"
    STUCK_QUEUE = "stuck_queue"
    TUTOR_SET_ASIDE = "tutor_set_aside"
    DRIFT = "drift"
    UNDELIVERED = "undelivered"
    LEAKAGE = "leakage"
    HELD_BACK = "held_back"


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
        "sessions are not processed; alerts are as of before them",
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
    """Something is broken. The incident's id when this opened one, else None.

    An open one of that cause gets these words, and counts one occurrence more if another run says
    so: told twice of one run, or of a state that lasts (no run), it counts once.
    """
    row = database.execute(
        """
            insert into {ops}.incidents as incidents
                (kind, subject, title, details, run_id, opened_at, last_seen_at)
            values (%s, %s, %s, %s, %s, %s, %s)
            on conflict (kind, subject) where closed_at is null do update set
                title = excluded.title,
                details = excluded.details,
                run_id = excluded.run_id,
                last_seen_at = greatest(incidents.last_seen_at, excluded.last_seen_at),
                occurrences = incidents.occurrences
                    + case when excluded.run_id is distinct from incidents.run_id then 1 else 0 end
            -- xmax is 0 in a row that was not there before.
            returning case when xmax = 0 then incident_id end
            """,
        (kind, subject, title, Jsonb(dict(details)), run_id, now, now),
    ).fetchone()
    return None if row is None else row[0]


def close(database: Database, kind: Kind, subjects: Collection[str], now: datetime) -> int:
    """These incidents of a kind are over. Returns how many were open."""
    closed = database.execute(
        "update {ops}.incidents set closed_at = greatest(opened_at, %s)"
        " where kind = %s and subject = any(%s) and closed_at is null",
        (now, kind, list(subjects)),
    )
    return closed.rowcount


def listed(
    database: Database,
    *,
    kind: Kind | None = None,
    include_closed: bool = False,
    limit: int = 1_000,
) -> list[dict[str, Any]]:
    """Incidents with all their columns: the open ones first, the newest first among them."""
    return database.rows(
        "select incident_id, kind, subject, title, details, run_id, opened_at,"
        " last_seen_at, occurrences, closed_at from {ops}.incidents"
        " where (%(kind)s::text is null or kind = %(kind)s)"
        " and (%(all)s or closed_at is null)"
        " order by closed_at is not null, opened_at desc, incident_id desc limit %(limit)s",
        {"kind": kind, "all": include_closed, "limit": limit},
    )

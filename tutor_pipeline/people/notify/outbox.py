"""The outbox: what people are to be told, noted in the transaction of what it is about.

So neither exists without the other. A row is unique per subject, transition and audience: noted
again, it stays the one it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from psycopg.types.json import Jsonb

from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.core.findings import Change, Severity, Step
from tutor_pipeline.core.warehouse.database import Database


class Kind(StrEnum):
    """What a row is about."""

    ALERT = "alert"
    SESSION = "session"
    INCIDENT = "incident"
    DIGEST = "digest"
    RULES = "rules"


SUMMARY_AT = time(7)
"""When warnings of the last day are told together, in the pipeline's time zone."""

OF_THE_PAST = timedelta(days=2)
"""An alert as of longer ago comes from looking back: nobody is called for it."""

REPORTED_WITHIN = timedelta(days=2)
"""A session that began longer ago and was only found now gets no report of its own."""

_INSERT = """
    insert into {ops}.outbox
        (audience, kind, tutor_id, subject_id, transition, occurred_at, due_at, details, run_id,
        dropped)
    select
        audience, kind, tutor_id, subject_id, transition, occurred_at, due_at, details, run_id,
        dropped
    from jsonb_to_recordset(%s) as noted (
        audience text, kind text, tutor_id text, subject_id text, transition text,
        occurred_at timestamptz, due_at timestamptz, details jsonb, run_id text, dropped text
    )
    on conflict (tutor_id, kind, subject_id, transition, audience) do nothing
"""

_SESSIONS = """
    insert into {ops}.outbox
        (audience, kind, tutor_id, subject_id, transition, occurred_at, due_at, run_id)
    select
        'sessions', 'session', sessions.tutor_id, sessions.session_id, 'completed',
        sessions.scheduled_start, %(now)s, %(run_id)s
    from {ops}.session_changes as changes
    inner join {marts}.fct_sessions as sessions
        on changes.tutor_id = sessions.tutor_id and changes.session_id = sessions.session_id
    where
        changes.run_id = %(run_id)s
        and sessions.status = 'completed'
        and sessions.scheduled_start between %(since)s and %(now)s
    on conflict (tutor_id, kind, subject_id, transition, audience) do nothing
"""


def note_alerts(
    database: Database, changes: Iterable[Change], *, as_of: datetime, now: datetime, run_id: str
) -> int:
    """Alerts that opened, and those that became worse: critical ones are told at once, warnings
    with the next summary. Returns how many there were.
    """
    is_past = now - as_of > OF_THE_PAST
    rows = []
    for change in changes:
        if change.step not in (Step.OPENED, Step.ESCALATED) or change.finding is None:
            continue
        is_critical = change.finding.severity is Severity.CRITICAL
        rows.append(
            _row(
                Audience.CRITICAL if is_critical else Audience.WARNING,
                Kind.ALERT,
                change.row_id,
                # An alert may escalate, ease, and escalate again.
                f"{change.step} {change.event_no}",
                # By the clock, as what people do is: which came first decides who is told.
                now,
                now if is_critical else next_summary(now, database.timezone),
                run_id,
                tutor_id=change.tutor_id,
                dropped="as of the past" if is_past else None,
            )
        )
    return _insert(database, rows)


def note_switch(
    database: Database, details: Mapping[str, Any], *, as_of: datetime, now: datetime, run_id: str
) -> int:
    """Another rule profile is in force: told once. `details`: `profile`, the one `before` and
    whether that one ships (`is_shipped`), and what became of the alerts (see
    `lifecycle.store.adopt`). What opened is told besides, as ever.
    """
    row = _row(
        Audience.CRITICAL,
        Kind.RULES,
        run_id,
        f"{details['before']} to {details['profile']}",
        now,
        now,
        run_id,
        details=details,
        dropped="as of the past" if now - as_of > OF_THE_PAST else None,
    )
    return _insert(database, [row])


def note_sessions(database: Database, run_id: str, now: datetime) -> int:
    """The completed sessions among what a refresh has taken (`ops.session_changes`), each once
    for ever. Called before the ledger settles them.
    """
    return database.execute(
        _SESSIONS,
        {"run_id": run_id, "now": now, "since": now - REPORTED_WITHIN},
    ).rowcount


def note_incident(
    database: Database,
    incident_id: int,
    details: Mapping[str, Any],
    *,
    at: datetime,
    run_id: str | None,
) -> int:
    """Something broke. `details`: title, kind, subject, means, next, and why where it is known."""
    row = _row(
        Audience.OPS, Kind.INCIDENT, str(incident_id), "opened", at, at, run_id, details=details
    )
    return _insert(database, [row])


def note_digest(
    database: Database, week: str, details: Mapping[str, Any], *, now: datetime, run_id: str
) -> bool:
    """The digest of a week (named by its first day) is due; False when it was noted before."""
    row = _row(Audience.DIGEST, Kind.DIGEST, week, "ended", now, now, run_id, details=details)
    return _insert(database, [row]) == 1


def next_summary(now: datetime, timezone: str) -> datetime:
    """The next moment after `now` at which warnings are told."""
    here = now.astimezone(ZoneInfo(timezone))
    today = datetime.combine(here.date(), SUMMARY_AT, here.tzinfo)
    if today > here:
        return today
    return datetime.combine(here.date() + timedelta(days=1), SUMMARY_AT, here.tzinfo)


def _row(
    audience: Audience,
    kind: Kind,
    subject_id: str,
    transition: str,
    occurred_at: datetime,
    due_at: datetime,
    run_id: str | None,
    *,
    tutor_id: str = "",
    details: Mapping[str, Any] | None = None,
    dropped: str | None = None,
) -> dict[str, Any]:
    return {
        "audience": audience,
        "kind": kind,
        "tutor_id": tutor_id,
        "subject_id": subject_id,
        "transition": transition,
        "occurred_at": occurred_at.isoformat(),
        "due_at": due_at.isoformat(),
        "details": dict(details or {}),
        "run_id": run_id,
        "dropped": dropped,
    }


def _insert(database: Database, rows: Sequence[Mapping[str, Any]]) -> int:
    if not rows:
        return 0
    return database.execute(_INSERT, (Jsonb(list(rows)),)).rowcount

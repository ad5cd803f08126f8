"""The outbox: notes what people must be told, in the transaction that changes the subject.

So a change is never stored without its note, nor a note without its change. A row is unique per
subject, transition and audience: noting it again changes nothing.
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
from tutor_pipeline.core.warehouse.statements import statement


class Kind(StrEnum):
    """The kind of a row's subject."""

    ALERT = "alert"
    SESSION = "session"
    INCIDENT = "incident"
    DIGEST = "digest"
    RULES = "rules"


SUMMARY_AT = time(7)
"""The time of day of the summary of warnings, in the pipeline's time zone."""

OF_THE_PAST = timedelta(days=2)
"""Nobody is told of alerts whose as-of lies further back: they come from computing past days."""

REPORTED_WITHIN = timedelta(days=2)
"""Sessions that began earlier than this before they were found get no report."""

_INSERT = """
    insert into {ops}.outbox
        (audience, kind, tutor_id, subject_id, transition, occurred_at, due_at, details, run_id,
        dropped)
    select
        audience, kind, tutor_id, subject_id, transition, occurred_at, due_at, details, run_id,
        dropped
    from jsonb_to_recordset(%(rows)s) as noted (
        audience text, kind text, tutor_id text, subject_id text, transition text,
        occurred_at timestamptz, due_at timestamptz, details jsonb, run_id text, dropped text
    )
    on conflict (tutor_id, kind, subject_id, transition, audience) do nothing
"""


def note_alerts(
    database: Database, changes: Iterable[Change], *, as_of: datetime, now: datetime, run_id: str
) -> int:
    """Notes alerts that opened or became worse. Returns how many it noted.

    Critical ones are due at once, warnings with the next summary.
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
                # The number keeps repeated escalations of one alert apart.
                f"{change.step} {change.event_no}",
                # By the clock, like the moment of an acknowledgement: the two are compared.
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
    """Notes that another rule profile is in force. Returns how many rows it noted.

    `details` has the `profile`, the one `before`, whether that one is part of the project
    (`is_shipped`), and the counts of `lifecycle.store.adopt`. Alerts that opened are noted on their
    own, as always.
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
    """Notes the completed sessions that a run has taken (`ops.session_changes`), each session once
    ever. Returns how many it noted. Must run before the ledger settles them.
    """
    return database.execute(
        statement(__file__, "note_sessions"),
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
    """Notes an incident. `details` has title, kind, subject, means, next, and why if known."""
    row = _row(
        Audience.OPS, Kind.INCIDENT, str(incident_id), "opened", at, at, run_id, details=details
    )
    return _insert(database, [row])


def note_digest(
    database: Database, week: str, details: Mapping[str, Any], *, now: datetime, run_id: str
) -> bool:
    """Notes that the digest of a week is due. Returns False when it was noted before.

    `week` is the first day of the week, as an ISO date.
    """
    row = _row(Audience.DIGEST, Kind.DIGEST, week, "ended", now, now, run_id, details=details)
    return _insert(database, [row]) == 1


def next_summary(now: datetime, timezone: str) -> datetime:
    """Returns the next moment after `now` at which the summary of warnings is due."""
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
    return database.execute(_INSERT, {"rows": Jsonb(list(rows))}).rowcount

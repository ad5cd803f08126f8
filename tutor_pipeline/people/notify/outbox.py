"""The outbox: notes what people must be told, in the transaction that changes the subject.

So a change is never stored without its note, nor a note without its change. A row is unique per
subject, transition and audience: noting it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from psycopg.types.json import Jsonb

from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.core.warehouse.database import Database

SUMMARY_AT = time(7)
"""The time of day of the summary of warnings, in the pipeline's time zone."""

OF_THE_PAST = timedelta(days=2)
"""Nobody is told of alerts whose as-of lies further back: they come from computing past days."""

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


def next_summary(now: datetime, timezone: str) -> datetime:
    """Returns the next moment after `now` at which the summary of warnings is due."""
    here = now.astimezone(ZoneInfo(timezone))
    today = datetime.combine(here.date(), SUMMARY_AT, here.tzinfo)
    if today > here:
        return today
    return datetime.combine(here.date() + timedelta(days=1), SUMMARY_AT, here.tzinfo)


def row(
    audience: Audience,
    kind: str,
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
    """Returns an outbox row. `dropped` = why nobody is told; the row stays as a record."""
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


def insert(database: Database, rows: Sequence[Mapping[str, Any]]) -> int:
    """Inserts the rows that are not there yet. Returns how many."""
    if not rows:
        return 0
    return database.execute(_INSERT, {"rows": Jsonb(list(rows))}).rowcount

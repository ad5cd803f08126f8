"""Keeps `ops.quarantine`: rows that violate the contract, with reasons and a history.

Belongs here: recording bad rows, and resolving entries that are no longer bad.
Does not belong here: deciding what is bad; staging does that for a live platform, and the CSV
import for files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.statements import statement

LIVE_SOURCE = "platform.sessions"
MAX_BUSINESS_KEY = 511
"""Characters kept of a business key. It is indexed, and an index takes up to 2,700 bytes."""

_RECORD = statement(__file__, "record_bad_rows")
_RESOLVE_LIVE = statement(__file__, "resolve_live")

# A refresh of some tutors labels their rows and those of nobody.
_LIVE_ROWS = """
    select
        %(source)s::text as source,
        row_key,
        left(session_id, %(max_key)s) as business_key,
        null::text as file,
        null::bigint as line,
        payload,
        null::text as raw,
        quarantine_reasons as reasons
    from {staging}.session_rows
    where quarantine_reasons <> '{{}}' {of_tutors}
"""
_OF_TUTORS = sql.SQL("and (tutor_id = any(%(tutors)s) or tutor_id is null)")


@dataclass(frozen=True, slots=True)
class QuarantineSummary:
    """Counts of session rows: rows = clean + quarantined. A row may have several reasons."""

    rows: int
    clean: int
    quarantined: int
    by_reason: Mapping[str, int]
    resolved: int


def sync_live(database: Database, as_of: datetime) -> QuarantineSummary:
    """Updates the quarantine from the labels in `{staging}.session_rows`, in one transaction.

    Records bad rows as seen at `as_of`, and resolves open entries that are no longer bad. Repeating
    it changes nothing.
    """
    with database.transaction():
        resolved = _sync(database, as_of, None)
        counts = database.one(
            "select count(*) as rows,"
            " count(*) filter (where quarantine_reasons = '{{}}') as clean"
            " from {staging}.session_rows"
        )
        reasons = database.execute(
            "select reason, count(*) from {staging}.session_rows,"
            " unnest(quarantine_reasons) as reason group by reason order by 2 desc, 1"
        ).fetchall()
    assert counts is not None
    rows, clean = counts["rows"], counts["clean"]
    return QuarantineSummary(rows, clean, rows - clean, dict(reasons), resolved)


def sync_live_of(database: Database, as_of: datetime, tutors: Sequence[str]) -> None:
    """Does the same for the rows of some tutors and of nobody, in the open transaction."""
    _sync(database, as_of, list(tutors))


def record(database: Database, rows: sql.Composable, values: Mapping[str, Any]) -> None:
    """Records bad rows as open entries, in the open transaction.

    `rows` selects the quarantine's columns from source to reasons; `values` are its parameters and
    `as_of`. Known entries keep their first_seen.
    """
    database.execute(database.sql(_RECORD, rows=rows), values)


def _sync(database: Database, as_of: datetime, tutors: list[str] | None) -> int:
    """Records and resolves entries of live rows; `tutors` None = all. Returns those resolved."""
    of_tutors = sql.SQL("") if tutors is None else _OF_TUTORS
    rows = database.sql(_LIVE_ROWS, of_tutors=of_tutors)
    values = {
        "as_of": as_of,
        "source": LIVE_SOURCE,
        "max_key": MAX_BUSINESS_KEY,
        "tutors": tutors,
    }
    record(database, rows, values)
    return database.execute(database.sql(_RESOLVE_LIVE, rows=rows), values).rowcount

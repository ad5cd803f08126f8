"""Keeping `ops.quarantine`: rows that broke their contract, with reasons and a history.

Belongs here: recording what is bad now, and resolving what no longer is. Does not belong here:
deciding what is bad; that is staging's for a live platform, and the CSV import's for files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql

from tutor_pipeline.core.warehouse.database import Database

LIVE_SOURCE = "platform.sessions"
MAX_BUSINESS_KEY = 511
"""Characters kept of a business key: it is indexed, and an index takes up to 2,700 bytes."""

_COLUMNS = "source, row_key, business_key, file, line, payload, raw, reasons"

_RECORD = f"""
    insert into {{ops}}.quarantine as kept ({_COLUMNS}, first_seen, last_seen)
    select {_COLUMNS}, %(as_of)s, %(as_of)s from ({{rows}}) as bad
    on conflict (source, row_key) do update set
        business_key = excluded.business_key,
        file = excluded.file,
        line = excluded.line,
        payload = excluded.payload,
        raw = excluded.raw,
        reasons = excluded.reasons,
        first_seen = least(kept.first_seen, excluded.first_seen),
        last_seen = greatest(kept.last_seen, excluded.last_seen),
        resolved_at = null
"""

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
    where quarantine_reasons <> '{{}}'
"""

_RESOLVE_LIVE = """
    update {ops}.quarantine as kept set resolved_at = %(as_of)s
    from (
        select opened.row_key
        from {ops}.quarantine as opened
        left join {staging}.session_rows as incoming
            on incoming.row_key = opened.row_key and incoming.quarantine_reasons <> '{{}}'
        where opened.source = %(source)s and opened.resolved_at is null
            and incoming.row_key is null
    ) as gone
    where kept.source = %(source)s and kept.row_key = gone.row_key
"""


# Rows of some tutors and of nobody: what a refresh of these tutors has labelled anew.
_OF_TUTORS = " and (tutor_id = any(%(tutors)s) or tutor_id is null)"

_RESOLVE_LIVE_OF_TUTORS = f"""
    update {{ops}}.quarantine as kept set resolved_at = %(as_of)s
    from (
        select opened.row_key
        from {{ops}}.quarantine as opened
        left join (
            select row_key from {{staging}}.session_rows
            where quarantine_reasons <> '{{{{}}}}' {_OF_TUTORS}
        ) as incoming on incoming.row_key = opened.row_key
        where opened.source = %(source)s and opened.resolved_at is null
            and (
                opened.payload ->> 'tutor_id' = any(%(tutors)s)
                or opened.payload ->> 'tutor_id' is null
            )
            and incoming.row_key is null
    ) as gone
    where kept.source = %(source)s and kept.row_key = gone.row_key
"""


@dataclass(frozen=True, slots=True)
class QuarantineSummary:
    """Incoming session rows: all = clean + quarantined; a row may have several reasons."""

    rows: int
    clean: int
    quarantined: int
    by_reason: Mapping[str, int]
    resolved: int


def sync_live(database: Database, as_of: datetime) -> QuarantineSummary:
    """Bring the quarantine in step with the labels in `{staging}.session_rows`.

    Bad rows are recorded or seen again, open entries that are no longer bad are resolved at
    `as_of`; all in one transaction. Repeating it changes nothing.
    """
    values = {"as_of": as_of, "source": LIVE_SOURCE, "max_key": MAX_BUSINESS_KEY}
    with database.transaction():
        record(database, database.sql(_LIVE_ROWS), values)
        resolved = database.execute(_RESOLVE_LIVE, values).rowcount
        row = database.execute(
            "select count(*), count(*) filter (where quarantine_reasons = '{{}}')"
            " from {staging}.session_rows"
        ).fetchone()
        reasons = database.execute(
            "select reason, count(*) from {staging}.session_rows,"
            " unnest(quarantine_reasons) as reason group by reason order by 2 desc, 1"
        ).fetchall()
    assert row is not None
    rows, clean = row
    return QuarantineSummary(rows, clean, rows - clean, dict(reasons), resolved)


def sync_live_of(database: Database, as_of: datetime, tutors: Sequence[str]) -> None:
    """What `sync_live` does, for the rows of some tutors and of nobody, in the connection's
    transaction.
    """
    values = {
        "as_of": as_of,
        "source": LIVE_SOURCE,
        "max_key": MAX_BUSINESS_KEY,
        "tutors": list(tutors),
    }
    record(database, database.sql(_LIVE_ROWS + _OF_TUTORS), values)
    database.execute(_RESOLVE_LIVE_OF_TUTORS, values)


def record(database: Database, rows: sql.Composable, values: Mapping[str, Any]) -> None:
    """Record bad rows as open, in the connection's transaction.

    `rows` selects the quarantine's columns from source to reasons; `values` are its parameters and
    `as_of`. What is known keeps its first_seen.
    """
    names = {**database.schemas.identifiers(), "rows": rows}
    database.execute(sql.SQL(_RECORD).format(**names), values)

"""Queries on the quarantine for commands. Reads only."""

from __future__ import annotations

from difflib import get_close_matches

from psycopg.sql import SQL

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.formatting import MAX_CANDIDATES, candidates
from tutor_pipeline.core.warehouse.database import Database, Row

_CHOSEN = SQL(
    """
    (%(all)s or resolved_at is null)
    and (%(source)s::text is null or source = %(source)s)
    and (%(reason)s::text is null or %(reason)s = any(reasons))
    """
)


def entries(
    database: Database,
    *,
    source: str | None = None,
    reason: str | None = None,
    include_resolved: bool = False,
    limit: int,
) -> tuple[int, list[Row]]:
    """Returns the number of entries and the first `limit` of them, without payload and raw text.

    The newest come first, those of one file in the order of its lines. Raises UsageError for a
    source or a reason that no entry ever had.
    """
    _check_known(database, "source", SQL("source"), source)
    _check_known(database, "reason", SQL("unnest(reasons)"), reason)
    chosen = {"all": include_resolved, "source": source, "reason": reason, "limit": limit}
    count: int = database.value(
        database.sql("select count(*) from {ops}.quarantine where {chosen}", chosen=_CHOSEN), chosen
    )
    rows = database.rows(
        database.sql(
            "select source, row_key, business_key, file, line, reasons, first_seen, last_seen,"
            " resolved_at from {ops}.quarantine where {chosen}"
            " order by last_seen desc, source, file, line, row_key limit %(limit)s",
            chosen=_CHOSEN,
        ),
        chosen,
    )
    return count, rows


def entry(database: Database, row_key: str) -> Row:
    """Returns one entry with all its columns, by the beginning of its key, or beginning and number
    (`3fa2#1`).

    Raises UsageError when no entry or more than one fits.
    """
    beginning, _, number = row_key.partition("#")
    found = database.rows(
        "select * from {ops}.quarantine where starts_with(row_key, %(beginning)s)"
        " and (%(number)s = '' or split_part(row_key, '#', 2) = %(number)s)"
        " order by source, row_key limit %(limit)s",
        {"beginning": beginning, "number": number, "limit": MAX_CANDIDATES + 1},
    )
    if len(found) != 1:
        raise UsageError(
            f"{'no' if not found else 'more than one'} quarantined row has a key that begins with"
            f" {row_key!r}{candidates([row['row_key'] for row in found])}.\n"
            "See the keys with: tutor-pipeline quarantine list --all"
        )
    return found[0]


def _check_known(database: Database, what: str, column: SQL, value: str | None) -> None:
    """Raises UsageError with the known values when no entry ever had this one."""
    if value is None:
        return
    rows = database.rows(
        database.sql(
            "select distinct {column} as value from {ops}.quarantine order by 1", column=column
        )
    )
    known = [row["value"] for row in rows]
    if value not in known:
        near = get_close_matches(value, known) or known
        hint = f" Known: {', '.join(near)}" if near else ""
        raise UsageError(f"no quarantined row ever had the {what} {value!r}.{hint}")

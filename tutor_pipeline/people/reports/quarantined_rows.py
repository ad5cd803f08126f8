"""What commands show of the quarantine, as plain SQL. Reads only."""

from __future__ import annotations

from difflib import get_close_matches

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.people.reports.queries import Row

_CHOSEN = """
    from {ops}.quarantine
    where
        (%(all)s or resolved_at is null)
        and (%(source)s::text is null or source = %(source)s)
        and (%(reason)s::text is null or %(reason)s = any(reasons))
"""


def entries(
    database: Database,
    *,
    source: str | None = None,
    reason: str | None = None,
    include_resolved: bool = False,
    limit: int,
) -> tuple[int, list[Row]]:
    """How many entries there are, and the first of them: the newest, and of a file in the order
    of its lines. Without payload and raw text, which `entry` has.

    Raises UsageError for a source or a reason that no entry ever had.
    """
    _check(database, "source", "source", source)
    _check(database, "reason", "unnest(reasons)", reason)
    chosen = {"all": include_resolved, "source": source, "reason": reason, "limit": limit}
    count: int = database.value(f"select count(*) {_CHOSEN}", chosen)
    rows = database.rows(
        "select source, row_key, business_key, file, line, reasons, first_seen, last_seen,"
        f" resolved_at {_CHOSEN} order by last_seen desc, source, file, line, row_key"
        " limit %(limit)s",
        chosen,
    )
    return count, rows


def entry(database: Database, row_key: str) -> Row:
    """One entry, by its key: beginning, or beginning and number (`3fa2#1`).

    Raises UsageError: none or several have it.
    """
    beginning, _, number = row_key.partition("#")
    found = database.rows(
        "select * from {ops}.quarantine where starts_with(row_key, %(beginning)s)"
        " and (%(number)s = '' or split_part(row_key, '#', 2) = %(number)s)"
        " order by source, row_key limit 2",
        {"beginning": beginning, "number": number},
    )
    if len(found) != 1:
        raise UsageError(
            f"{'no' if not found else 'more than one'} quarantined row has a key that begins with"
            f" {row_key!r}.\nSee the keys with: tutor-pipeline quarantine list --all"
        )
    return found[0]


def _check(database: Database, what: str, column: str, value: str | None) -> None:
    if value is None:
        return
    known = [
        row["value"]
        for row in database.rows(
            f"select distinct {column} as value from {{ops}}.quarantine order by 1"
        )
    ]
    if value not in known:
        near = get_close_matches(value, known) or known
        hint = f" Known: {', '.join(near)}" if near else ""
        raise UsageError(f"no quarantined row ever had the {what} {value!r}.{hint}")

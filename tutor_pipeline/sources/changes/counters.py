"""Whether sessions, their metrics or feedback were written: PostgreSQL counts what is written.

The counters cost nothing to read. They say that something was written, not what: the ledger
compares then. A writer's counts appear with its next commit a second later, or when it has been
idle for ten. An emptied table (TRUNCATE) is not counted.
"""

from __future__ import annotations

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.platform_source import quoted
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.sources.changes.versions import contract


def written(database: Database) -> int | None:
    """Returns how many rows of the sessions and of their parts were ever written; None: nobody
    counts them (a view, a foreign table, a standby, `track_counts` off).

    The transaction keeps the first answer: ask in a new one.
    """
    found = database.execute(statement(__file__, "rows_written"), {"names": _names(database)})
    is_counted, rows = found.fetchone() or (False, 0)
    return int(rows) if is_counted else None


def _names(database: Database) -> list[str]:
    """The tables that hold them, as the platform calls them."""
    source = database.warehouse.source
    if source is None:
        return [quoted(database.schemas.platform, table) for table in contract()]
    return [
        quoted(read.schema, read.relation)
        for table in contract()
        if table in source.tables
        for read in source.tables[table].reads
    ]

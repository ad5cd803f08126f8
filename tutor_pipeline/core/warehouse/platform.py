"""The platform schema that we make ourselves, for `generate` and `import`.

A live platform's schema is read, never written: what we did not make and mark is refused.
"""

from __future__ import annotations

from pathlib import Path

from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.migrate import MARK, ensure_marked_schema, schema_mark

_DDL = Path(__file__).parent / "platform.sql"


def is_ours(database: Database) -> bool:
    """Whether the platform schema is one that we made."""
    return (schema_mark(database.connection, database.schemas.platform) or "").startswith(MARK)


def ensure_platform(database: Database) -> None:
    """Make the platform's schema and tables in the connection's transaction, once.

    Raises RefusedError when the schema is there and is not ours.
    """
    schema = database.schemas.platform
    mark = schema_mark(database.connection, schema)
    if mark is not None and not mark.startswith(MARK):
        raise RefusedError(
            f'the schema "{schema}" of {database.warehouse.masked_url} is a'
            " platform's own: nothing is"
            " ever written to it.\nTo load data here, unset TUTOR_PLATFORM_SCHEMA or name a schema"
            " that does not exist yet."
        )
    # Two processes may want it at once: the second waits here and then finds it made.
    database.lock("platform", schema=schema)
    if ensure_marked_schema(database.connection, schema):
        database.execute(_DDL.read_text(encoding="utf-8"))

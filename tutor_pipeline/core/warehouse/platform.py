"""The platform schema that we make ourselves, for `generate` and `import`.

The schema of a live platform is only read: writing to a schema without our mark is refused.
"""

from __future__ import annotations

from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.marked_schemas import MARK, ensure_marked_schema, schema_mark
from tutor_pipeline.core.warehouse.statements import statement

_TABLES = statement(__file__, "platform")


def is_ours(database: Database) -> bool:
    """Whether we made the platform schema."""
    return (schema_mark(database.connection, database.schemas.platform) or "").startswith(MARK)


def ensure_platform(database: Database) -> None:
    """Creates the platform's schema and tables in the open transaction, unless they exist.

    Raises RefusedError when a schema of that name exists and is not ours.
    """
    schema = database.schemas.platform
    mark = schema_mark(database.connection, schema)
    if mark is not None and not mark.startswith(MARK):
        raise RefusedError(
            f'the schema "{schema}" of {database.warehouse.masked_url} is a platform\'s own:'
            " nothing is ever written to it.\nTo load data here, unset TUTOR_PLATFORM_SCHEMA or"
            " name a schema that does not exist yet."
        )
    # Two processes may do this at once: the second waits here, then finds the tables.
    database.lock("platform", schema=schema)
    if ensure_marked_schema(database.connection, schema):
        database.execute(_TABLES)

"""Writes a population into the platform and truth schemas in one transaction.

Belongs here: the transaction, the order, progress. It writes only to schemas that we made.
Does not belong here: the wire format (copy_binary.py), what the rows say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from psycopg import sql

from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.event_versions import forget_all
from tutor_pipeline.core.warehouse.marked_schemas import ensure_marked_schema
from tutor_pipeline.core.warehouse.platform import ensure_platform
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.sources.synthetic.copy_binary import encode
from tutor_pipeline.sources.synthetic.population import Columns, Population, row_count

# Called with the table being written, the rows written so far, and the total rows.
Progress = Callable[[str, int, int], None]

_TRUTH_DDL = statement(__file__, "truth")


def load(
    database: Database,
    population: Population,
    progress: Progress | None = None,
    replace: bool = True,
    on_wait: Callable[[str], None] = lambda _: None,
) -> int:
    """Replaces everything in both schemas by `population`. Returns the number of rows written.

    `on_wait` hears of another process that is writing the platform.
    Loading the same population again leaves the same rows. Raises RefusedError for schemas that
    are not ours and, with `replace` False, for a platform that has sessions.
    """
    schemas = {
        database.schemas.platform: population.platform,
        database.schemas.truth: population.truth,
    }
    total = sum(row_count(table) for tables in schemas.values() for table in tables.values())
    done = 0
    with database.transaction():
        ensure_platform(database, on_wait)
        ensure_marked_schema(database.connection, database.schemas.truth)
        database.execute(_TRUTH_DDL)
        if not replace:
            _refuse_sessions(database)
        forget_all(database)
        for schema, tables in schemas.items():
            known = _column_types(database, schema)
            names = [sql.Identifier(schema, table) for table in known]
            database.execute(sql.SQL("truncate {}").format(sql.SQL(", ").join(names)))
            for table, columns in tables.items():
                done = _copy(database, schema, table, columns, known[table], progress, done, total)
                database.execute(sql.SQL("analyze {}").format(sql.Identifier(schema, table)))
    return done


def _copy(
    database: Database,
    schema: str,
    table: str,
    columns: Columns,
    types: Mapping[str, str],
    progress: Progress | None,
    done: int,
    total: int,
) -> int:
    """Writes one table. Returns the rows written so far."""
    statement = sql.SQL("copy {} ({}) from stdin (format binary)").format(
        sql.Identifier(schema, table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with database.copy(statement) as copy:
        for rows, data in encode(columns, types):
            copy.write(data)
            done += rows
            if progress and rows:
                progress(table, done, total)
    return done


def _refuse_sessions(database: Database) -> None:
    if database.value("select 1 from {platform}.sessions limit 1"):
        raise RefusedError(
            f'the schema "{database.schemas.platform}" holds sessions already; nothing was'
            " changed.\nAllow them to be replaced, or name another TUTOR_PLATFORM_SCHEMA."
        )


def _column_types(database: Database, schema: str) -> dict[str, dict[str, str]]:
    """Returns table → column → type for the tables of `schema`."""
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in database.execute(
        "select c.relname, a.attname, format_type(a.atttypid, null)"
        " from pg_class as c join pg_attribute as a on a.attrelid = c.oid"
        " where c.relnamespace = to_regnamespace(quote_ident(%s)) and c.relkind = 'r'"
        " and a.attnum > 0 and not a.attisdropped order by c.relname, a.attnum",
        (schema,),
    ):
        found.setdefault(table, {})[column] = kind
    return found

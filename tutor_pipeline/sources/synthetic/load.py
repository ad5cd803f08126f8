"""Writes a population into the platform and truth schemas, all of it or nothing.

Belongs here: the transaction, the order, progress. Only schemas that we made are written to.
Does not belong here: the wire format (copy_binary.py), what the rows say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from psycopg import sql

from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.migrate import ensure_marked_schema
from tutor_pipeline.core.warehouse.platform import ensure_platform
from tutor_pipeline.sources.synthetic.copy_binary import encode
from tutor_pipeline.sources.synthetic.population import Columns, Population, row_count

# Called with the table that is being written, the rows written so far, and all rows there are.
Progress = Callable[[str, int, int], None]

_TRUTH_DDL = Path(__file__).parent / "truth.sql"


def load(
    database: Database,
    population: Population,
    progress: Progress | None = None,
    replace: bool = True,
) -> int:
    """Replace everything in both schemas by `population`; gives the number of rows.

    One transaction: loading the same population again leaves the same rows. With `replace`
    False a platform that has sessions is refused. Raises RefusedError, also for schemas that
    are not ours.
    """
    schemas = {
        database.schemas.platform: population.platform,
        database.schemas.truth: population.truth,
    }
    total = sum(row_count(table) for tables in schemas.values() for table in tables.values())
    done = 0
    with database.transaction():
        ensure_platform(database)
        ensure_marked_schema(database.connection, database.schemas.truth)
        database.execute(_TRUTH_DDL.read_text(encoding="utf-8"))
        if not replace:
            _refuse_sessions(database)
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
    """Write one table; gives the rows written so far."""
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
    if database.execute("select 1 from {platform}.sessions limit 1").fetchone():
        raise RefusedError(
            f'the schema "{database.schemas.platform}" holds sessions already; nothing was'
            " changed.\nAllow them to be replaced, or name another TUTOR_PLATFORM_SCHEMA."
        )


def _column_types(database: Database, schema: str) -> dict[str, dict[str, str]]:
    """Table → column → type, of the tables of `schema`."""
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

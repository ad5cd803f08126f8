"""The platform's tables as the contract calls them: what stands after FROM, and their columns.

Every reader of the platform asks here, so that a mapping holds for all of them alike.
Belongs here: relations, their columns and what may be read of them.
Does not belong here: the mapping (`mapping`), and what is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.sources.contract import load_contract

MOMENT = "timestamp with time zone"
MOMENTS = (MOMENT, "timestamp without time zone", "date")


class UnreadableError(TutorPipelineError):
    """What of the platform this role may not read, and who can change that."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the platform. For a domain, `type` is its base type."""

    type: str
    is_unique: bool


Columns = Mapping[str, Mapping[str, Column]]
"""Table → column → column of the platform, for tables of the contract."""


def read_columns(database: Database, tables: Iterable[str]) -> Columns:
    """Reads the columns of tables of the contract, as far as the platform has them.

    Raises UnreadableError: a mapped table cannot be read.
    """
    found: dict[str, dict[str, Column]] = {}
    for table, name, kind, _, is_unique in _shapes(database, list(tables)):
        found.setdefault(table, {})[name] = Column(kind, is_unique)
    return found


def has_groups(database: Database) -> bool:
    """Whether the platform lists who takes part in a session, as the macro of this name says."""
    columns = read_columns(database, ["session_students"]).get("session_students", {})
    return {"session_id", "student_id"} <= columns.keys()


def _shapes(database: Database, tables: list[str]) -> list[tuple[str, str, str, bool, bool]]:
    """Returns (table, column, type, is_not_null, is_unique) of what is there."""
    source = database.warehouse.source
    if source is None:
        return database.execute(
            statement(__file__, "columns"),
            {"schema": database.schemas.platform, "tables": tables},
        ).fetchall()
    asked = [table for table in tables if table in source.tables]
    if not asked:
        return []
    # One query: a sensor asks every second.
    query = sql.SQL(" union all ".join(source.tables[table].shape for table in asked))
    try:
        return database.execute(query).fetchall()
    except psycopg.Error as error:
        if database.connection.broken:
            raise
        raise UnreadableError(
            f"{', '.join(asked)} cannot be read as the mapping says:"
            f" {str(error).strip().splitlines()[0]}\n"
            "What is wrong in it: tutor-pipeline check-source"
        ) from error


def shown(warehouse: Warehouse, table: str) -> str:
    """Returns what the platform calls a table of the contract, for messages."""
    source = warehouse.source
    if source is None:
        return f"{warehouse.schemas.platform}.{table}"
    # Several tables may come from one relation, and a query has no name.
    return f"{table} ({source.tables[table].shown if table in source.tables else 'not mapped'})"


_NOT_THERE = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.InvalidSchemaName,
    KeyError,  # the mapping leaves it out
)


def is_filled(database: Database, table: str) -> bool:
    """Returns whether the table is there and has a row."""
    try:
        with database.transaction(force_rollback=True):
            return bool(
                database.value(
                    database.sql(
                        "select exists (select 1 from {rows} as r)",
                        rows=database.warehouse.platform_table(table),
                    )
                )
            )
    except _NOT_THERE:
        return False


def count(database: Database, table: str) -> int | None:
    """Returns the number of rows, None if the table is not there or may not be read."""
    try:
        with database.transaction(force_rollback=True):
            found: int = database.value(
                database.sql(
                    "select count(*) from {rows} as r",
                    rows=database.warehouse.platform_table(table),
                )
            )
            return found
    except (*_NOT_THERE, psycopg.errors.InsufficientPrivilege):
        return None


def newest_completed_session(database: Database, now: datetime) -> datetime | None:
    """Returns the start of the platform's newest completed session up to now, None without one.

    Reads the platform itself, because `--as-of latest` needs it before anything is built.
    """
    columns = read_columns(database, ["sessions"]).get("sessions", {})
    if not {"scheduled_start", "status"} <= columns.keys():
        return None
    found: datetime | None = database.value(
        database.sql(
            # The CASE comes first: a timestamp out of range cannot be shifted between zones.
            "select max(starts_at) from (select case when scheduled_start"
            " between '1900-01-01' and '2200-01-01' then {start} end as starts_at"
            " from {sessions} as s where status::text = 'completed') as completed"
            " where starts_at <= %s",
            start=moment(database.warehouse, "sessions", "scheduled_start", columns),
            sessions=database.warehouse.platform_table("sessions"),
        ),
        (now,),
    )
    return found


def moment(
    warehouse: Warehouse, table: str, name: str, columns: Mapping[str, Column]
) -> sql.Composable:
    """Returns a column as timestamptz, those without a zone in the zone that holds for them."""
    column = sql.Identifier(name)
    if columns[name].type == MOMENT:
        return column
    zone = sql.Literal(warehouse.timezone_of(table, name))
    return sql.SQL("({}::timestamp at time zone {})").format(column, zone)


def _reads(warehouse: Warehouse, columns: Columns) -> list[tuple[str, str, str | None]]:
    """Returns (schema, relation, column) of all that is read; no column = all of them."""
    found: list[tuple[str, str, str | None]] = []
    for table, names in columns.items():
        known = {column.name for column in load_contract().table(table).columns}
        if warehouse.source is None:
            schema = warehouse.schemas.platform
            found.extend((schema, table, name) for name in names if name in known)
            continue
        for read in warehouse.source.tables[table].reads:
            named = read.columns or (None,)
            found.extend((read.schema, read.relation, name) for name in named)
    return found


_WANTED = (
    "select * from unnest(%(schemas)s::text[], %(relations)s::text[], %(columns)s::text[])"
    " as wanted (schema_name, relation, column_name)"
)


def refuse_hidden(database: Database, columns: Columns) -> None:
    """Raises UnreadableError: a privilege is missing, or rows are hidden, which looks like a
    smaller platform.
    """
    asked = _reads(database.warehouse, columns)
    rows = database.execute(
        database.sql(statement(__file__, "hidden_columns"), wanted=sql.SQL(_WANTED)),
        {
            "schemas": [schema for schema, _, _ in asked],
            "relations": [relation for _, relation, _ in asked],
            "columns": [column for _, _, column in asked],
        },
    ).fetchall()
    user = database.info.user
    for schema, relation, _, _, hides_rows in rows:
        if hides_rows:
            raise UnreadableError(
                f"row-level security hides rows of {schema}.{relation} from the user {user}: ask"
                f' its owner for a user that sees them all (alter role "{user}" bypassrls)'
            )
    if rows:
        named = ", ".join(
            f"{schema}.{relation}" if are_all else f"{schema}.{relation} ({', '.join(refused)})"
            for schema, relation, refused, are_all, _ in rows
        )
        raise UnreadableError(
            f"the user {user} may not read {named}: ask its owner to grant select on it"
        )

"""Compares a platform's schema with the contract. Only reads.

Belongs here: finding and naming the differences.
Does not belong here: printing them, the values of rows (staging labels those).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.sources.contract import Column, Contract, Table

MAX_COUNTED = 1_000_000
"""The most rows counted per table."""
PATIENCE_MS = 10_000
"""Time limit of each query, to keep the load on a live database low."""

_TEXT = {"text", "character varying", "character", "citext"}
_WITH_ZONE, _ZONED = "timestamptz", "timestamp with time zone"
"""The type of moments in the contract, and that of a column that says in which zone they are."""
_NAMED = 5
"""How many columns without a zone are named."""
_NUMBERS = {"smallint", "integer", "bigint", "real", "double precision", "numeric"}
_MOMENTS = {"date", "timestamp without time zone", "timestamp with time zone"}
READABLE: dict[str, set[str]] = {
    "integer": _NUMBERS,
    "double precision": _NUMBERS,
    "numeric": _NUMBERS,
    "boolean": {"boolean", "smallint", "integer", "bigint"} | _TEXT,
    "timestamptz": _MOMENTS,
    "date": _MOMENTS,
    "jsonb": {"json", "jsonb"} | _TEXT,
}
"""Contract type → types that staging (macro platform_value) can convert to it. Every type can be
converted to text.
"""
_TEXT_AS_NUMBER_SINCE = 160000
_COLLATION_VERSIONS_SINCE = 150000
"""From PostgreSQL 16 on, a query can test whether a text is a number."""

_RELATIONS = """
    select c.oid, c.relname,
        case c.relkind when 'r' then 'table' when 'p' then 'partitioned table' when 'v' then 'view'
            when 'm' then 'materialized view' when 'f' then 'foreign table' end,
        has_any_column_privilege(c.oid, 'select'), row_security_active(c.oid)
    from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
    where n.nspname = %s and c.relkind in ('r', 'p', 'v', 'm', 'f')
"""
_COLUMNS = """
    select a.attname, format_type(coalesce(nullif(t.typbasetype, 0), t.oid), null),
        has_column_privilege(a.attrelid, a.attnum, 'select'),
        array(
            select e.enumlabel::text from pg_enum as e
            where e.enumtypid = coalesce(nullif(t.typbasetype, 0), t.oid) order by e.enumsortorder
        )
    from pg_attribute as a join pg_type as t on t.oid = a.atttypid
    where a.attrelid = %s and a.attnum > 0 and not a.attisdropped
"""


@dataclass(frozen=True, slots=True)
class ColumnFound:
    """A contract column that the platform has. `readable`: its type converts to the contract's."""

    name: str
    type: str
    wanted: str
    readable: bool


@dataclass(frozen=True, slots=True)
class TableFound:
    """A contract table that the platform has.

    `rows` is exact up to MAX_COUNTED (`more`: there are more), None if the count failed.
    """

    name: str
    kind: str
    rows: int | None
    more: bool
    columns: tuple[ColumnFound, ...]


@dataclass(frozen=True, slots=True)
class Gap:
    """A missing optional column, and what is lost without it. `column` None = the whole table."""

    table: str
    column: str | None
    costs: str


@dataclass(slots=True)
class SourceReport:
    """The result of the comparison.

    `problems` are sentences about what keeps the pipeline from running, `gaps` missing optional
    parts, `remarks` other sentences. `newest_session` is the scheduled start of the newest
    completed session up to now.
    """

    schema: str
    tables: list[TableFound] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    newest_session: datetime | None = None

    @property
    def usable(self) -> bool:
        """Whether the pipeline can run on it."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Returns the report as values for JSON."""
        newest = self.newest_session
        return {
            **asdict(self),
            "usable": self.usable,
            "newest_session": None if newest is None else newest.isoformat(),
        }


def check_source(database: Database, contract: Contract) -> SourceReport:
    """Compares the platform's schema with the contract in one transaction. Only reads."""
    schema = database.schemas.platform
    report = SourceReport(schema)
    with database.transaction():
        database.execute("select set_config('statement_timeout', %s, true)", (f"{PATIENCE_MS}ms",))
        if _schema_is_there(database, report):
            _Check(database, report).run(contract)
    return report


def _schema_is_there(database: Database, report: SourceReport) -> bool:
    row = database.one(
        "select has_schema_privilege(oid, 'usage') as allowed, current_user as name"
        " from pg_namespace where nspname = %s",
        (report.schema,),
    )
    if row is None:
        report.problems.append(
            f'there is no schema "{report.schema}" in this database: set TUTOR_PLATFORM_SCHEMA to'
            " the schema of the platform's tables, or fill it with tutor-pipeline generate or"
            " import"
        )
        return False
    if not row["allowed"]:
        report.problems.append(
            f'the user {row["name"]} may not look into the schema "{report.schema}": ask its owner'
            f' to grant usage on schema "{report.schema}" to "{row["name"]}"'
        )
    return bool(row["allowed"])


class _Check:
    def __init__(self, database: Database, report: SourceReport) -> None:
        self.database = database
        self.report = report
        text_is_readable = database.info.server_version >= _TEXT_AS_NUMBER_SINCE
        self.text_as_number = _TEXT if text_is_readable else set[str]()

    def run(self, contract: Contract) -> None:
        self._collation()
        relations = {
            name: (oid, kind, allowed, hides)
            for oid, name, kind, allowed, hides in self.database.execute(
                _RELATIONS, (self.report.schema,)
            )
        }
        if not relations:
            self.report.remarks.append(f'the schema "{self.report.schema}" has no tables at all')
        for table in contract.tables:
            if table.name in relations:
                self._table(table, *relations[table.name])
            elif table.required:
                self.report.problems.append(
                    f"the table {self._name(table)} is missing: {table.costs}"
                )
            else:
                self.report.gaps.append(Gap(table.name, None, table.costs))
        self._zone()

    def _zone(self) -> None:
        """Names the zone of the columns that have none of their own."""
        without = [
            f"{table.name}.{column.name}"
            for table in self.report.tables
            for column in table.columns
            if column.wanted == _WITH_ZONE and column.readable and column.type != _ZONED
        ]
        if without:
            zone = self.database.warehouse.platform_timezone
            more = f" and {len(without) - _NAMED:,} more" if len(without) > _NAMED else ""
            self.report.remarks.append(
                f"moments without a zone are read as {zone} ({', '.join(without[:_NAMED])}{more});"
                " TUTOR_PLATFORM_TIMEZONE sets another"
            )

    def _collation(self) -> None:
        """Indexes on text were built in the order of a library that may have changed since."""
        if self.database.info.server_version < _COLLATION_VERSIONS_SINCE:
            return
        drift = self.database.one(
            "select datname, datcollversion as built, now_is from pg_database"
            " cross join lateral pg_database_collation_actual_version(oid) as now_is"
            " where datname = current_database() and datcollversion <> now_is"
        )
        if drift is not None:
            name = sql.Identifier(drift["datname"]).as_string(None)
            self.report.remarks.append(
                "the server sorts text in another way than when this database was made"
                f" ({drift['built']}, now {drift['now_is']}): indexes may miss rows until somebody"
                f" runs reindex database {name}; alter database {name} refresh collation version"
            )

    def _name(self, table: Table, column: Column | None = None) -> str:
        parts = (self.report.schema, table.name, *((column.name,) if column else ()))
        return ".".join(parts)

    def _table(self, table: Table, oid: int, kind: str, allowed: bool, hides: bool) -> None:
        if not allowed:
            self._refused(self._name(table))
            return
        if hides:
            user = self.database.info.user
            self.report.problems.append(
                f"row-level security hides rows of {self._name(table)} from the user {user}: ask"
                f' its owner for a user that sees them all (alter role "{user}" bypassrls)'
            )
            return
        actual = {
            name: (type_, readable, labels)
            for name, type_, readable, labels in self.database.execute(_COLUMNS, (oid,))
        }
        columns = []
        for column in table.columns:
            if column.name in actual:
                found = self._column(table, column, *actual[column.name])
                columns.append(found)
            elif column.required:
                self.report.problems.append(
                    f"the column {self._name(table, column)} is missing: {column.costs}"
                )
            else:
                self.report.gaps.append(Gap(table.name, column.name, column.costs))
        rows = self._count(table)
        self.report.tables.append(
            TableFound(
                name=table.name,
                kind=kind,
                rows=rows if rows is None else min(rows, MAX_COUNTED),
                more=rows is not None and rows > MAX_COUNTED,
                columns=tuple(columns),
            )
        )
        if table.required and rows == 0:
            self.report.remarks.append(f"the table {self._name(table)} is empty")
        types = {column.name: column for column in columns}
        if table.name == "sessions" and {"scheduled_start", "status"} <= types.keys():
            self._newest_session(types["scheduled_start"])

    def _column(
        self, table: Table, column: Column, type_: str, allowed: bool, labels: list[str]
    ) -> ColumnFound:
        readable = column.type == "text" or type_ in self._readable(column.type)
        if not allowed:
            self._refused(self._name(table, column))
        elif not readable:
            self.report.problems.append(
                f"the column {self._name(table, column)} is {type_}, which cannot be read as"
                f" {column.type}: change its type, or offer it through a view in another schema"
            )
        unknown = [label for label in labels if column.accepted and label not in column.accepted]
        if unknown:
            self.report.remarks.append(
                f"the type of {self._name(table, column)} also has the values"
                f" {', '.join(unknown)}: the contract does not know them, and a session with one"
                " of them goes into quarantine"
            )
        return ColumnFound(column.name, type_, column.type, readable)

    def _readable(self, wanted: str) -> set[str]:
        types = READABLE[wanted]
        return types | self.text_as_number if types is _NUMBERS else types

    def _refused(self, name: str) -> None:
        user = self.database.info.user
        self.report.problems.append(
            f"the user {user} may not read {name}: ask its owner to grant select on it"
        )

    def _count(self, table: Table) -> int | None:
        rows: int | None = self._value(
            f"the rows of {self._name(table)} were not counted",
            "select count(*) from (select 1 from {platform}.{table} limit {most}) as counted",
            table=sql.Identifier(table.name),
            most=sql.Literal(MAX_COUNTED + 1),
        )
        return rows

    def _newest_session(self, start: ColumnFound) -> None:
        if not start.readable:
            return
        start_at: sql.Composable = sql.SQL("scheduled_start")
        if start.type != _ZONED:
            zone = self.database.warehouse.platform_timezone
            start_at = sql.SQL("scheduled_start::timestamp at time zone {}").format(
                sql.Literal(zone)
            )
        self.report.newest_session = self._value(
            "the newest session was not looked up",
            # A timestamp out of range cannot be shifted between zones, nor be shown.
            "select max(case when scheduled_start between '1900-01-01' and '2200-01-01'"
            " then case when {start} <= now() then {start} end end) from {platform}.sessions"
            " where status::text = 'completed'",
            start=start_at,
        )

    def _value(self, otherwise: str, query: str, **parts: sql.Composable) -> Any:
        """Returns the query's value. Reports `otherwise` and returns None if it fails: as a remark
        if it takes too long, else as a problem.
        """
        try:
            with self.database.transaction():
                return self.database.value(self.database.sql(query, **parts))
        except psycopg.errors.QueryCanceled:
            self.report.remarks.append(f"{otherwise}: it took over {PATIENCE_MS // 1000} s")
        except psycopg.errors.InsufficientPrivilege as error:
            self.report.problems.append(f"{otherwise}: {error.diag.message_primary}")
        except psycopg.DatabaseError as error:
            if self.database.connection.closed:
                raise
            self.report.problems.append(f"{otherwise}: {str(error).strip()}")
        return None

"""Compares a mapping with the database: what it names is there, and gives what the contract wants.

Only reads, and no row: each expression is planned, none is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import sql

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.platform_source import quoted
from tutor_pipeline.core.yaml_models import Fault, placed
from tutor_pipeline.sources.contract import Column, load_contract
from tutor_pipeline.sources.mapping import compiling, statements
from tutor_pipeline.sources.mapping.model import ColumnEntry, TableEntry
from tutor_pipeline.sources.mapping.names import nearest
from tutor_pipeline.sources.mapping.reading import read_map
from tutor_pipeline.sources.relations import MOMENT

_COLUMNS = """
    select a.attname, format_type(coalesce(nullif(t.typbasetype, 0), t.oid), null)
    from pg_attribute as a join pg_type as t on t.oid = a.atttypid
    where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped
"""


def verify(database: Database, path: Path) -> None:
    """Raises TutorPipelineError with the line of each entry that does not fit the database."""
    if found := faults(database, path):
        lines = "\n  ".join(placed(path, found))
        raise TutorPipelineError(f"{path} does not fit the database:\n  {lines}")


def faults(database: Database, path: Path) -> list[Fault]:
    """Returns the entries that do not fit the database."""
    return [
        fault
        for name, entry in read_map(path).tables.items()
        for fault in _Table(database, name, entry).faults()
    ]


class _Table:
    """One entry, and what the database says of it."""

    def __init__(self, database: Database, name: str, entry: TableEntry) -> None:
        self.database = database
        self.name = name
        self.entry = entry
        self.schema = database.schemas.platform
        self.steps = ("tables", name)
        self.base = compiling.base_text(name, entry, self.schema)

    def faults(self) -> Iterator[Fault]:
        """What is wrong. What rests on something wrong is not looked at."""
        found = [*self._functions(), *(self._query() if self.entry.query else self._relation())]
        yield from found
        if not found:
            yield from self._columns()

    def _relation(self) -> Iterator[Fault]:
        schema, table = compiling.relation_of(self.name, self.entry, self.schema)
        place = (*self.steps, "relation") if self.entry.relation else self.steps
        wrong = self._no_relation(schema, table)
        if wrong is not None:
            yield place, wrong
            return
        columns = dict(self.database.execute(_COLUMNS, (quoted(schema, table),)).fetchall())
        for name, column in (self.entry.columns or {}).items():
            for read in sorted(compiling.source_columns(column)):
                if read not in columns:
                    yield (*self.steps, "columns", name), self._no_column(table, read, columns)
        if self.entry.where is not None:
            for read in sorted(statements.parse_expression(self.entry.where).columns):
                if read not in columns:
                    yield (*self.steps, "where"), self._no_column(table, read, columns)

    def _no_column(self, table: str, name: str, columns: dict[str, str]) -> str:
        mixed = next((each for each in columns if each.lower() == name and each != name), None)
        if mixed is not None:
            return f'{table} has no column {name}; write "{mixed}" in double quotes'
        return f"{table} has no column {name}{nearest(name, columns)}"

    def _query(self) -> Iterator[Fault]:
        assert self.entry.query is not None
        for schema, table in statements.parse_query(self.entry.query).tables:
            wrong = self._no_relation(schema or self.schema, table)
            if wrong is not None:
                yield (*self.steps, "query"), wrong
                return
        wrong = self._planned(f"select * from {self.base} as r")
        if wrong is not None:
            yield (*self.steps, "query"), wrong

    def _no_relation(self, schema: str, table: str) -> str | None:
        ours = {*self.database.schemas.ours, self.database.schemas.reporting}
        if schema in ours:
            return f"{schema}.{table} is made by the pipeline itself: name a table of the platform"
        if self.database.value("select to_regclass(%s)", (quoted(schema, table),)) is not None:
            return None
        if not self.database.value("select 1 from pg_namespace where nspname = %s", (schema,)):
            schemas = self.database.execute(
                "select nspname from pg_namespace where nspname !~ '^pg_' and nspname <>"
                " 'information_schema' order by 1"
            )
            return f"there is no schema {schema}{nearest(schema, (name for (name,) in schemas))}"
        tables = self.database.execute(
            "select relname from pg_class where relnamespace = to_regnamespace(%s)"
            " and relkind in ('r', 'p', 'v', 'm', 'f') order by 1",
            (quoted(schema),),
        )
        near = nearest(table, (name for (name,) in tables))
        return f"there is no table {schema}.{table}{near}"

    def _functions(self) -> Iterator[Fault]:
        """Functions that could change something, or give another value each time."""
        for place, functions in self._called():
            volatile = self.database.value(
                "select string_agg(distinct proname, ', ') from pg_proc"
                " where proname = any(%s) and provolatile = 'v'",
                (sorted(functions),),
            )
            if volatile is not None:
                yield place, f"{volatile} may change something or differ each time: leave it out"

    def _called(self) -> Iterator[tuple[tuple[str, ...], frozenset[str]]]:
        if self.entry.query is not None:
            yield (*self.steps, "query"), statements.parse_query(self.entry.query).functions
        if self.entry.where is not None:
            yield (*self.steps, "where"), statements.parse_expression(self.entry.where).functions
        for name, column in (self.entry.columns or {}).items():
            if column.expression is not None:
                functions = statements.parse_expression(column.expression).functions
                yield (*self.steps, "columns", name), functions

    def _columns(self) -> Iterator[Fault]:
        table = load_contract().table(self.name)
        if self.entry.where is not None:
            condition = statements.parse_expression(self.entry.where).text
            wrong = self._planned(f"select 1 from {self.base} as r where ({condition})")
            if wrong is not None:
                yield (*self.steps, "where"), wrong
        for name, column in (self.entry.columns or {}).items():
            for wrong in self._wrong_column(table.column(name), column):
                yield (*self.steps, "columns", name), wrong

    def _wrong_column(self, wanted: Column, column: ColumnEntry) -> Iterator[str]:
        value = compiling.column_text(column, wanted)
        wrong = self._planned(f"select {value} from {self.base} as r")
        if wrong is not None:
            yield wrong
        elif column.timezone is not None and self._type(value) == MOMENT:
            yield "it has a time zone already: leave timezone out"

    def _type(self, value: str) -> str:
        return str(
            self.database.value(
                sql.SQL(
                    f"select pg_typeof({value})::text from (select 1) as one"
                    f" left join {self.base} as r on false"
                )
            )
        )

    def _planned(self, query: str) -> str | None:
        """Returns what the database says against a query, None if it takes it."""
        try:
            with self.database.transaction(force_rollback=True):
                self.database.execute(sql.SQL(f"select * from ({query}) as r where false"))
        except psycopg.Error as error:
            if self.database.connection.broken:
                raise TutorPipelineError(str(error)) from error
            hint = error.diag.message_hint
            return f"{error.diag.message_primary}{f' ({hint})' if hint else ''}"
        return None

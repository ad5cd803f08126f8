"""Turns a mapping into the SQL that every reader of the platform puts after FROM."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from tutor_pipeline.core.warehouse.platform_source import (
    MappedTable,
    PlatformSource,
    Read,
    literal,
    quoted,
)
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.sources.contract import Column, load_contract
from tutor_pipeline.sources.mapping import statements
from tutor_pipeline.sources.mapping.model import ColumnEntry, SourceMap, TableEntry

NOT_MAPPED = " (not in the mapping)"
"""What follows a value that the mapping does not list: no contract knows it, so its row goes to
quarantine by that name.
"""


def compiled(source_map: SourceMap, schema: str) -> PlatformSource | None:
    """Returns the tables as SQL, None if the mapping has no tables: then the contract's names hold.

    `schema`: the platform's, of relations that name none.
    """
    if not source_map.tables:
        return None
    tables = {name: _table(name, entry, schema) for name, entry in source_map.tables.items()}
    parts = [
        f"{name}: {table.text} {sorted(table.timezones.items())}"
        for name, table in sorted(tables.items())
    ]
    made_of = "\n".join([str(source_map.timezone), *parts])
    return PlatformSource(tables, hashlib.md5(made_of.encode(), usedforsecurity=False).hexdigest())


def relation_of(name: str, entry: TableEntry, schema: str) -> tuple[str, str]:
    """Returns the schema and the table that an entry without a query reads."""
    relation = entry.relation or name
    named, dot, table = relation.partition(".")
    return (named, table) if dot else (schema, relation)


def column_text(entry: ColumnEntry, column: Column) -> str:
    """Returns the expression that gives a column of the contract."""
    if entry.column is not None:
        value = quoted(entry.column)
    else:
        assert entry.expression is not None
        value = f"({statements.parse_expression(entry.expression).text})"
    if entry.values is not None:
        text = f"{value}::text"
        cases = " ".join(
            f"when {literal(theirs)} then {literal(ours)}" for theirs, ours in entry.values.items()
        )
        others = f"{text} || {literal(NOT_MAPPED)}" if entry.others is None else "null"
        return f"case {text} {cases} else {others} end"
    if entry.scale is not None:
        assert column.minimum is not None
        assert column.maximum is not None
        low, high = entry.scale
        ratio = f"{column.maximum - column.minimum} / {high - low!r}"
        return f"({column.minimum} + ({value}::double precision - ({low!r})) * {ratio})"
    return value


def source_columns(entry: ColumnEntry) -> frozenset[str]:
    """Returns the columns of the relation that an entry reads."""
    if entry.column is not None:
        return frozenset((entry.column,))
    assert entry.expression is not None
    return statements.parse_expression(entry.expression).columns


def base_text(name: str, entry: TableEntry, schema: str) -> str:
    """Returns the relation or the query that an entry reads, before its columns are renamed."""
    if entry.query is not None:
        return f"({statements.parse_query(entry.query).text(schema)})"
    return quoted(*relation_of(name, entry, schema))


def _table(name: str, entry: TableEntry, schema: str) -> MappedTable:
    base = base_text(name, entry, schema)
    columns = _columns(name, entry)
    where = ""
    if entry.where is not None:
        where = f" where ({statements.parse_expression(entry.where).text})"
    if columns is None:
        text = f"(select * from {base} as r{where})" if where else base
        return MappedTable(
            text=text,
            shape=_shape_of_relation(name, *relation_of(name, entry, schema)),
            shown=".".join(relation_of(name, entry, schema)),
            reads=_reads(name, entry, schema, None),
        )
    listed = ", ".join(f"{value} as {quoted(each)}" for each, (value, _) in columns.items())
    text = f"(select {listed} from {base} as r{where})"
    return MappedTable(
        text=text,
        shape=_shape_of_columns(name, entry, schema, text, columns),
        shown="a query" if entry.query is not None else ".".join(relation_of(name, entry, schema)),
        reads=_reads(name, entry, schema, entry.columns),
        timezones={
            each: column.timezone
            for each, column in (entry.columns or {}).items()
            if column.timezone is not None
        },
        key=entry.unique,
        comes_from={
            each: column.column or str(column.expression)
            for each, column in (entry.columns or {}).items()
        },
    )


def _columns(name: str, entry: TableEntry) -> dict[str, tuple[str, str | None]] | None:
    """Returns (expression, column of the relation that it is) by column of the contract."""
    if entry.columns is not None:
        table = load_contract().table(name)
        return {
            each: (
                column_text(column, table.column(each)),
                column.column if column.values is None and column.scale is None else None,
            )
            for each, column in entry.columns.items()
        }
    if entry.query is not None:
        outputs = statements.parse_query(entry.query).outputs
        return {output: (quoted(output), None) for output in outputs}
    return None


def _reads(
    name: str, entry: TableEntry, schema: str, columns: Mapping[str, ColumnEntry] | None
) -> tuple[Read, ...]:
    if entry.query is not None:
        tables = statements.parse_query(entry.query).tables
        return tuple(Read(named or schema, table, None) for named, table in tables)
    read: frozenset[str] | None = None
    if columns is not None:
        read = frozenset().union(*(source_columns(column) for column in columns.values()))
        if entry.where is not None:
            read |= statements.parse_expression(entry.where).columns
    return (Read(*relation_of(name, entry, schema), read),)


def _shape_of_relation(table: str, schema: str, relation: str) -> str:
    # Each column is what it is called.
    columns = (
        "select attname as name, attname as source, false as is_key, atttypid as kind"
        f" from pg_attribute where attrelid = {_oid(schema, relation)} and attnum > 0"
        " and not attisdropped"
    )
    return _shape(table, columns, _oid(schema, relation))


def _shape_of_columns(
    table: str,
    entry: TableEntry,
    schema: str,
    text: str,
    columns: Mapping[str, tuple[str, str | None]],
) -> str:
    is_query = entry.query is not None
    mapped = ", ".join(
        f"({literal(each)}, {'null' if source is None or is_query else literal(source)},"
        f" {'true' if each == entry.unique else 'false'}, pg_typeof(r.{quoted(each)}))"
        for each, (_, source) in columns.items()
    )
    # Nothing is read: the planner sees that no row matches.
    rows = (
        "select mapped.name, mapped.source, mapped.is_key, mapped.kind"
        f" from (select 1 as one) as nothing left join {text} as r on false"
        f" cross join lateral (values {mapped}) as mapped (name, source, is_key, kind)"
    )
    return _shape(
        table, rows, "null::regclass" if is_query else _oid(*relation_of(table, entry, schema))
    )


def _oid(schema: str, relation: str) -> str:
    return f"to_regclass({literal(quoted(schema, relation))})"


def _shape(table: str, columns: str, relation: str) -> str:
    text = statement(__file__, "shape")
    return text.format(table=literal(table), columns=columns, relation=relation)

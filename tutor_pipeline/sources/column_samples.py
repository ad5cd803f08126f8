"""Looks at the values of a platform table's columns: gaps, range, examples. Only reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.sources.contract import Column, Table
from tutor_pipeline.sources.relations import MOMENTS

ROWS = 20_000
"""The rows that are looked at."""
_EXAMPLES_OF = 1_000
_EXAMPLES = 3
_LONGEST = 30
"""Letters of an example."""

_NUMBERS = {"smallint", "integer", "bigint", "real", "double precision", "numeric"}
_RANGED = {*_NUMBERS, *MOMENTS}
_WRONG = (
    "count(*) filter (where {wrong}),"
    f" (array_agg(distinct left({{c}}::text, 60)) filter (where {{wrong}}))[1:{_EXAMPLES}]"
)


@dataclass(frozen=True, slots=True)
class ColumnSample:
    """`nulls`: share of rows without a value, 0 to 1, None without rows. `low`, `high`: the range
    of numbers and moments. `values`: up to three, cut to 30 letters. `wrong`: share of rows with a
    value that the contract does not allow, `wrong_values` up to three of these.
    """

    nulls: float | None
    low: str | None
    high: str | None
    values: tuple[str, ...]
    wrong: float
    wrong_values: tuple[str, ...]


def sample(database: Database, table: Table, types: Mapping[str, str]) -> dict[str, ColumnSample]:
    """Returns what columns of a table of the contract hold. `types`: column → type."""
    names = list(types)
    if not names:
        return {}
    looks: list[sql.Composable] = [sql.SQL("count(*)")]
    for name in names:
        column = sql.Identifier(name)
        is_ranged = types[name] in _RANGED
        ends = "min({c})::text, max({c})::text" if is_ranged else "null::text, null::text"
        looks.append(
            sql.SQL(f"count({{c}}), {ends}, ({_EXAMPLE}), {_WRONG}").format(
                c=column, wrong=_is_wrong(table.column(name), column, types[name])
            )
        )
    query = database.sql(
        "with rows as materialized (select {names} from {table} as r limit {limit})"
        " select {looks} from rows",
        names=sql.SQL(", ").join(map(sql.Identifier, names)),
        table=database.warehouse.platform_table(table.name),
        limit=sql.Literal(ROWS),
        looks=sql.SQL(", ").join(looks),
    )
    row = database.execute(query).fetchone()
    assert row is not None
    rows, *found = row
    samples = {}
    for number, name in enumerate(names):
        filled, low, high, values, wrong, wrong_values = found[6 * number : 6 * number + 6]
        samples[name] = ColumnSample(
            None if rows == 0 else 1 - filled / rows,
            low,
            high,
            tuple(values or ()),
            wrong / rows if rows else 0,
            tuple(wrong_values or ()),
        )
    return samples


def _is_wrong(wanted: Column, column: sql.Identifier, type_: str) -> sql.Composable:
    """The condition that a value is none that the contract allows."""
    if wanted.accepted:
        return sql.SQL("{}::text <> all({})").format(column, sql.Literal(list(wanted.accepted)))
    bounds = [
        sql.SQL("{} {} {}").format(column, sql.SQL(beyond), sql.Literal(bound))
        for beyond, bound in (("<", wanted.minimum), (">", wanted.maximum))
        if bound is not None and type_ in _NUMBERS
    ]
    return sql.SQL(" or ").join(bounds) if bounds else sql.SQL("false")


_EXAMPLE = (
    "select array_agg(value order by value) from ("
    f" select distinct left(seen.value::text, {_LONGEST}) as value"
    f" from (select {{c}} as value from rows limit {_EXAMPLES_OF}) as seen"
    f" where seen.value is not null order by 1 limit {_EXAMPLES}) as examples"
)

"""Looks at the values of a platform table's columns: gaps, range, examples. Only reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.sources.relations import MOMENTS

ROWS = 20_000
"""The rows that are looked at."""
_EXAMPLES_OF = 1_000
_EXAMPLES = 3
_LONGEST = 30
"""Letters of an example."""

_RANGED = {"smallint", "integer", "bigint", "real", "double precision", "numeric", *MOMENTS}


@dataclass(frozen=True, slots=True)
class ColumnSample:
    """`nulls`: share of rows without a value, 0 to 1, None without rows. `low`, `high`: the range
    of numbers and moments. `values`: up to three, cut to 30 letters.
    """

    nulls: float | None
    low: str | None
    high: str | None
    values: tuple[str, ...]


def sample(database: Database, table: str, types: Mapping[str, str]) -> dict[str, ColumnSample]:
    """Returns what columns of a table of the contract hold. `types`: column → type."""
    names = list(types)
    if not names:
        return {}
    looks: list[sql.Composable] = [sql.SQL("count(*)")]
    for name in names:
        column = sql.Identifier(name)
        is_ranged = types[name] in _RANGED
        ends = "min({c})::text, max({c})::text" if is_ranged else "null::text, null::text"
        looks.append(sql.SQL(f"count({{c}}), {ends}, ({_EXAMPLE})").format(c=column))
    query = database.sql(
        "with rows as materialized (select {names} from {table} as r limit {limit})"
        " select {looks} from rows",
        names=sql.SQL(", ").join(map(sql.Identifier, names)),
        table=database.warehouse.platform_table(table),
        limit=sql.Literal(ROWS),
        looks=sql.SQL(", ").join(looks),
    )
    row = database.execute(query).fetchone()
    assert row is not None
    rows, *found = row
    samples = {}
    for number, name in enumerate(names):
        filled, low, high, values = found[4 * number : 4 * number + 4]
        nulls = None if rows == 0 else 1 - filled / rows
        samples[name] = ColumnSample(nulls, low, high, tuple(values or ()))
    return samples


_EXAMPLE = (
    "select array_agg(value order by value) from ("
    f" select distinct left(seen.value::text, {_LONGEST}) as value"
    f" from (select {{c}} as value from rows limit {_EXAMPLES_OF}) as seen"
    f" where seen.value is not null order by 1 limit {_EXAMPLES}) as examples"
)

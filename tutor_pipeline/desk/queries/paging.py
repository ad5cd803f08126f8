"""One page of a list, and how many rows there are in all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg.sql import SQL, Composable

from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.desk.filters import Filter


def page_of(
    database: Database,
    listed: Composable,
    asked: Filter,
    limit: int,
    *,
    where: Sequence[str],
    order: str,
    values: Mapping[str, Any],
) -> tuple[list[Row], int]:
    """Returns the rows of the asked page of a query, and how many fit. `order` ends with a key."""
    fitting = database.sql(
        "from ({listed}) as listed where {where}",
        listed=listed,
        where=database.sql(" and ".join(where)),
    )
    total: int = database.value(database.sql("select count(*) {fitting}", fitting=fitting), values)
    rows = database.rows(
        database.sql(
            "select * {fitting} order by {order} limit %(limit)s offset %(offset)s",
            fitting=fitting,
            order=SQL(order),
        ),
        {**values, "limit": limit, "offset": asked.offset},
    )
    return rows, total

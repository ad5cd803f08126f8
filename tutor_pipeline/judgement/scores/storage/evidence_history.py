"""The evidence of past weeks, read as columns of numbers.

Belongs here: reading a forecast's history of evidence one day at a time, without a Python object
per cell: three years of ten thousand tutors are a hundred million cells.
Does not belong here: what is made of the evidence (`departure.outcomes`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import numpy as np
from psycopg import sql

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.judgement.scores.departure.forecast import Forecast
from tutor_pipeline.judgement.scores.departure.outcomes import Week

_HEADER, _TRAILER = 19, 2  # bytes of COPY's binary format before the first row and after the last


def days(database: Database, forecast: Forecast, until: date) -> list[date]:
    """Returns the days up to `until` that have evidence, oldest first."""
    rows = database.execute(
        f"select distinct as_of_date from {{marts}}.{forecast.history}"
        " where as_of_date <= %(until)s order by as_of_date",
        {"until": until},
    )
    return [day for (day,) in rows]


def weeks(
    database: Database,
    forecast: Forecast,
    days: Sequence[date],
    left_out: Mapping[date, frozenset[str]],
) -> Iterator[Week]:
    """Yields the evidence of each day that has any, ordered by id. `left_out`: ids to leave out, by
    day.
    """
    for day in days:
        week = _week(database, forecast, day)
        out = left_out.get(day)
        if out:
            kept = np.array([each not in out for each in week.ids], dtype=bool)
            week = Week(
                day,
                [each for each, keep in zip(week.ids, kept, strict=True) if keep],
                {name: column[kept] for name, column in week.columns.items()},
            )
        if week.ids:
            yield week


def _week(database: Database, forecast: Forecast, day: date) -> Week:
    rows = database.sql(
        '{history} where as_of_date = {day} order by {key} collate "C"',
        history=sql.Identifier(database.schemas.marts, forecast.history),
        day=sql.Literal(day),
        key=sql.Identifier(forecast.key),
    )
    keys = database.sql("select {key} from {rows}", key=sql.Identifier(forecast.key), rows=rows)
    ids = [each for (each,) in database.execute(keys)]
    cells = sql.SQL(", ").join(
        sql.SQL("coalesce({}::float8, 'NaN')").format(sql.Identifier(name))
        for name in forecast.reads
    )
    with database.copy(
        database.sql(
            "copy (select {cells} from {rows}) to stdout (format binary)", cells=cells, rows=rows
        )
    ) as copy:
        data = b"".join(bytes(block) for block in copy)
    # No cell is NULL and each is 8 bytes long, so all rows have one length.
    row = np.dtype(
        [
            ("fields", ">i2"),
            ("cells", [("length", ">i4"), ("value", ">f8")], (len(forecast.reads),)),
        ]
    )
    table = np.frombuffer(data[_HEADER:-_TRAILER], dtype=row)["cells"]["value"]
    values = table.astype(np.float64)
    return Week(day, ids, {name: values[:, place] for place, name in enumerate(forecast.reads)})

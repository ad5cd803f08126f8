"""The evidence of past weeks, read as columns of numbers.

Belongs here: reading a forecast's history of evidence a day at a time, without a Python object per
cell: three years of ten thousand tutors are a hundred million cells. Does not belong here: what
is made of them (`outcomes`).
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
    """The days that have evidence, oldest first."""
    rows = database.execute(
        f"select distinct as_of_date from {{marts}}.{forecast.history}"
        " where as_of_date <= %s order by 1",
        (until,),
    ).fetchall()
    return [day for (day,) in rows]


def weeks(
    database: Database,
    forecast: Forecast,
    days: Sequence[date],
    left_out: Mapping[date, frozenset[str]],
) -> Iterator[Week]:
    """The evidence of each day, by id, but for those `left_out` that day."""
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
    asked = database.sql(f" from {{marts}}.{forecast.history} where as_of_date = ") + sql.Literal(
        day
    )
    key = sql.Identifier(forecast.key)
    order = sql.SQL(' order by {} collate "C"').format(key)
    ids = [
        each
        for (each,) in database.execute(sql.SQL("select {}").format(key) + asked + order).fetchall()
    ]
    cells = sql.SQL(", ").join(
        sql.SQL("coalesce({}::float8, 'NaN')").format(sql.Identifier(name))
        for name in forecast.reads
    )
    statement = (
        sql.SQL("copy (select ") + cells + asked + order + sql.SQL(") to stdout (format binary)")
    )
    with database.copy(statement) as copy:
        data = b"".join(bytes(block) for block in copy)
    # Every cell is there and 8 bytes long, so rows are of one length.
    row = np.dtype(
        [
            ("fields", ">i2"),
            ("cells", [("length", ">i4"), ("value", ">f8")], (len(forecast.reads),)),
        ]
    )
    table = np.frombuffer(data[_HEADER:-_TRAILER], dtype=row)["cells"]["value"]
    values = table.astype(np.float64)
    return Week(day, ids, {name: values[:, place] for place, name in enumerate(forecast.reads)})

"""Daily values of metrics: of some tutors, and the middle half of all."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, timedelta

from psycopg.sql import SQL, Identifier

from tutor_pipeline.core.warehouse.database import Database, Row

SPARK_DAYS = 90


def history(
    database: Database, tutors: Collection[str], metrics: Sequence[str], today: date
) -> dict[str, list[Row]]:
    """Returns by tutor the daily values of metrics in the last 90 days, oldest first. Empty without
    a history; a metric that it does not have is None.
    """
    held = _history_columns(database)
    known = [name for name in metrics if name in held]
    if not known:
        return {}
    rows = database.rows(
        database.sql(
            "select tutor_id, as_of_date, {metrics} from {marts}.tutor_aggregates_history"
            " where tutor_id = any(%s) and as_of_date > %s order by tutor_id, as_of_date",
            metrics=SQL(", ").join(map(Identifier, known)),
        ),
        (list(tutors), today - timedelta(days=SPARK_DAYS)),
    )
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["tutor_id"], []).append(row)
    return found


def band(database: Database, metric: str, days: Sequence[date]) -> list[Row]:
    """Returns the middle half of all tutors (`low`, `high`) of a metric on some days."""
    if metric not in _history_columns(database):
        return []
    return database.rows(
        database.sql(
            "select as_of_date,"
            " percentile_cont(0.25) within group (order by {metric}) as low,"
            " percentile_cont(0.75) within group (order by {metric}) as high"
            " from {marts}.tutor_aggregates_history"
            " where as_of_date = any(%s) and {metric} is not null"
            " group by as_of_date order by as_of_date",
            metric=Identifier(metric),
        ),
        (list(days),),
    )


def _history_columns(database: Database) -> set[str]:
    """The numbers of the history."""
    rows = database.rows(
        "select attname from pg_attribute where attrelid = to_regclass(%s) and attnum > 0"
        " and not attisdropped and atttypid in ('integer'::regtype, 'double precision'::regtype)",
        (f'"{database.schemas.marts}".tutor_aggregates_history',),
    )
    return {row["attname"] for row in rows}

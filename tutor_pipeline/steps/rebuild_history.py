"""Checks that the daily tables still equal a rebuild from the platform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import sql

from tutor_pipeline.core.formatting import count
from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.core.warehouse.locks import one_writer
from tutor_pipeline.core.warehouse.poolers import refuse_pooled_transactions
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun, end_of_day, write_header
from tutor_pipeline.judgement.quality import results
from tutor_pipeline.judgement.quality.outcome import MAX_SAMPLE, Outcome, Status, plain
from tutor_pipeline.metrics import dbt
from tutor_pipeline.steps.take import HISTORY

EQUALS_A_REBUILD = "equals_a_rebuild"
DAYS_REBUILT = 90

SAYS = (
    f"The rows of the last {DAYS_REBUILT} days equal a rebuild from the platform, except for"
    " repairs already noted. Rows that differ are replaced by the rebuilt ones."
)


@dataclass(frozen=True, slots=True)
class DailyTable:
    """A table with a row per day: its key, the day that wrote a row, the days it has (SQL), and
    the columns that are not compared.
    """

    name: str
    key: tuple[str, ...]
    written_on: str
    recorded: str
    not_compared: tuple[str, ...] = ()


TABLES = (
    DailyTable(
        "tutor_aggregates_history",
        ("tutor_id", "as_of_date"),
        "as_of_date",
        "select distinct as_of_date as day from {marts}.tutor_aggregates_history"
        " where as_of_date between %(first)s and %(last)s",
        # It counts what was booked ahead then; a booking deleted since leaves no trace.
        ("first_session_convert_rate_90d",),
    ),
    DailyTable(
        "tutor_performance_snapshots",
        ("tutor_id", "snapshot_date", "period_type"),
        "snapshot_date + case period_type when 'weekly' then 6 else 0 end",
        # A day without sessions has no row.
        "select distinct day::date as day from {ops}.refresh_runs"
        " cross join lateral generate_series("
        "greatest(snapshot_from, %(first)s::date)::timestamp,"
        " least(snapshot_until, %(last)s::date)::timestamp, '1 day') as day"
        " where snapshot_until >= %(first)s and snapshot_from <= %(last)s",
    ),
)


HISTORY_CHECKS = tuple((f"marts/{table.name}", EQUALS_A_REBUILD) for table in TABLES)
"""The checks by table and name."""


def reconcile(
    warehouse: Warehouse, home: Path, table: DailyTable, run_id: str, warn: Callable[[str], None]
) -> Outcome:
    """Rebuild the last days of a table, keep the rebuilt rows, and report which differed."""
    now = datetime.now(UTC)
    refuse_pooled_transactions(warehouse, "a rebuild of history")
    with one_writer(warehouse, HISTORY, warn):
        began = perf_counter()
        as_of, rows, differing, sample = _rebuild(warehouse, home, table, run_id, now)
    outcome = Outcome(
        f"marts/{table.name}",
        EQUALS_A_REBUILD,
        "pipeline",
        SAYS,
        "warn",
        False,
        Status.FAILED if differing else Status.PASSED,
        observed=f"{count(differing, 'row')} differed",
        rows_checked=rows,
        rows_failing=differing,
        sample=sample,
        seconds=round(perf_counter() - began, 3),
    )
    with warehouse.connect() as database:
        results.record(database, run_id, as_of, [outcome])
    return outcome


def _rebuild(
    target: Warehouse, home: Path, table: DailyTable, run_id: str, now: datetime
) -> tuple[datetime, int, int, list[dict[str, Any]]]:
    """Rebuild the last days of a table. Returns its as-of, the number of rows and of rows that
    differed, and some of those.
    """
    today = now.astimezone(ZoneInfo(target.timezone)).date()
    with target.connect(autocommit=True) as database:
        days = _keep(database, table, today)
        if not days:
            return now, 0, 0, []
        as_of = min(end_of_day(days[-1], target.timezone), now)
        run = RefreshRun(run_id, as_of, snapshot_from=days[0], snapshot_until=days[-1])
        write_header(target, run)
        environment = dbt.dbt_environment(target, run_id, home)
        dbt.invoke(["run", "--select", table.name], environment)
        return as_of, *_compare(database, table, days)


def _keep(database: Database, table: DailyTable, today: date) -> list[date]:
    """Store hashes of the rows of the recorded days, and the pending repairs, in temporary tables.
    Returns the days. Uses autocommit: a rebuild takes minutes and must hold no locks.
    """
    relation = sql.Identifier(database.schemas.marts, table.name).as_string(database.connection)
    if database.execute("select to_regclass(%s)", (relation,)).fetchone() == (None,):
        return []
    window = {"first": today - timedelta(days=DAYS_REBUILT), "last": today - timedelta(days=1)}
    recorded = database.execute(table.recorded, window).fetchall()
    days = sorted(day for (day,) in recorded)
    _keep_hashes(database, table, "stored", days)
    database.execute("create temporary table noted as select * from {ops}.history_repairs")
    return days


def _keep_hashes(database: Database, table: DailyTable, kept_as: str, days: list[date]) -> None:
    database.execute(
        sql.SQL(
            "create temporary table {kept_as} as"
            " select {key}, {day} as written_on,"
            " hashtextextended((to_jsonb(stored) - {not_compared}::text[])::text, 0) as hash"
            " from {table} as stored where {day} = any({days})"
        ).format(
            not_compared=sql.Literal(list(table.not_compared)),
            kept_as=sql.Identifier(kept_as),
            key=_names(table),
            day=sql.SQL(table.written_on),
            table=sql.Identifier(database.schemas.marts, table.name),
            days=sql.Literal(days),
        )
    )


def _names(table: DailyTable) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, table.key))


def _compare(
    database: Database, table: DailyTable, days: list[date]
) -> tuple[int, int, list[dict[str, Any]]]:
    """Return the rows compared, the rows that differ, and some of those: key and difference."""
    _keep_hashes(database, table, "rebuilt", days)
    database.execute("insert into noted select * from {ops}.history_repairs")
    database.execute(
        sql.SQL(
            """
            create temporary table differing as
            select
                {key},
                case
                    when stored.hash is null then 'was missing'
                    when rebuilt.hash is null then 'should not have been'
                    else 'had other values'
                end as the_row
            from stored
            full join rebuilt using ({key}, written_on)
            left join (
                select tutor_id, min(changed_on) as changed_on from noted group by tutor_id
            ) as noted using (tutor_id)
            where
                stored.hash is distinct from rebuilt.hash
                and coalesce(written_on < noted.changed_on, true)
            """
        ).format(key=_names(table))
    )
    ((rows, differing),) = database.execute(
        "select (select count(*) from rebuilt), (select count(*) from differing)"
    ).fetchall()
    sample = database.rows(
        sql.SQL("select * from differing order by {} limit {}").format(
            _names(table), sql.Literal(MAX_SAMPLE)
        )
    )
    return rows, differing, [plain(row) for row in sample]

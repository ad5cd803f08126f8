"""The header of a refresh: its as-of and the tutors it covers, as rows that dbt reads.

A run is full (all tutors), scoped to some tutors, or of some tables only (for all tutors). dbt
reads this from `ops.refresh_runs` and `ops.refresh_scope` and not from `--vars`: changed vars throw
away dbt's partial parse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Database, Warehouse


@dataclass(frozen=True, slots=True)
class RefreshRun:
    """One refresh. `tutors` None = all; `snapshot_from/until` = days whose snapshots it writes;
    `tables` None = every table, others (`marts/tutor_scoreboard`) = no full refresh.
    """

    run_id: str
    as_of: datetime
    tutors: tuple[str, ...] | None = None
    snapshot_from: date | None = None
    snapshot_until: date | None = None
    tables: tuple[str, ...] | None = None

    @property
    def is_full(self) -> bool:
        """Whether it makes every table, for all tutors."""
        return self.tutors is None and self.tables is None


def end_of_day(day: date, timezone: str) -> datetime:
    """Returns the last microsecond of `day` in `timezone`, also when the clocks change."""
    midnight = datetime.combine(day + timedelta(days=1), time(), tzinfo=ZoneInfo(timezone))
    return (midnight.astimezone(ZoneInfo("UTC")) - timedelta(microseconds=1)).astimezone(
        ZoneInfo(timezone)
    )


def write_header(warehouse: Warehouse, run: RefreshRun) -> None:
    """Writes the run's header and scope in one transaction. Repeating it changes nothing."""
    with warehouse.connect() as database:
        note_header(database, run)


def note_header(database: Database, run: RefreshRun) -> None:
    """Writes the run's header and scope on an open connection. Repeating it changes nothing."""
    with database.transaction():
        database.execute(
            "insert into {ops}.refresh_runs"
            " (run_id, as_of, is_full, snapshot_from, snapshot_until, tables)"
            " values (%s, %s, %s, %s, %s, %s)"
            " on conflict (run_id) do update set as_of = excluded.as_of,"
            " is_full = excluded.is_full, snapshot_from = excluded.snapshot_from,"
            " snapshot_until = excluded.snapshot_until, tables = excluded.tables",
            (
                run.run_id,
                run.as_of,
                run.is_full,
                run.snapshot_from,
                run.snapshot_until,
                None if run.tables is None else list(run.tables),
            ),
        )
        database.execute("delete from {ops}.refresh_scope where run_id = %s", (run.run_id,))
        if run.tutors is not None:
            database.execute(
                "insert into {ops}.refresh_scope (run_id, as_of, tutor_id)"
                " select %s, %s, tutor_id from unnest(%s::text[]) as scope (tutor_id)"
                " on conflict do nothing",
                (run.run_id, run.as_of, list(run.tutors)),
            )


def forget_header(warehouse: Warehouse, run_id: str) -> None:
    """Removes the header of a run that built nothing."""
    with warehouse.connect() as database:
        for table in ("refresh_scope", "refresh_runs"):
            database.execute(f"delete from {{ops}}.{table} where run_id = %s", (run_id,))


def narrow(database: Database, run_id: str, *, without: Sequence[str]) -> None:
    """Removes tutors from the scope of a run, so that nothing is derived from their rows."""
    database.execute(
        "delete from {ops}.refresh_scope where run_id = %s and tutor_id = any(%s)",
        (run_id, list(without)),
    )


def moment(database: Database, run_id: str) -> datetime:
    """Returns the as-of of the refresh `run_id`, or of the newest refresh where it has none.

    A refresh that wrote snapshots of other days counts only where there is no other.
    Raises TutorPipelineError before the first refresh.
    """
    row = database.execute(
        "select as_of from {ops}.refresh_runs where run_id = %s", (run_id,)
    ).fetchone()
    as_of: datetime | None = newest_moment(database) if row is None else row[0]
    if as_of is None:
        raise TutorPipelineError("nothing is built yet. Run first: tutor-pipeline enrich")
    return as_of


def newest_moment(database: Database) -> datetime | None:
    """The as-of of the newest refresh, as `moment` has it; None before the first."""
    row = database.execute(
        "select as_of from {ops}.refresh_runs where run_id not like 'compiled-%'"
        " order by (snapshot_from is null) desc, started_at desc, run_id desc limit 1"
    ).fetchone()
    return None if row is None else row[0]


def built_moment(database: Database) -> datetime:
    """Returns the as-of of the newest full refresh whose tables are all built: the data of all
    tutors is complete up to it.

    Raises TutorPipelineError before the first one.
    """
    return _built(
        database.value(
            "select as_of from {ops}.refresh_runs where is_full and snapshot_from is null"
            " and built_at is not null order by started_at desc, run_id desc limit 1"
        )
    )


def _built(as_of: datetime | None) -> datetime:
    if as_of is None:
        raise TutorPipelineError("nothing is built yet. Run first: tutor-pipeline enrich")
    return as_of


def latest_as_of(newest_completed: datetime, now: datetime, timezone: str) -> datetime:
    """Returns the as-of of `--as-of latest`: the end of that session's day, never after now."""
    newest_day: date = newest_completed.astimezone(ZoneInfo(timezone)).date()
    return min(end_of_day(newest_day, timezone), now)


def all_or(tutors: Sequence[str] | None) -> tuple[str, ...] | None:
    """Returns the tutors sorted and without repeats; None stays None, which means all tutors."""
    return None if tutors is None else tuple(sorted(set(tutors)))

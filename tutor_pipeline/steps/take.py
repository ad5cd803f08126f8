"""Take: the scope and the as-of of a refresh, and the locks of writers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from tutor_pipeline.core.errors import RefusedError, TutorPipelineError
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.locks import one_writer
from tutor_pipeline.core.warehouse.poolers import refuse_pooled_transactions
from tutor_pipeline.core.warehouse.refresh_runs import (
    RefreshRun,
    all_or,
    built_moment,
    end_of_day,
    latest_as_of,
    newest_moment,
    write_header,
)
from tutor_pipeline.judgement.lifecycle import store
from tutor_pipeline.sources.changes import ledger
from tutor_pipeline.sources.losses import Limits, read_whole
from tutor_pipeline.sources.relations import newest_completed_session
from tutor_pipeline.steps import losses

REFRESH, HISTORY = "refresh", "history"
"""Locks of the tables as of now, and of the tables with a row per day. A full refresh takes both,
history first. A run over some tutors or some days takes one, so that a refresh after a session
never waits for a backfill.
"""

HALF_READ = (
    "sessions were missing while this refresh read, and are there again: nothing is derived from"
    " half of them; the next refresh reads them all"
)

LATEST, LAST = "latest", "last"

Warn = Callable[[str], None]


@contextmanager
def refresh(
    warehouse: Warehouse,
    run_id: str,
    as_of: str | None,
    tutors: Sequence[str] | None,
    *,
    tables: Sequence[str] | None,
    limits: Limits,
    accept_loss_by: str | None = None,
    warn: Warn,
) -> Iterator[RefreshRun]:
    """Hold the locks of a refresh and write its header. `as_of`: see `resolve_as_of`; `tutors`:
    None = all; `tables`: None = every table, else the chosen ones, for all tutors. A refresh of
    everything takes all changes.

    Raises RefusedError while rows of the platform are missing over the `limits`, unless somebody
    accepts the loss; and at the end if rows were missing only while it read.
    """
    with ExitStack() as held:
        writers = [
            held.enter_context(one_writer(warehouse, lock, warn))
            for lock in ((HISTORY, REFRESH) if tutors is None else (REFRESH,))
        ]
        some = None if tables is None or tutors is not None else tuple(sorted(tables))
        moment = resolve_as_of(warehouse, as_of, is_of_some_tables=some is not None)
        run = RefreshRun(run_id, moment, all_or(tutors), tables=some)
        with warehouse.connect() as database:
            losses.take(
                database,
                moment,
                datetime.now(UTC),
                limits,
                run_id=run_id,
                whole=tutors is None,
                accepted_by=accept_loss_by,
                warn=warn,
            )
        write_header(warehouse, run)
        if run.is_full:
            _take_all(warehouse, run, warn)
        yield run
        with warehouse.connect() as database:
            for writer in writers:
                writer.prove(database)
            if run.is_full and not read_whole(database, None):
                raise RefusedError(HALF_READ)


@contextmanager
def days(
    warehouse: Warehouse, run_id: str, first: date, last: date, warn: Warn
) -> Iterator[RefreshRun]:
    """Hold the lock of the tables with a row per day, and write the header of some days.

    Raises RefusedError behind a pooler in transaction mode.
    """
    refuse_pooled_transactions(warehouse, "a backfill of days")
    with one_writer(warehouse, HISTORY, warn):
        as_of = min(end_of_day(last, warehouse.timezone), datetime.now(UTC))
        run = RefreshRun(run_id, as_of, snapshot_from=first, snapshot_until=last)
        write_header(warehouse, run)
        yield run


@contextmanager
def past_weeks(warehouse: Warehouse, run_id: str, warn: Warn) -> Iterator[RefreshRun]:
    """Hold the same lock for the tables that only learning reads, as of their input tables."""
    with one_writer(warehouse, HISTORY, warn):
        with warehouse.connect() as database:
            as_of = built_moment(database)
        # A refresh of no tutor: the tables as of now stay as they are.
        run = RefreshRun(run_id, as_of, ())
        write_header(warehouse, run)
        yield run


def resolve_as_of(
    warehouse: Warehouse, requested: str | None, *, is_of_some_tables: bool = False
) -> datetime:
    """Return the as-of of a refresh: None = now (of some tables only: that of the other tables), a
    date = the end of that day, `latest` = the end of the day of the newest completed session,
    `last` = the as-of of the alerts.

    Raises RefusedError if it lies before the as-of of the alerts: history is for back-tests, the
    live tables only move forward.
    """
    now = datetime.now(UTC)
    if requested is None and not is_of_some_tables:
        return now
    with warehouse.connect() as database:
        if requested is None:
            return newest_moment(database) or now
        applied = store.last_applied(database)
        if requested == LAST:
            return applied or now
        if requested == LATEST:
            newest = newest_completed_session(database, now)
            moment = now if newest is None else latest_as_of(newest, now, warehouse.timezone)
        else:
            day = date.fromisoformat(requested)
            if day > now.astimezone(ZoneInfo(warehouse.timezone)).date():
                raise RefusedError(f"as of {day} lies in the future; leave --as-of out for now")
            moment = min(end_of_day(day, warehouse.timezone), now)
    if applied is not None and moment < applied:
        raise RefusedError(
            f"as of {moment:%Y-%m-%d %H:%M} lies before {applied:%Y-%m-%d %H:%M}, for which alerts"
            " were made already; the live tables only move forward.\n"
            "Leave --as-of out, or remove what was made, with its history, first:"
            " tutor-pipeline clear"
        )
    return moment


def _take_all(warehouse: Warehouse, run: RefreshRun, warn: Warn) -> None:
    """Run before dbt reads, so that a change during the build is found to differ later."""
    try:
        with warehouse.connect() as database:
            ledger.take_all(database, run.run_id, run.as_of)
    except TutorPipelineError as error:
        # Sessions that cannot be read: dbt reports what is missing and which model needs it.
        warn(str(error))

"""The ledger: which version of each session was processed, and the queue of changed sessions.

`compare` marks changes as pending, `take` hands a batch of them to a refresh, and `settle` records
them in the ledger, in the transaction that writes the findings. A refresh that dies in between
settles nothing, so its batch is taken again: every change is processed at least once and counted
once.

A change is a session of the last 14 days whose version differs from the ledger's, or one that the
ledger has in these days and the platform no longer has there. The comparison uses versions, not
timestamps or sequences: it also finds what was committed late.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg import sql
from psycopg.pq import TransactionStatus

from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.sources.changes import versions
from tutor_pipeline.sources.changes.batching import MAX_ATTEMPTS, Waiting, choose

WINDOW = timedelta(days=14)
"""How far back `compare` and `take` find changes."""
LOOKBACK = timedelta(days=90)
"""How far back a full refresh finds changes. The ledger keeps nothing older."""
FIRST_RETRY = timedelta(minutes=10)
"""Wait before a tutor who was set aside is tried again; doubled each time."""
LONGEST_RETRY = timedelta(days=1)
"""The longest of these waits."""

_MANY = 10_000
"""Changes after which the ledger's statistics for the planner are outdated."""

_DIFFERENCES = statement(__file__, "differences")
_MARK_NEW = statement(__file__, "mark_new")
_MARK_KNOWN = statement(__file__, "mark_known")
_QUEUE = statement(__file__, "queue")
_FINISHED_REFRESH = statement(__file__, "finished_refresh")
_IS_FILLED = statement(__file__, "is_filled")
_TAKE = statement(__file__, "take")
_NOTE_REPAIRS = statement(__file__, "note_repairs")
_SETTLE = statement(__file__, "settle")
_SET_ASIDE = statement(__file__, "set_aside")

_FORGET_SET_ASIDE = """
    delete from {ops}.set_aside_tutors
    where tutor_id = any(%s)
        and tutor_id not in (
            select tutor_id from {ops}.session_ledger where pending_since is not null
        )
"""

_KNOWN_SHAPE = """
    select source_shape from {ops}.refresh_runs
    where is_full and source_shape is not null
    order by started_at desc, run_id desc
    limit 1
"""

_SHAPES = """
    select source_shape
    from {ops}.refresh_runs
    where is_full and source_shape is not null and started_at <= (
        select started_at from {ops}.refresh_runs where run_id = %s
    )
    order by started_at desc, run_id desc
    limit 2
"""

_NEWEST_FULL = """
    select run_id, as_of, started_at
    from {ops}.refresh_runs
    where is_full and snapshot_from is null
    order by started_at desc, run_id desc
    limit 1
"""

# What the newest full refresh took stays: it may still be making its findings.
_LEFT_BEHIND = "run_id is distinct from (select run_id from ({newest_full}) as newest)"

_DIED_ALONE = f"""
    select min(c.tutor_id) as tutor_id, min(c.run_id) as run_id
    from {{ops}}.session_changes as c
    join {{ops}}.session_ledger as l on c.tutor_id = l.tutor_id and c.session_id = l.session_id
    where c.{_LEFT_BEHIND}
    having count(distinct c.tutor_id) = 1 and max(l.attempts) > %s
"""

_WAITING_TUTORS = """
    select l.tutor_id, max(l.attempts), min(l.pending_since), s.retry_at
    from {ops}.session_ledger as l
    left join {ops}.set_aside_tutors as s on l.tutor_id = s.tutor_id
    where l.pending_since is not null
    group by l.tutor_id, s.retry_at
"""

_COUNT_ATTEMPT = """
    update {ops}.session_ledger as l
    set attempts = taken.attempts + 1
    from unnest(%s::text[], %s::smallint[]) as taken (tutor_id, attempts)
    where l.tutor_id = taken.tutor_id and l.pending_since is not null
    returning l.tutor_id, l.session_id, l.scheduled_start, l.pending_since
"""

# Arrays tell the planner how many rows there are; the ledger's statistics do not.
_PENDING = """
    select *, null::bigint as version
    from unnest(
        %(tutors)s::text[], %(sessions)s::text[], %(starts)s::timestamptz[],
        %(pending)s::timestamptz[]
    ) as taken (tutor_id, session_id, scheduled_start, pending_since)
"""

_KNOWN_IN_WINDOW = """
    select * from {ops}.session_ledger
    where pending_since is not null
        or (scheduled_start > %(since)s and scheduled_start <= %(until)s)
"""

_BATCH = """
    select
        array_agg(distinct tutor_id order by tutor_id) as tutors,
        count(*) as changes,
        min(pending_since) as oldest_at
    from {ops}.session_changes
    where run_id = %s
"""

# Excused, or that undone, after the run had read them: they wait for the next one.
_EXCUSED_SINCE = """
    select distinct known.tutor_id, known.session_id, known.pending_since
    from {ops}.session_changes as taken
    inner join {ops}.session_ledger as known
        on taken.tutor_id = known.tutor_id and taken.session_id = known.session_id
    inner join {ops}.session_excuses as excuses
        on taken.tutor_id = excuses.tutor_id and taken.session_id = excuses.session_id
    where
        taken.run_id = %s
        and known.pending_since is not null
        and known.pending_since is distinct from taken.pending_since
"""

_MARK_AGAIN = """
    update {ops}.session_ledger as known
    set pending_since = again.pending_since
    from unnest(%s::text[], %s::text[], %s::timestamptz[])
        as again (tutor_id, session_id, pending_since)
    where known.tutor_id = again.tutor_id and known.session_id = again.session_id
"""

_SETTLE_GONE = """
    delete from {ops}.session_ledger as l
    using {ops}.session_changes as c
    where c.run_id = %s and c.version is null
        and l.tutor_id = c.tutor_id and l.session_id = c.session_id
"""


class Started(NamedTuple):
    """When sessions started: after `since`, not after `until`."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Queue:
    """Changes that wait to be taken, the tutors they concern, since when the oldest waits.

    `set_aside` counts tutors with changes whose next attempt is not due; the other fields exclude
    them. `is_compared`: nobody else was comparing just then. `is_reshaped`: the platform's columns
    are others than those of the newest full refresh, so nothing was compared, and a full refresh is
    due.
    """

    changes: int
    tutors: int
    oldest_at: datetime | None
    set_aside: int
    is_reshaped: bool = False
    is_compared: bool = True


@dataclass(frozen=True, slots=True)
class Batch:
    """The changes that a refresh has taken. `oldest_at`: when the oldest was first seen.

    `is_alone`: the batch has one tutor, and earlier batches with that tutor failed MAX_ATTEMPTS
    times or more. If it fails again, call `set_aside`.
    """

    run_id: str
    as_of: datetime
    tutors: tuple[str, ...]
    changes: int
    oldest_at: datetime | None
    is_alone: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """How many changes went into the ledger, and the timestamp recorded with them."""

    changes: int
    at: datetime


def is_filled(database: Database) -> bool:
    """Whether a full refresh has settled its changes. Before that, nothing is compared.

    An empty ledger may be filled: perhaps there were no sessions for a while.
    """
    return bool(database.value(_composed(database, _IS_FILLED)))


def waiting(database: Database, now: datetime) -> Queue:
    """Returns the changes found so far, without comparing."""
    return Queue(**_only(database, _QUEUE, {"now": now}))


def compare(
    database: Database, now: datetime, *, whole: bool, started: Started | None = None
) -> Queue:
    """Marks changes as pending. Returns the queue.

    Compares the own columns of the sessions that started in a part of the window of changes, None
    = all of it (see `is_divisible`); with `whole` also metrics and feedback, and then changes that
    were undone stop being pending. Runs in a transaction of its own, which writes only what it
    finds. Does nothing while another process compares, and before the first full refresh is
    settled.

    Raises TutorPipelineError: the platform has no readable sessions.
    """
    is_reshaped = False
    with _transaction(database):
        is_compared = _lock(database, "compare", wait=False)
        if is_compared and is_filled(database):
            is_reshaped = not _compare(database, now, whole, started or window(now))
        queue = waiting(database, now)
        return replace(queue, is_reshaped=is_reshaped, is_compared=is_compared)


def window(now: datetime) -> Started:
    """Returns where changes are found."""
    return Started(now - WINDOW, now)


def is_divisible(database: Database) -> bool:
    """Whether parts of the window can be compared one by one: not where the platform may have
    several rows of a session, which have one version together.
    """
    return versions.read_columns(database)["sessions"]["id"].is_unique


def is_any(database: Database, started: Started) -> bool:
    """Whether the platform has a session that started then, or is to start."""
    found = versions.started(database.warehouse, versions.read_columns(database))
    query = sql.SQL("select exists ({})").format(found)
    return bool(database.value(query, started._asdict()))


def take(database: Database, run_id: str, as_of: datetime) -> Batch | None:
    """Takes the changes that `compare` marked for the refresh `run_id`. None: there are none.

    Commits, so that the attempt counts even if the process dies. The versions are current: a
    session that changes while the refresh reads is a change again afterwards. Returns unsettled
    changes of earlier refreshes to the queue; the caller holds the lock of the writers.
    """
    with _transaction(database):
        _lock(database, "write")
        _take_back(database, as_of)
        tutors = [Waiting(*row) for row in database.execute(_WAITING_TUTORS)]
        chosen, is_alone = choose(tutors, as_of)
        if not chosen:
            return None
        pending = database.rows(
            _COUNT_ATTEMPT,
            ([each.tutor_id for each in chosen], [each.attempts for each in chosen]),
        )
        _take_pending(database, run_id, as_of, pending)
        return _batch(database, run_id, as_of, is_alone)


def take_all(database: Database, run_id: str, as_of: datetime) -> Batch:
    """Takes all changes of the last 90 days for a refresh of all tutors.

    Works as `take`, but counts no attempt.
    """
    with _transaction(database):
        _lock(database, "write")
        database.execute("delete from {ops}.session_changes")
        columns = versions.read_columns(database)
        query = versions.session_versions(database.warehouse, columns, whole=True)
        database.execute(
            database.sql(
                _TAKE,
                known=database.sql(_KNOWN_IN_WINDOW),
                join=sql.SQL("full join"),
                sessions=query,
            ),
            {
                "run_id": run_id,
                "since": as_of - LOOKBACK,
                "until": as_of,
                "recent": as_of - WINDOW,
            },
        )
        database.execute(
            "update {ops}.refresh_runs set source_shape = %s where run_id = %s",
            (versions.shape(database.warehouse, columns), run_id),
        )
        return _batch(database, run_id, as_of, is_alone=False)


def mark(database: Database, tutor_id: str, session_id: str, now: datetime) -> bool:
    """Marks a session as changed, however old it is, in the open transaction: what people say of
    it counts for its tutor. Returns False for one that the ledger does not have: the next full
    refresh finds the change.
    """
    _lock(database, "write")
    marked = database.execute(
        "update {ops}.session_ledger set pending_since = %s, attempts = 0"
        " where tutor_id = %s and session_id = %s",
        (now, tutor_id, session_id),
    )
    return marked.rowcount > 0


def mark_tutor(database: Database, tutor_id: str, now: datetime) -> bool:
    """Marks a tutor's newest session as changed, in the open transaction: what people say of the
    tutor counts at once. Prefers one that no run has taken, for that run may have judged already.
    Returns False for one without sessions in the ledger.
    """
    newest: str | None = database.value(
        "select session_id from {ops}.session_ledger as known where tutor_id = %s"
        " order by exists (select 1 from {ops}.session_changes as taken"
        " where taken.tutor_id = known.tutor_id and taken.session_id = known.session_id),"
        " scheduled_start desc nulls last, session_id limit 1",
        (tutor_id,),
    )
    if newest is None or not mark(database, tutor_id, newest, now):
        return False
    # The session itself is as it was: without a version to compare it stays a change.
    database.execute(
        "update {ops}.session_ledger set version = null, session_version = null"
        " where tutor_id = %s and session_id = %s",
        (tutor_id, newest),
    )
    return True


def settle(database: Database, run_id: str) -> Settled:
    """Records the changes of `run_id` as processed, in the open transaction.

    The same transaction writes the findings, so both are committed or neither. Notes past days
    with changes for the repair of history, unless the ledger was empty. Repeating it changes
    nothing.
    """
    _lock(database, "write")
    now = database.value("select clock_timestamp()")
    values = {"run_id": run_id, "now": now, "timezone": database.timezone}
    if is_filled(database):
        database.execute(_NOTE_REPAIRS, values)
    again = database.execute(_EXCUSED_SINCE, (run_id,)).fetchall()
    database.execute(_SETTLE_GONE, (run_id,))
    database.execute(_SETTLE, values)
    if again:
        database.execute(_MARK_AGAIN, tuple(map(list, zip(*again, strict=True))))
    healed = database.execute(
        "delete from {ops}.set_aside_tutors where tutor_id in"
        " (select tutor_id from {ops}.session_changes where run_id = %s)",
        (run_id,),
    ).rowcount
    if healed:
        # The cause may be gone for all tutors: try them now.
        database.execute("update {ops}.set_aside_tutors set retry_at = least(retry_at, %s)", (now,))
    changes = database.execute(
        "delete from {ops}.session_changes where run_id = %s", (run_id,)
    ).rowcount
    if changes > _MANY:
        database.execute("analyze {ops}.session_ledger")
    return Settled(changes, now)


def set_aside(database: Database, tutor_id: str, reason: str, run_id: str, now: datetime) -> None:
    """Leaves the tutor out for some time: FIRST_RETRY, doubled each time, up to LONGEST_RETRY.

    Takes the tutor's changes from `run_id`; they stay pending. Commits.
    """
    with _transaction(database):
        _lock(database, "write")
        _set_aside(database, tutor_id, reason, run_id, now)


def is_reshaped(database: Database, run_id: str) -> bool:
    """Whether a full refresh made versions otherwise than the one before it: of other columns, or
    by other code. Its changes are then all sessions.
    """
    shapes = [shape for (shape,) in database.execute(_SHAPES, (run_id,))]
    return len(shapes) > 1 and shapes[0] != shapes[1]


def finished_refresh(database: Database) -> str | None:
    """Returns the run id of the newest full refresh, None until it has made all its findings."""
    run_id: str | None = database.value(_composed(database, _FINISHED_REFRESH))
    return run_id


@contextmanager
def _transaction(database: Database) -> Iterator[None]:
    """Opens a transaction with settings for large queries. There must be none open."""
    assert database.info.transaction_status == TransactionStatus.IDLE, "commits by itself"
    with database.long_transaction():
        database.execute("set local jit = off; set local work_mem = '64MB'")
        yield


def _lock(database: Database, what: str, *, wait: bool = True) -> bool:
    """Locks out others who compare or write, until the transaction ends. False if one has it."""
    return database.lock(f"session_ledger {what}", wait=wait)


def _composed(database: Database, text: str) -> sql.Composed:
    """Fills {newest_full} and {finished_refresh}, the queries that others build on."""
    newest = database.sql(_NEWEST_FULL)
    return database.sql(
        text,
        newest_full=newest,
        finished_refresh=database.sql(_FINISHED_REFRESH, newest_full=newest),
    )


def _only(database: Database, query: str, parameters: Any) -> Row:
    """Returns the row of a query that always has one."""
    row = database.one(query, parameters)
    assert row is not None
    return row


def _compare(database: Database, now: datetime, whole: bool, started: Started) -> bool:
    """Marks what differs. Returns False if versions cannot be compared: see `Queue`."""
    version = sql.Identifier("version" if whole else "session_version")
    columns = versions.read_columns(database)
    known_shape = database.value(_KNOWN_SHAPE)
    if known_shape not in (None, versions.shape(database.warehouse, columns)):
        return False
    query = versions.session_versions(database.warehouse, columns, whole=whole)
    differences = database.rows(
        database.sql(_DIFFERENCES, sessions=query, version=version),
        {**started._asdict(), "recent": now - WINDOW, "whole": whole},
    )
    if not differences:
        return True
    new = [row for row in differences if row["known_version"] is None]
    known = [row for row in differences if row["known_version"] is not None]
    _lock(database, "write")
    if new:
        _mark_new(database, now, started, new)
    if known:
        database.execute(
            database.sql(_MARK_KNOWN, version=version),
            {
                "now": now,
                "tutors": [row["tutor_id"] for row in known],
                "sessions": [row["session_id"] for row in known],
                "versions": [row["known_version"] for row in known],
                "undone": [row["is_undone"] for row in known],
            },
        )
    if undone := {row["tutor_id"] for row in known if row["is_undone"]}:
        database.execute(_FORGET_SET_ASIDE, (list(undone),))
    return True


def _mark_new(database: Database, now: datetime, started: Started, found: Sequence[Row]) -> None:
    """Marks sessions that the ledger does not have there as pending."""
    bounds = {name: sql.Literal(moment) for name, moment in started._asdict().items()}
    database.execute(
        database.sql(_MARK_NEW, **bounds),
        {
            "now": now,
            "tutors": [row["tutor_id"] for row in found],
            "sessions": [row["session_id"] for row in found],
        },
    )


def _take_pending(database: Database, run_id: str, as_of: datetime, pending: Sequence[Row]) -> None:
    """Writes pending rows of the ledger with their current versions to the changes of `run_id`."""
    columns = versions.read_columns(database)
    query = versions.session_versions(database.warehouse, columns, whole=True, by_id=True)
    sessions = [row["session_id"] for row in pending]
    database.execute(
        database.sql(_TAKE, known=sql.SQL(_PENDING), join=sql.SQL("left join"), sessions=query),
        {
            "run_id": run_id,
            "tutors": [row["tutor_id"] for row in pending],
            "sessions": sessions,
            "starts": [row["scheduled_start"] for row in pending],
            "pending": [row["pending_since"] for row in pending],
            "session_ids": versions.ids_of_their_type(columns, sessions),
            "since": versions.BEGINNING,
            "until": as_of,
            "recent": as_of - WINDOW,
        },
    )


def _take_back(database: Database, as_of: datetime) -> None:
    alone = database.one(_composed(database, _DIED_ALONE), (MAX_ATTEMPTS,))
    if alone is not None:
        reason = "the process that refreshed this tutor alone did not come back"
        _set_aside(database, alone["tutor_id"], reason, alone["run_id"], as_of)
    database.execute(
        _composed(database, f"delete from {{ops}}.session_changes where {_LEFT_BEHIND}")
    )


def _set_aside(database: Database, tutor_id: str, reason: str, run_id: str, now: datetime) -> None:
    values = {"tutor_id": tutor_id, "reason": reason, "run_id": run_id, "now": now}
    database.execute(_SET_ASIDE, {**values, "first": FIRST_RETRY, "longest": LONGEST_RETRY})
    database.execute(
        "delete from {ops}.session_changes where run_id = %(run_id)s and tutor_id = %(tutor_id)s",
        values,
    )


def _batch(database: Database, run_id: str, as_of: datetime, is_alone: bool) -> Batch:
    taken = _only(database, _BATCH, (run_id,))
    tutors = tuple(taken["tutors"] or ())
    return Batch(run_id, as_of, tutors, taken["changes"], taken["oldest_at"], is_alone)

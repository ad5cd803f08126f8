"""The ledger: which version of each session was processed, and the queue of those that differ.

`compare` marks what differs as pending, `take` hands a batch of it to a refresh, `settle` moves it
to the ledger in the transaction that writes the findings. A refresh that dies in between settles
nothing, so its batch is taken again: every change is processed at least once, and counts once.

A change is a session of the last 14 days whose version differs from the ledger's, or that the
ledger has in these days and the platform no longer has there. Versions are compared, no moments
and no sequence: what was committed late is found all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import NamedTuple

from psycopg import sql
from psycopg.pq import TransactionStatus

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.sources.changes import versions

WINDOW = timedelta(days=14)
"""How far back changes are found within seconds."""
LOOKBACK = timedelta(days=90)
"""How far back a full refresh finds them; the ledger goes no further."""
MAX_ATTEMPTS = 3
"""A batch that failed so often is split, to find the tutor who breaks it."""
PATIENCE = timedelta(minutes=5)
"""Tutors whose batch failed go after the others, but wait no longer than this for them."""
FIRST_RETRY = timedelta(minutes=10)
"""When a tutor who was set aside is tried again; doubled each time."""
LONGEST_RETRY = timedelta(days=1)
"""The longest of these waits."""

_MANY = 10_000
"""After so many changes the planner's idea of the ledger is wrong."""

_IN_WINDOW = "scheduled_start > %(since)s and scheduled_start <= %(until)s"

# Both sides are read once: a sum of the versions by hour costs as much as this join, and says less.
_DIFFERENCES = f"""
    select
        coalesce(incoming.tutor_id, known.tutor_id),
        coalesce(incoming.session_id, known.session_id),
        known.{{version}},
        known.pending_since is not null
    from ({{found}}) as incoming
    full join (
        select tutor_id, session_id, {{version}}, pending_since
        from {{ledger}}
        where pending_since is not null or ({_IN_WINDOW})
    ) as known
        on incoming.tutor_id = known.tutor_id and incoming.session_id = known.session_id
    where
        (known.pending_since is null and incoming.{{version}} is distinct from known.{{version}})
        {{or_undone}}
"""

_OR_UNDONE = "or (known.pending_since is not null and incoming.version = known.version)"

# Only what is still as it was seen: a refresh may have settled it meanwhile. `pending_since` is
# this moment. A cluster takes no parameter here, and nothing that depends on the time zone.
_MARK_NEW = f"""
    insert into {{ledger}} as known (tutor_id, session_id, pending_since)
    select tutor_id, session_id, %(now)s
    from unnest(%(tutors)s::text[], %(sessions)s::text[]) as found (tutor_id, session_id)
    on conflict (tutor_id, session_id) do update set pending_since = excluded.pending_since
    where known.pending_since is null
        and (
            excluded.pending_since - known.scheduled_start >= interval '0'
            and excluded.pending_since - known.scheduled_start
            < interval '{WINDOW.total_seconds():.0f} seconds'
        ) is not true
"""

_MARK_KNOWN = """
    update {ledger} as known
    set pending_since = case when found.is_undone then null else %(now)s end, attempts = 0
    from unnest(
        %(tutors)s::text[], %(sessions)s::text[], %(versions)s::bigint[], %(undone)s::boolean[]
    ) as found (tutor_id, session_id, version, is_undone)
    where known.tutor_id = found.tutor_id and known.session_id = found.session_id
        and known.{version} = found.version
        and (known.pending_since is not null) = found.is_undone
"""

_FORGIVE = """
    delete from {ops}.set_aside_tutors
    where tutor_id = any(%s)
        and tutor_id not in (
            select tutor_id from {ops}.session_ledger where pending_since is not null
        )
"""

# Whoever is set aside waits from the moment at which it is tried again.
_QUEUE = """
    select
        count(*) filter (where is_taken),
        count(distinct tutor_id) filter (where is_taken),
        min(waits_since) filter (where is_taken),
        count(distinct tutor_id) filter (where not is_taken)
    from (
        select
            l.tutor_id,
            greatest(l.pending_since, s.retry_at) as waits_since,
            coalesce(s.retry_at <= %s, true) as is_taken
        from {ops}.session_ledger as l
        left join {ops}.set_aside_tutors as s on l.tutor_id = s.tutor_id
        where l.pending_since is not null
    ) as pending
"""

_NEWEST_FULL = """
    select run_id, as_of, started_at
    from {ops}.refresh_runs
    where is_full and snapshot_from is null
    order by started_at desc, run_id desc
    limit 1
"""

# What the newest full refresh took stays: it may still be making its findings.
_LEFT_BEHIND = f"run_id is distinct from (select run_id from ({_NEWEST_FULL}) as newest)"

_DIED_ALONE = f"""
    select min(c.tutor_id), min(c.run_id)
    from {{ops}}.session_changes as c
    join {{ops}}.session_ledger as l on c.tutor_id = l.tutor_id and c.session_id = l.session_id
    where c.{_LEFT_BEHIND}
    having count(distinct c.tutor_id) = 1 and max(l.attempts) > %s
"""

_TUTORS = """
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

_TAKE = """
    insert into {{ops}}.session_changes (
        run_id, tutor_id, session_id, scheduled_start, was_scheduled_start, session_version,
        version, pending_since
    )
    select
        %(run_id)s,
        coalesce(known.tutor_id, incoming.tutor_id),
        coalesce(known.session_id, incoming.session_id),
        incoming.scheduled_start,
        known.scheduled_start,
        incoming.session_version,
        incoming.version,
        coalesce(known.pending_since, %(until)s)
    from {known} as known
    {join} ({{found}}) as incoming
        on known.tutor_id = incoming.tutor_id and known.session_id = incoming.session_id
"""

# As arrays, of which the planner sees how many there are: the ledger's statistics know of none.
_TAKE_PENDING = _TAKE.format(
    known="""unnest(
        %(tutors)s::text[], %(sessions)s::text[], %(starts)s::timestamptz[],
        %(pending)s::timestamptz[]
    )""",
    join="(tutor_id, session_id, scheduled_start, pending_since) left join",
)

_TAKE_DIFFERING = (
    _TAKE.format(
        known=f"""(
        select * from {{ops}}.session_ledger
        where pending_since is not null or ({_IN_WINDOW})
    )""",
        join="full join",
    )
    + """
    where known.pending_since is not null or incoming.version is distinct from known.version
"""
)

_BATCH = """
    select array_agg(distinct tutor_id order by tutor_id), count(*), min(pending_since)
    from {ops}.session_changes
    where run_id = %s
"""

# The days on which something counted before, or counts now: history over them is made anew.
_NOTE_REPAIRS = """
    insert into {ops}.history_repairs (tutor_id, changed_on, noted_at)
    select distinct c.tutor_id, day.changed_on, %(now)s
    from {ops}.session_changes as c
    cross join lateral (values (c.scheduled_start), (c.was_scheduled_start)) as start (at)
    cross join lateral (
        select (start.at at time zone %(timezone)s)::date as changed_on
    ) as day
    where c.run_id = %(run_id)s
        and day.changed_on < (%(now)s at time zone %(timezone)s)::date
    on conflict (tutor_id, changed_on) do update set noted_at = excluded.noted_at
"""

_SETTLE_GONE = """
    delete from {ops}.session_ledger as l
    using {ops}.session_changes as c
    where c.run_id = %s and c.version is null
        and l.tutor_id = c.tutor_id and l.session_id = c.session_id
"""

_SETTLE = """
    insert into {ops}.session_ledger as l (
        tutor_id, session_id, scheduled_start, session_version, version, processed_at, run_id
    )
    select tutor_id, session_id, scheduled_start, session_version, version, %(now)s, run_id
    from {ops}.session_changes
    where run_id = %(run_id)s and version is not null
    on conflict (tutor_id, session_id) do update set
        scheduled_start = excluded.scheduled_start,
        session_version = excluded.session_version,
        version = excluded.version,
        processed_at = excluded.processed_at,
        run_id = excluded.run_id,
        pending_since = null,
        attempts = 0
"""

_HEALED = """
    delete from {ops}.set_aside_tutors
    where tutor_id in (select tutor_id from {ops}.session_changes where run_id = %s)
"""

_SET_ASIDE = """
    insert into {ops}.set_aside_tutors as s
        (tutor_id, reason, run_id, attempts, set_aside_at, retry_at)
    values (%(tutor_id)s, %(reason)s, %(run_id)s, 1, %(now)s, %(now)s + %(first)s)
    on conflict (tutor_id) do update set
        reason = excluded.reason,
        run_id = excluded.run_id,
        attempts = s.attempts + 1,
        set_aside_at = excluded.set_aside_at,
        retry_at = excluded.set_aside_at
            + least(%(first)s * power(2, least(s.attempts, 20)), %(longest)s)
"""

# The newest refresh of everything, if the findings of each kind are as of it.
_FINISHED = f"""
    select newest.run_id
    from ({_NEWEST_FULL}) as newest
    join {{ops}}.reconcile_runs as made
        on made.as_of >= newest.as_of and made.applied_at >= newest.started_at
    group by newest.run_id
    having count(distinct made.kind) = 3
"""

_IS_FILLED = f"""
    select exists (select 1 from {{ops}}.session_ledger where version is not null) or exists (
        select 1
        from ({_FINISHED}) as finished
        left join {{ops}}.session_changes as c on finished.run_id = c.run_id
        where c.run_id is null
    )
"""


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits to be taken: changes, the tutors they concern, since when the oldest waits.

    `set_aside` counts the tutors with changes who are not to be taken yet, and are not in the
    other numbers.
    """

    changes: int
    tutors: int
    oldest_at: datetime | None
    set_aside: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What a refresh has taken. `oldest_at`: when its oldest change was first seen.

    `is_alone`: the only tutor of a batch that failed too often. If it fails again, `set_aside`.
    """

    run_id: str
    as_of: datetime
    tutors: tuple[str, ...]
    changes: int
    oldest_at: datetime | None
    is_alone: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """How many changes went into the ledger, and the moment noted with them."""

    changes: int
    at: datetime


class Waiting(NamedTuple):
    """A tutor with changes; `attempts`: the most that any of them has had."""

    tutor_id: str
    attempts: int
    oldest_at: datetime
    retry_at: datetime | None


def is_filled(database: Database) -> bool:
    """Whether a full refresh has settled what it took: before, nothing is compared.

    An empty ledger need not be a new one: there may have been no sessions for a while.
    """
    row = database.execute(_IS_FILLED).fetchone()
    return row is not None and bool(row[0])


def waiting(database: Database, now: datetime) -> Queue:
    """What was found to differ so far, without comparing."""
    row = database.execute(_QUEUE, (now,)).fetchone()
    assert row is not None
    return Queue(*row)


def compare(database: Database, now: datetime, *, whole: bool) -> Queue:
    """Mark what differs from the ledger as pending; what then waits.

    `whole`: by metrics and feedback too, and what differs no more is pending no more; else by the
    sessions' own columns. One transaction of its own, which writes only what it finds. While
    another process compares, and before the first full refresh is settled, nothing is compared.

    Raises TutorPipelineError: there are no sessions that could be read.
    """
    with _transaction(database):
        if _lock(database, "compare", wait=False) and is_filled(database):
            _compare(database, now, whole)
        return waiting(database, now)


def take(database: Database, run_id: str, as_of: datetime) -> Batch | None:
    """Take changes for the refresh `run_id`, comparing the sessions' own columns first; None when
    there are none to take.

    Commits, so that the attempt counts even if the process dies. The versions are those of this
    moment: what changes while the refresh reads is found to differ afterwards. What an earlier
    refresh took and did not settle is taken back: the caller holds the lock of the writers.
    """
    with _transaction(database):
        _lock(database, "compare")
        if is_filled(database):
            _compare(database, as_of, whole=False)
    with _transaction(database):
        _lock(database, "write")
        _take_back(database, as_of)
        rows = database.execute(_TUTORS).fetchall()
        chosen, is_alone = choose([Waiting(*row) for row in rows], as_of)
        if not chosen:
            return None
        taken = database.execute(
            _COUNT_ATTEMPT,
            ([each.tutor_id for each in chosen], [each.attempts for each in chosen]),
        ).fetchall()
        tutors, sessions, starts, pending = map(list, zip(*taken, strict=True))
        columns = versions.read_columns(database)
        query = versions.session_versions(database.warehouse, columns, whole=True, by_id=True)
        database.execute(
            sql.SQL(_TAKE_PENDING).format(found=query, **database.schemas.identifiers()),
            {
                "run_id": run_id,
                "tutors": tutors,
                "sessions": sessions,
                "starts": starts,
                "pending": pending,
                "session_ids": versions.ids_of_their_type(columns, sessions),
                "since": versions.BEGINNING,
                "until": as_of,
                "recent": as_of - WINDOW,
            },
        )
        return _batch(database, run_id, as_of, is_alone)


def take_all(database: Database, run_id: str, as_of: datetime) -> Batch:
    """Take everything that differs in the last 90 days, whomever it concerns, for a refresh of all
    tutors. As `take`, but no attempt is counted.
    """
    with _transaction(database):
        _lock(database, "write")
        database.execute("delete from {ops}.session_changes")
        columns = versions.read_columns(database)
        query = versions.session_versions(database.warehouse, columns, whole=True)
        database.execute(
            sql.SQL(_TAKE_DIFFERING).format(found=query, **database.schemas.identifiers()),
            {
                "run_id": run_id,
                "since": as_of - LOOKBACK,
                "until": as_of,
                "recent": as_of - WINDOW,
            },
        )
        return _batch(database, run_id, as_of, is_alone=False)


def settle(database: Database, run_id: str) -> Settled:
    """Note as processed what `run_id` took, in the connection's transaction.

    That is the one that writes the findings, so both are there or neither. Past days on which
    something changed are noted for history, unless the ledger was empty. Repeating it changes
    nothing.
    """
    _lock(database, "write")
    row = database.execute("select clock_timestamp()").fetchone()
    assert row is not None
    values = {"run_id": run_id, "now": row[0], "timezone": database.timezone}
    if is_filled(database):
        database.execute(_NOTE_REPAIRS, values)
    database.execute(_SETTLE_GONE, (run_id,))
    database.execute(_SETTLE, values)
    if database.execute(_HEALED, (run_id,)).rowcount:
        # What was mended for one may be mended for all.
        database.execute(
            "update {ops}.set_aside_tutors set retry_at = least(retry_at, %s)",
            (values["now"],),
        )
    changes = database.execute(
        "delete from {ops}.session_changes where run_id = %s", (run_id,)
    ).rowcount
    if changes > _MANY:
        database.execute("analyze {ops}.session_ledger")
    return Settled(changes, values["now"])


def set_aside(database: Database, tutor_id: str, reason: str, run_id: str, now: datetime) -> None:
    """Leave the tutor out until some time has passed: 10 minutes, doubled each time, a day at most.

    What `run_id` took of the tutor it no longer has; it stays pending. Commits.
    """
    with _transaction(database):
        _lock(database, "write")
        _set_aside(database, tutor_id, reason, run_id, now)


def finished_refresh(database: Database) -> str | None:
    """The run id of the newest full refresh, when its findings of every kind are made."""
    row = database.execute(_FINISHED).fetchone()
    return None if row is None else row[0]


def choose(tutors: Sequence[Waiting], as_of: datetime) -> tuple[Sequence[Waiting], bool]:
    """Which of the tutors to take together, and whether that is one tutor's last try.

    Those whose changes failed less than three times come all at once. The others come in halves of
    halves, a bit of a hash of their id per attempt: a search for the one who breaks the batch, of
    which nothing need be remembered but the attempts. Who was set aside is tried alone.
    """
    fresh = [each for each in tutors if each.retry_at is None and each.attempts < MAX_ATTEMPTS]
    suspects = [each for each in tutors if each.retry_at is None and each.attempts >= MAX_ATTEMPTS]
    due = sorted(
        (each.retry_at, each) for each in tutors if each.retry_at and each.retry_at <= as_of
    )
    late = as_of - PATIENCE
    waited = [each.oldest_at for each in suspects] + [retry_at for retry_at, _ in due]
    if fresh and all(since >= late for since in waited):
        return fresh, False
    if suspects:
        least = min(each.attempts for each in suspects)
        bits = min(least - MAX_ATTEMPTS + 1, 64)
        parts: dict[int, list[Waiting]] = {}
        for each in suspects:
            if each.attempts == least:
                parts.setdefault(_hash(each.tutor_id) >> (64 - bits), []).append(each)
        part = parts[min(parts)]
        return part, len(part) == 1
    if due:
        return [due[0][1]], True
    return fresh, False


def _hash(tutor_id: str) -> int:
    return int.from_bytes(blake2b(tutor_id.encode(), digest_size=8).digest())


@contextmanager
def _transaction(database: Database) -> Iterator[None]:
    """A transaction of its own, in which large queries run well."""
    assert database.info.transaction_status == TransactionStatus.IDLE, "commits by itself"
    with database.transaction():
        database.execute("set local jit = off; set local work_mem = '64MB'")
        yield


def _lock(database: Database, what: str, *, wait: bool = True) -> bool:
    """Until the transaction ends: only one compares, only one writes. False: somebody else does."""
    return database.lock(f"session_ledger {what}", wait=wait)


def _compare(database: Database, now: datetime, whole: bool) -> None:
    version = "version" if whole else "session_version"
    columns = versions.read_columns(database)
    names = {
        "version": sql.Identifier(version),
        "ledger": sql.Identifier(database.schemas.ops, "session_ledger"),
    }
    differences = database.execute(
        sql.SQL(_DIFFERENCES).format(
            found=versions.session_versions(database.warehouse, columns, whole=whole),
            or_undone=sql.SQL(_OR_UNDONE if whole else ""),
            **names,
        ),
        {"since": now - WINDOW, "until": now, "recent": now - WINDOW},
    ).fetchall()
    if not differences:
        return
    new = [row for row in differences if row[2] is None]
    known = [row for row in differences if row[2] is not None]
    _lock(database, "write")
    if new:
        database.execute(
            sql.SQL(_MARK_NEW).format(**names),
            {
                "now": now,
                "tutors": [row[0] for row in new],
                "sessions": [row[1] for row in new],
            },
        )
    if known:
        database.execute(
            sql.SQL(_MARK_KNOWN).format(**names),
            {
                "now": now,
                "tutors": [row[0] for row in known],
                "sessions": [row[1] for row in known],
                "versions": [row[2] for row in known],
                "undone": [row[3] for row in known],
            },
        )
    if undone := {row[0] for row in known if row[3]}:
        database.execute(_FORGIVE, (list(undone),))


def _take_back(database: Database, as_of: datetime) -> None:
    alone = database.execute(_DIED_ALONE, (MAX_ATTEMPTS,)).fetchone()
    if alone is not None:
        reason = "the process that refreshed this tutor alone did not come back"
        _set_aside(database, alone[0], reason, alone[1], as_of)
    database.execute(f"delete from {{ops}}.session_changes where {_LEFT_BEHIND}")


def _set_aside(database: Database, tutor_id: str, reason: str, run_id: str, now: datetime) -> None:
    values = {"tutor_id": tutor_id, "reason": reason, "run_id": run_id, "now": now}
    database.execute(_SET_ASIDE, {**values, "first": FIRST_RETRY, "longest": LONGEST_RETRY})
    database.execute(
        "delete from {ops}.session_changes where run_id = %(run_id)s and tutor_id = %(tutor_id)s",
        values,
    )


def _batch(database: Database, run_id: str, as_of: datetime, is_alone: bool) -> Batch:
    row = database.execute(_BATCH, (run_id,)).fetchone()
    assert row is not None
    tutors, changes, oldest_at = row
    return Batch(run_id, as_of, tuple(tutors or ()), changes, oldest_at, is_alone)

"""The sensor `new_sessions`: sees to it that one refresh after sessions is always ready, and starts
one at a time. Where none stands by, it notices sessions within a second.

Dagster evaluates sensors every five seconds at best, whatever interval they request. So this one
waits inside its evaluation and polls until there is something to do.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import psycopg

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.formatting import agree, count, span
from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.core.warehouse.standing import is_present
from tutor_pipeline.defs.common import run_records
from tutor_pipeline.defs.common.project import load_project
from tutor_pipeline.defs.common.required import required
from tutor_pipeline.defs.common.warehouse_resource import WarehouseResource
from tutor_pipeline.defs.jobs import asset_jobs
from tutor_pipeline.defs.refresh_after_sessions import (
    LINGERS_FOR,
    SENSOR,
    STANDS_BY_FOR,
    post_session_refresh,
)
from tutor_pipeline.judgement.quality import guard
from tutor_pipeline.sources import relations
from tutor_pipeline.sources.changes import ledger
from tutor_pipeline.sources.losses import Limits
from tutor_pipeline.steps import losses
from tutor_pipeline.steps.names import Job
from tutor_pipeline.steps.order import FINDINGS_REST_ON

WAIT_SECONDS = 19.0
"""How long an evaluation waits: just under a multiple of Dagster's five seconds, so that the next
one follows at once, and well under Dagster's limit of 60 s.
"""

PEEK_SECONDS, PEEK_SHARE = 0.5, 4
"""Seconds between two polls, or four times the length of a poll if that is more."""

WHOLE_EVERY = timedelta(seconds=60)
"""How often feedback and metrics are compared too."""

LOADS_FOR = 14
"""How many seconds before the end of a refresh the next one starts to load."""

# No retry by Dagster: after a crash the sensor starts the next run, which takes what is left.
_TAGS = {"dagster/max_retries": "0"}

BUILD_AGAIN_AFTER = timedelta(minutes=10)
_NAMED = 3
BEGINS_WITHIN, ENDS_WITHIN = timedelta(seconds=45), timedelta(seconds=10)
"""A run is present in the database while it works. If it counts as running for longer than the
first and has been absent for the second, its process is gone.
"""


ENDED_AT_ONCE = timedelta(seconds=60)
"""A run that stood by and lived less long is followed by another one after as long a pause."""


@dataclass(frozen=True, slots=True)
class _Skip:
    """Nothing to start, and why. `looks_on`: keep polling, as this may change within seconds."""

    reason: str
    looks_on: bool = True


@dataclass(frozen=True, slots=True)
class _Gate:
    """What stops a refresh: blocking checks that do not hold, and rows that vanished; and whether a
    refresh is to stand by while nothing changes.
    """

    required: Sequence[guard.Required]
    limits: Limits
    stands_by: bool

    @property
    def relieved_after(self) -> timedelta:
        """How old a refresh is when the next one starts to load."""
        return timedelta(seconds=(STANDS_BY_FOR if self.stands_by else LINGERS_FOR) - LOADS_FOR)


@dataclass(slots=True)
class _Memory:
    """The state that one evaluation passes to the next: the sensor's cursor. `absent`: since when
    each run that counts as running was not present in the database.
    """

    compared_at: datetime | None = None
    unreachable_since: datetime | None = None
    absent: dict[str, datetime] = field(default_factory=dict)

    @classmethod
    def read(cls, cursor: str | None) -> "_Memory":
        try:
            kept = json.loads(cursor or "{}")
            absent = kept.pop("absent", {})
            return cls(**_moments(kept), absent=_moments(absent))
        except (ValueError, TypeError, AttributeError):
            return cls()  # of another version

    def write(self) -> str:
        return json.dumps(asdict(self), default=datetime.isoformat)


def _moments(texts: Mapping[str, str | None]) -> dict[str, datetime]:
    return {name: datetime.fromisoformat(text) for name, text in texts.items() if text}


@dg.definitions
def definitions() -> dg.Definitions:
    """The sensor."""
    project = load_project()
    jobs = {post_session_refresh.name: post_session_refresh, **asset_jobs(project)}
    return dg.Definitions(
        sensors=[
            build_new_sessions_sensor(jobs, required(project, FINDINGS_REST_ON), project.sensors)
        ]
    )


def build_new_sessions_sensor(
    jobs: Mapping[str, Any],
    blocking: Sequence[guard.Required],
    status: dg.DefaultSensorStatus,
    wait_seconds: float = WAIT_SECONDS,
) -> dg.SensorDefinition:
    """The sensor `new_sessions`. `jobs`, by name: the refresh after sessions, and the full refresh
    that must precede it. `blocking`: the checks without which nothing is derived.
    """

    @dg.sensor(
        name=SENSOR,
        jobs=[jobs[Job.POST_SESSION_REFRESH], jobs[Job.DAILY_REFRESH]],
        minimum_interval_seconds=1,
        default_status=status,
        description="Sees to it that a run of"
        f" {Job.POST_SESSION_REFRESH} is ready when sessions, their feedback or metrics come,"
        " change or go: one at a time, and the next before it ends. The reason of a skip says how"
        " many changes wait, for how long, and for what.",
    )
    def new_sessions(
        context: dg.SensorEvaluationContext, warehouse: WarehouseResource
    ) -> dg.SensorResult:
        memory = _Memory.read(context.cursor)
        try:
            stands_by = warehouse.settings.linger_seconds is None
            gate = _Gate(blocking, warehouse.loss_limits, stands_by)
            found = _wait(context.instance, warehouse.warehouse, gate, memory, wait_seconds)
            memory.unreachable_since = None
        except (TutorPipelineError, psycopg.Error) as error:
            found = _unreachable(error, memory, datetime.now(UTC))
        if isinstance(found, _Skip):
            return dg.SensorResult(skip_reason=found.reason, cursor=memory.write())
        return dg.SensorResult(run_requests=[found], cursor=memory.write())

    return new_sessions


def _wait(
    instance: dg.DagsterInstance,
    warehouse: Warehouse,
    gate: _Gate,
    memory: _Memory,
    seconds: float,
) -> dg.RunRequest | _Skip:
    """Poll until there is something to start, at most for these seconds."""
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        found = _look(instance, warehouse, gate, memory, datetime.now(UTC))
        ended = time.monotonic()
        pause = max(PEEK_SECONDS, PEEK_SHARE * (ended - began))
        if isinstance(found, dg.RunRequest) or not found.looks_on or ended + pause > deadline:
            return found
        time.sleep(pause)


def _look(
    instance: dg.DagsterInstance,
    warehouse: Warehouse,
    gate: _Gate,
    memory: _Memory,
    now: datetime,
) -> dg.RunRequest | _Skip:
    # Read once: if one of two runs ended between two reads, the other would be relieved at once.
    in_progress = run_records.all_in_progress(instance, Job.POST_SESSION_REFRESH)
    # Autocommit: the comparison opens its own transactions.
    with warehouse.connect(autocommit=True) as database:
        gone = _gone(database, memory, in_progress, now)
        for record in gone:
            instance.report_run_failed(
                record.dagster_run, "Its process is gone: it is not present in the database."
            )
        if alive := [record for record in in_progress if record not in gone]:
            running = alive[0]
            if _is_to_be_relieved(database, gate, alive, now):
                relieved = run_records.short(running.dagster_run.run_id)
                return dg.RunRequest(
                    job_name=Job.POST_SESSION_REFRESH, tags={**_TAGS, "relieves": relieved}
                )
            return _Skip(_at_work(running, ledger.waiting(database, now), now))
        try:
            if not relations.is_filled(database, "sessions"):
                return _missing(database, gate, ledger.waiting(database, now), now) or _Skip(
                    "the platform has no sessions yet; see tutor-pipeline check-source"
                )
            if not ledger.is_filled(database):
                return _first(instance, database, now)
            queue = _compare(database, memory, now)
        except psycopg.Error:
            # Raises who may not read what, and an incident tells of it.
            losses.objections(database, now, gate.limits, run_id="new_sessions")
            raise
        return _answer(instance, database, gate, memory, queue, now)


def _answer(
    instance: dg.DagsterInstance,
    database: Database,
    gate: _Gate,
    memory: _Memory,
    queue: ledger.Queue,
    now: datetime,
) -> dg.RunRequest | _Skip:
    """What a comparison calls for."""
    # What was missing and is there again need not have changed; and a full refresh would refuse.
    looks = queue.is_reshaped or (not queue.changes and memory.compared_at == now)
    if looks and losses.is_failing(database) and (missing := _missing(database, gate, queue, now)):
        return missing
    if queue.is_reshaped:
        return _build_all(
            instance,
            database,
            now,
            "the platform's columns are others than those of the newest full refresh",
            _waits(queue, now),
        )
    if queue.changes:
        return _start(instance, database, gate, queue, now)
    if gate.stands_by and _may_stand_by(instance, database, gate, now):
        return dg.RunRequest(job_name=Job.POST_SESSION_REFRESH, tags={**_TAGS, "stands_by": "yes"})
    return _Skip("nothing changed" + _beside(queue))


def _compare(database: Database, memory: _Memory, now: datetime) -> ledger.Queue:
    """Compare the sessions with what is known of them; their parts too, once a minute."""
    whole = memory.compared_at is None or now - memory.compared_at >= WHOLE_EVERY
    queue = ledger.compare(database, now, whole=whole)
    if whole:
        memory.compared_at = now
    return queue


def _start(
    instance: dg.DagsterInstance,
    database: Database,
    gate: _Gate,
    queue: ledger.Queue,
    now: datetime,
) -> dg.RunRequest | _Skip:
    """Start a refresh, unless rows vanished, the last runs failed or a check blocks it."""
    if missing := _missing(database, gate, queue, now):
        return missing
    failures = run_records.failures_in_a_row(instance, Job.POST_SESSION_REFRESH)
    if (remaining := failures.remaining(now)) > 0:
        return _Skip(_backing_off(instance, failures, remaining, queue, now))
    if objections := guard.objections(database, gate.required):
        if unknown := guard.only_unevaluated(database, gate.required):
            tables = unknown.tables
            named = ", ".join(tables[:_NAMED]) + (" and others" if len(tables) > _NAMED else "")
            return _build_all(
                instance,
                database,
                now,
                f"checks of {named} were not evaluated since these were rebuilt",
                _waits(queue, now),
                [each for each in gate.required if each.asset in tables] if unknown.by_hand else (),
            )
        return _Skip(_blocked(objections, queue, now))
    return dg.RunRequest(
        job_name=Job.POST_SESSION_REFRESH,
        tags={
            "changes": str(queue.changes),
            "tutors": str(queue.tutors),
            "oldest_change": _oldest(queue, now),
            **_TAGS,
        },
    )


def _may_stand_by(
    instance: dg.DagsterInstance, database: Database, gate: _Gate, now: datetime
) -> bool:
    """Whether a refresh could work if something changed now."""
    failures = run_records.failures_in_a_row(instance, Job.POST_SESSION_REFRESH)
    ended = run_records.last(instance, Job.POST_SESSION_REFRESH)
    at = None if ended is None else run_records.ended_at(ended)
    if ended is not None and at is not None and now - at < ENDED_AT_ONCE:
        # One that ended at once would do so again: it knows of something that this does not.
        lived = at - run_records.since(ended)
        if lived < ENDED_AT_ONCE and ended.dagster_run.tags.get("stands_by"):
            return False
    return failures.remaining(now) <= 0 and not guard.objections(database, gate.required)


def _missing(database: Database, gate: _Gate, queue: ledger.Queue, now: datetime) -> _Skip | None:
    """Why nothing starts while rows of the platform are missing; None = none are."""
    lost = losses.objections(database, now, gate.limits, run_id="new_sessions")
    if not lost:
        return None
    more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
    return _Skip(
        f"rows of the platform are missing, {_waits(queue, now)}: {lost[0]}{more}. {losses.HEALS}"
    )


def _is_to_be_relieved(
    database: Database, gate: _Gate, in_progress: Sequence[dg.RunRecord], now: datetime
) -> bool:
    """Whether to start the next run now, so that it is ready when this one ends; otherwise sessions
    would wait for its start-up. Where none stands by, only while sessions arrive.
    """
    running, *others = in_progress
    if (
        others
        or running.dagster_run.status is not dg.DagsterRunStatus.STARTED
        or now - run_records.since(running) < gate.relieved_after
    ):
        return False
    return gate.stands_by or bool(
        database.value(
            "select exists (select 1 from {ops}.refresh_passes where settled_at > %s)",
            (now - gate.relieved_after,),
        )
    )


def _gone(
    database: Database, memory: _Memory, in_progress: Sequence[dg.RunRecord], now: datetime
) -> list[dg.RunRecord]:
    """The runs that have no process any more. One that ends is absent before Dagster hears it."""
    absent = [
        record
        for record in in_progress
        if record.dagster_run.status is dg.DagsterRunStatus.STARTED
        and not is_present(database, record.dagster_run.run_id)
    ]
    memory.absent = {
        run_id: memory.absent.get(run_id, now)
        for run_id in (record.dagster_run.run_id for record in absent)
    }
    return [
        record
        for record in absent
        if now - memory.absent[record.dagster_run.run_id] >= ENDS_WITHIN
        and now - run_records.since(record) > BEGINS_WITHIN
    ]


def _first(
    instance: dg.DagsterInstance, database: Database, now: datetime
) -> dg.RunRequest | _Skip:
    """No session was ever processed: build everything once before changes can be detected."""
    newest = relations.newest_completed_session(database, now)
    if newest is None or newest < now - ledger.LOOKBACK:
        return _Skip(
            f"nothing to watch: no completed session of the last {ledger.LOOKBACK.days} days",
            looks_on=False,
        )
    return _build_all(
        instance, database, now, "nothing is built yet", "changes are detected after that"
    )


def _build_all(
    instance: dg.DagsterInstance,
    database: Database,
    now: datetime,
    why: str,
    meanwhile: str,
    only: Sequence[guard.Required] = (),
) -> dg.RunRequest | _Skip:
    """Start a full refresh, unless one is running, or the last one failed or changed nothing just
    now. `only`: build the tables of these checks alone, and evaluate them.
    """
    running = run_records.in_progress(instance, Job.DAILY_REFRESH)
    if running is not None and run_records.is_dead(running):
        instance.report_run_failed(running.dagster_run, "Its process is gone.")
        running = None
    if running is not None:
        return _Skip(f"{_run(running, now)}; {meanwhile}")
    failures = run_records.failures_in_a_row(instance, Job.DAILY_REFRESH)
    if failures.newest is not None:
        remaining = failures.remaining(now)
        run_id = failures.newest.dagster_run.run_id
        how = f" failed ({run_records.why(instance, run_id)})"
    else:
        ended = run_records.last(instance, Job.DAILY_REFRESH)
        at = None if ended is None else run_records.ended_at(ended)
        if ended is None or at is None or _is_rebuilt_since(database, at):
            return _refresh(why, only)
        remaining = (at + BUILD_AGAIN_AFTER - now).total_seconds()
        run_id, how = ended.dagster_run.run_id, " ended"
    if remaining <= 0:
        return _refresh(why, only)
    return _Skip(
        f"{why}, and {Job.DAILY_REFRESH} {run_records.short(run_id)}{how}; started again in"
        f" {span(remaining)}; {meanwhile}",
        looks_on=False,
    )


def _refresh(why: str, only: Sequence[guard.Required]) -> dg.RunRequest:
    keys = {each.asset: dg.AssetKey(each.asset.split("/")) for each in only}
    return dg.RunRequest(
        job_name=Job.DAILY_REFRESH,
        tags={"reason": why},
        asset_selection=list(keys.values()) or None,
        asset_check_keys=[dg.AssetCheckKey(keys[each.asset], each.check) for each in only] or None,
    )


def _is_rebuilt_since(database: Database, at: datetime) -> bool:
    """Whether somebody built tables of all tutors after a moment."""
    return bool(
        database.value(
            "select exists (select 1 from {ops}.refresh_runs"
            " where (is_full or tables is not null) and snapshot_from is null"
            " and greatest(started_at, built_at) > %s)",
            (at,),
        )
    )


def _at_work(running: dg.RunRecord, queue: ledger.Queue, now: datetime) -> str:
    if not queue.changes:
        return f"{_run(running, now)}; nothing waits{_beside(queue)}"
    return f"{_run(running, now)}: {_waits(queue, now)}; it takes what comes"


def _run(running: dg.RunRecord, now: datetime) -> str:
    run = running.dagster_run
    for_ = span((now - run_records.since(running)).total_seconds())
    return (
        f"{run.job_name} {run_records.short(run.run_id)} is {run_records.state(running)}"
        f" since {for_}"
    )


def _backing_off(
    instance: dg.DagsterInstance,
    failures: run_records.Failures,
    remaining: float,
    queue: ledger.Queue,
    now: datetime,
) -> str:
    assert failures.newest is not None
    run_id = failures.newest.dagster_run.run_id
    return (
        f"{count(failures.count, 'refresh run')} in a row failed, the last one"
        f" {run_records.short(run_id)}: {run_records.why(instance, run_id)}; tried again in"
        f" {span(remaining)}; {_waits(queue, now)}"
    )


def _blocked(objections: Sequence[str], queue: ledger.Queue, now: datetime) -> str:
    more = f" (and {len(objections) - 1} more)" if len(objections) > 1 else ""
    return (
        f"blocked by a check, {_waits(queue, now)}: {objections[0]}{more}."
        " `tutor-pipeline validate` shows the rows"
    )


def _unreachable(error: Exception, memory: _Memory, now: datetime) -> _Skip:
    memory.unreachable_since = memory.unreachable_since or now
    first = str(error).strip().splitlines()[0]
    text = first if isinstance(error, TutorPipelineError) else f"the database said: {first}"
    return _Skip(f"{text} (since {span((now - memory.unreachable_since).total_seconds())})")


def _waits(queue: ledger.Queue, now: datetime) -> str:
    return (
        f"{count(queue.changes, 'change')} of {count(queue.tutors, 'tutor')}"
        f" {agree(queue.changes, 'waits', 'wait')}, oldest"
        f" {_oldest(queue, now)}{_beside(queue)}"
    )


def _oldest(queue: ledger.Queue, now: datetime) -> str:
    return span(0 if queue.oldest_at is None else (now - queue.oldest_at).total_seconds())


def _beside(queue: ledger.Queue) -> str:
    return f"; {count(queue.set_aside, 'tutor')} set aside" if queue.set_aside else ""

"""The refresh after sessions: recomputes the tutors touched, seconds after a change.

It loops over passes: take the changes, build the tutors' rows, check them, and write their scores,
findings and the ledger in one transaction. While nothing waits it stands by (or lingers for some
seconds), so that the next session needs no start-up. Its successor is loaded before it ends.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Protocol

import psycopg
from psycopg.types.json import Jsonb

from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.core.findings import Kind
from tutor_pipeline.core.formatting import count
from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.core.warehouse.locks import Writer, one_writer
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun, narrow, note_header
from tutor_pipeline.core.warehouse.remedies import is_cancelled_by_standby
from tutor_pipeline.core.warehouse.standing import Presence, present
from tutor_pipeline.judgement.lifecycle import store
from tutor_pipeline.judgement.quality import guard
from tutor_pipeline.judgement.quality.suites import Suite
from tutor_pipeline.judgement.quality.touched import failing_tutors
from tutor_pipeline.judgement.rules.catalogue import Catalogue
from tutor_pipeline.metrics import dbt
from tutor_pipeline.metrics.compiled import Asked, ScopedBuilds
from tutor_pipeline.people.notify.kinds import session
from tutor_pipeline.sources import relations
from tutor_pipeline.sources.changes import ledger
from tutor_pipeline.sources.changes.watch import watch
from tutor_pipeline.sources.losses import Limits, accept, is_due, read_whole
from tutor_pipeline.sources.quarantine import sync_live_of
from tutor_pipeline.steps import losses
from tutor_pipeline.steps.judge import FINDINGS, Judged, judge
from tutor_pipeline.steps.order import MODELS_OF_A_TUTOR, OF_GROUPS, Step
from tutor_pipeline.steps.score import Scored, Scoring, score_tutors
from tutor_pipeline.steps.take import HALF_READ, REFRESH

GIVE_UP_AFTER = 6
"""Consecutive failures. A search for one broken tutor mostly has four; the next run goes on."""

_OF_THE_DATABASE = frozenset({"08", "25", "28", "3D", "3F", "42", "53", "55", "57", "58"})
"""Classes of SQLSTATE that are never about the values of a row: connection, privilege, a name that
is not there, disk, memory, shutdown.
"""

_REPORT_SECONDS, _ASK_SECONDS, _TELL_SECONDS = 60, 20, 6
"""How often passes are reported, it is asked whether to go on, and passes are told of at most: what
a run writes to Dagster's storage must not grow with the sessions.
"""
_LONGER_SECONDS = 60
"""How long a run that stands by waits for its successor."""


class Log(Protocol):
    """Where a run logs: the methods of a `logging.Logger`."""

    def info(self, text: str, /) -> None:
        """Log what is done."""

    def warning(self, text: str, /) -> None:
        """Log what somebody should know."""

    def error(self, text: str, /) -> None:
        """Log what somebody should fix."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a refresh needs besides the database. `required`: the blocking checks without which
    nothing is derived; `limits`: how many rows of the platform may vanish in a day;
    `linger_seconds`: how long it waits for the next change, None = it stands by until a successor
    is ready, at most a minute longer than `max_seconds`. `goes_on`: asked now and then while it
    stands by.
    """

    catalogue: Catalogue
    suites: Sequence[Suite]
    required: Sequence[guard.Required]
    scoring: Scoring
    limits: Limits
    home: Path
    linger_seconds: float | None
    max_seconds: float
    goes_on: Callable[[], bool] = lambda: True


@dataclass(slots=True)
class Pass:
    """One pass: its batch, its results, and its seconds by step."""

    batch: ledger.Batch
    began: float = field(default_factory=perf_counter)
    seconds: dict[str, float] = field(default_factory=dict)
    judged: Mapping[Kind, Judged] = field(default_factory=dict)
    scored: Scored | None = None

    @property
    def tutors(self) -> tuple[str, ...]:
        """The tutors touched; a session may have none."""
        return tuple(tutor for tutor in self.batch.tutors if tutor)

    def ended(self, step: Step) -> None:
        """Record that the step ends now; it began when the previous one ended."""
        self.seconds[step] = round(perf_counter() - self.began - sum(self.seconds.values()), 3)

    def age(self, now: datetime) -> float:
        """Seconds since the oldest change of the batch was first seen."""
        oldest = self.batch.oldest_at
        return 0.0 if oldest is None else round((now - oldest).total_seconds(), 3)


@dataclass
class Refresh:
    """One run and its progress. `tell` is called with the committed passes of some seconds,
    `report` with those of about a minute; both at the end, too.
    """

    run_id: str
    warehouse: Warehouse
    plan: Plan
    log: Log
    tell: Callable[[Sequence[Pass]], None] = lambda _: None
    report: Callable[[Sequence[Pass]], None] = lambda _: None
    taken: int = 0
    failures: int = 0
    is_blocked: bool = False
    told_at: float = float("-inf")
    untold: list[Pass] = field(default_factory=list)
    unreported: list[Pass] = field(default_factory=list)

    @cached_property
    def _builds(self) -> ScopedBuilds:
        return ScopedBuilds(self.warehouse, dbt.parse())

    def run(self) -> None:
        """Loop until no change waits or arrives, the time is over or a successor is ready."""
        stands_by = self.plan.linger_seconds is None
        with present(self.warehouse, self.run_id.partition("/")[0]) as presence:
            environment = dbt.dbt_environment(self.warehouse, "-", self.plan.home)
            with dbt.hold_environment(environment):
                # Loaded first, so that a run that starts while another still works is ready.
                with self.warehouse.connect() as database:
                    models = _models(database)
                self._builds.prepare(models, datetime.now(UTC))
                if stands_by:
                    presence.take_place()
                try:
                    self._loop(presence if stands_by else None)
                finally:
                    self._tell()
                    self._report()

    def _loop(self, place: Presence | None) -> None:
        began = busy = reported = asked = time.monotonic()
        life = self.plan.max_seconds + (0 if place is None else _LONGER_SECONDS)
        with watch(self.warehouse) as platform:
            database = platform.database
            while (looked := time.monotonic()) - began < life:
                queue = platform.look(datetime.now(UTC))
                seen = time.monotonic()
                self.is_blocked = queue.is_reshaped
                has_worked = queue.changes > 0 and not self.is_blocked and self._go_round(database)
                worked = time.monotonic()
                if has_worked:
                    busy = worked
                if worked - self.told_at >= _TELL_SECONDS:
                    self._tell()
                if self.is_blocked:
                    break  # the sensor sees to what is in the way, and says what it is
                # After the pass, and also while sessions come one after the other.
                has_compared = platform.look_further(datetime.now(UTC))
                # Who ends with the last change has compared everything by then, and looked again.
                may_end = place is not None or not (has_compared or platform.sweep.is_on)
                if may_end and self._is_over(place, looked - busy):
                    break
                if not (has_compared or has_worked):
                    time.sleep(platform.pause(datetime.now(UTC), seen - looked))
                if place is not None and looked - asked > _ASK_SECONDS:
                    if not self.plan.goes_on():
                        break
                    asked = looked
                if looked - reported > _REPORT_SECONDS:
                    self._report()
                    reported = looked

    def _is_over(self, place: Presence | None, idle: float) -> bool:
        """Whether to wait no longer for the next change."""
        if place is not None:
            return place.is_relieved()
        return idle > (self.plan.linger_seconds or 0)

    def _report(self) -> None:
        if self.unreported:
            self.report(self.unreported)
            self.unreported = []

    def _go_round(self, database: Database) -> bool:
        """Take a batch and work on it, on a connection in autocommit. Returns False if nothing
        waits or a check blocks it.
        """
        with one_writer(self.warehouse, REFRESH, self.log.warning) as writer:
            if self._is_blocked(database):
                return False
            run_id = f"{self.run_id}/{self.taken + 1}"
            batch = ledger.take(database, run_id, datetime.now(UTC))
            if batch is None:
                return False
            self.taken += 1
            try:
                self._work(database, Pass(batch), writer)
                self.failures = 0
            except psycopg.OperationalError:
                raise  # the database, not the data
            except Exception as error:
                if not self._is_of_rows(database, error, batch):
                    raise
                self._failed(database, batch, error)
        return True

    def _is_of_rows(self, database: Database, error: Exception, batch: ledger.Batch) -> bool:
        """Whether the rows of some tutor may be the cause. What also fails without any tutor is of
        the database: a privilege, a table or a column that is gone. No tutor is looked for then.
        """
        if is_cancelled_by_standby(error) or isinstance(error.__cause__, psycopg.OperationalError):
            return False
        if isinstance(error, psycopg.Error) and (error.sqlstate or "")[:2] in _OF_THE_DATABASE:
            return False
        if not isinstance(error, dbt.DbtError | psycopg.Error):
            return True
        nobody = RefreshRun(f"{batch.run_id}/nobody", batch.as_of, ())
        note_header(database, nobody)
        try:
            self._build(database, nobody)
        except (dbt.DbtError, psycopg.Error):
            return False
        return True

    def _build(self, database: Database, run: RefreshRun) -> None:
        asked = self._builds.build(database, run, _models(database))
        if asked is not Asked.NOT:
            self.log.info(f"what dbt reads of the database has changed: {asked}")

    def _is_blocked(self, database: Database) -> bool:
        now = datetime.now(UTC)
        objections = guard.objections(database, self.plan.required)
        objections += losses.objections(database, now, self.plan.limits, run_id=self.run_id)
        if objections:
            self.log.warning("nothing is derived now: " + "; ".join(objections))
        self.is_blocked = bool(objections)
        return self.is_blocked

    def _failed(self, database: Database, batch: ledger.Batch, error: Exception) -> None:
        self.failures += 1
        message = str(error)
        self.log.warning(
            f"pass {self.taken} over {count(len(batch.tutors), 'tutor')} failed; its changes wait:"
            f" {message}"
        )
        if batch.is_alone and not isinstance(error, RefusedError):
            self._set_aside(database, {batch.tutors[0]: message}, batch.run_id)
        elif self.failures >= GIVE_UP_AFTER:
            raise error

    def _set_aside(self, database: Database, tutors: Mapping[str, str], run_id: str) -> None:
        for tutor_id, reason in tutors.items():
            ledger.set_aside(database, tutor_id, reason, run_id, datetime.now(UTC))
            self.log.error(f"tutor {tutor_id} is set aside: {reason}")

    def _work(self, database: Database, this: Pass, writer: Writer) -> None:
        """One pass, in the order of `steps.order`."""
        batch, plan, run_id = this.batch, self.plan, this.batch.run_id
        run = RefreshRun(run_id, batch.as_of, this.tutors)
        note_header(database, run)
        this.ended(Step.TAKE)
        self._build(database, run)
        this.ended(Step.BUILD)
        with database.long_transaction():
            broken = failing_tutors(database, plan.suites, this.tutors, batch.as_of)
        self._set_aside(database, broken, run_id)
        this.ended(Step.CHECK)
        self._derive(this, writer, broken)

    def _derive(self, this: Pass, writer: Writer, broken: Mapping[str, str]) -> None:
        """Score, judge, tell and settle in one transaction, without the tutors of `broken`."""
        batch, plan, run_id = this.batch, self.plan, this.batch.run_id
        with self.warehouse.connect() as database:
            database.lift_limits()
            for findings in FINDINGS:
                store.lock(database, findings.kind)
            writer.prove(database)
            if self._is_blocked(database):
                return  # a full refresh came in between, or rows vanished: the batch waits
            if not read_whole(database, batch.tutors):
                raise RefusedError(HALF_READ)
            narrow(database, run_id, without=list(broken))
            sync_live_of(database, batch.as_of, this.tutors)
            this.scored = score_tutors(database, run_id, plan.scoring)
            this.ended(Step.SCORE)
            this.judged = {
                findings.kind: judge(database, plan.catalogue, findings.kind, run_id)
                for findings in FINDINGS
            }
            this.ended(Step.JUDGE)
            session.note(database, run_id, datetime.now(UTC))
            this.ended(Step.TELL)
            settled = ledger.settle(database, run_id)
            if is_due(database, settled.at):
                accept(
                    database,
                    batch.as_of,
                    settled.at,
                    run_id=run_id,
                    why="nothing was missing",
                    whole=False,
                )
            _note(database, this, settled.at)
        this.ended(Step.SETTLE)
        self.untold.append(this)
        self.unreported.append(this)

    def _tell(self) -> None:
        """Log the passes since the last line, in one."""
        passes = self.untold
        if not passes:
            return
        self.told_at, self.untold = time.monotonic(), []
        applied = [this.judged[Kind.ALERT].applied for this in passes]
        changes = sum(this.batch.changes for this in passes)
        tutors = {tutor for this in passes for tutor in this.batch.tutors}
        steps = ", ".join(f"{name} {each:.2f} s" for name, each in seconds_of(passes).items())
        self.log.info(
            f"{count(len(passes), 'pass', 'passes')}: {count(changes, 'change')} of"
            f" {count(len(tutors), 'tutor')} ({steps}); alerts:"
            f" {sum(each.opened for each in applied)} opened,"
            f" {sum(each.resolved for each in applied)} resolved"
        )
        self.tell(passes)


def _models(database: Database) -> tuple[str, ...]:
    return (*MODELS_OF_A_TUTOR, *(OF_GROUPS if relations.has_groups(database) else {}))


def seconds_of(passes: Sequence[Pass]) -> Mapping[str, float]:
    """Returns the seconds of some passes by step."""
    steps = Counter[str]()
    for this in passes:
        steps.update(this.seconds)
    return steps


def _note(database: Database, this: Pass, settled_at: datetime) -> None:
    batch = this.batch
    database.execute(
        "insert into {ops}.refresh_passes"
        " (run_id, taken_at, settled_at, changes, tutors, oldest_change_at, seconds)"
        " values (%s, %s, %s, %s, %s, %s, %s)",
        (
            batch.run_id,
            batch.as_of,
            settled_at,
            batch.changes,
            len(batch.tutors),
            batch.oldest_at,
            Jsonb(this.seconds),
        ),
    )

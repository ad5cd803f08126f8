"""The refresh after sessions: what changed, of the tutors it concerns, seconds after it happened.

One step that goes round: take what changed, build the tutors' rows, look at them, and write their
scores, their findings and the ledger in one transaction. While nothing waits it lingers, so that
the next session finds everything loaded; after `max_seconds` it ends, and the sensor starts the
next one.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from time import perf_counter
from typing import Any

import dagster as dg
import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.core.findings import Applied, Kind
from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.core.warehouse.locks import one_writer
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun, narrow, write_header
from tutor_pipeline.defs.findings import FINDINGS, Made, make, what_changed
from tutor_pipeline.defs.resources import WarehouseResource
from tutor_pipeline.defs.scores import TABLES_OF_TUTORS, Scored, Scoring, score_tutors
from tutor_pipeline.judgement.lifecycle import store
from tutor_pipeline.judgement.quality import guard
from tutor_pipeline.judgement.quality.suites import Suite
from tutor_pipeline.judgement.quality.touched import failing_tutors
from tutor_pipeline.judgement.rules.catalogue import Catalogue
from tutor_pipeline.metrics import dbt
from tutor_pipeline.people.notify import outbox
from tutor_pipeline.sources.changes import ledger
from tutor_pipeline.sources.quarantine import sync_live_of

JOB = "post_session_refresh"
STEP = "refresh_tutors"
MODELS = {
    "session_rows": "staging",
    "fct_sessions": "marts",
    "dim_tutors": "marts",
    "int_tutor_days": "intermediate",
    "tutor_aggregates": "marts",
    "tutor_features": "marts",
    "tutor_evidence": "marts",
}
"""What is built for the tutors touched, and the schema it is in."""

GIVE_UP_AFTER = 6
"""Failures in a row. A search for one broken tutor mostly has four; the next run goes on."""

_POLL_SECONDS = 0.5
_POLL_SHARE = 4
"""Looking takes a fifth of the time at most, however many sessions there are."""


class PostSessionConfig(dg.Config):
    """How long a run goes on."""

    max_seconds: float = 60
    """When it ends, though more may wait."""
    linger_seconds: float | None = None
    """How long it waits for the next change; None = TUTOR_LINGER_SECONDS."""


def build_post_session_job(
    catalogue: Catalogue,
    suites: Sequence[Suite],
    required: Sequence[guard.Required],
    scoring: Scoring,
    resources: Mapping[str, Any],
) -> dg.JobDefinition:
    """The job `post_session_refresh`. `required` are the blocking checks of the guard, `scoring`
    says how tutors are scored.
    """

    @dg.op(
        name=STEP,
        description="Take what changed, build the tutors' rows, check them, write scores, findings"
        " and ledger in one transaction; again, until nothing waits.",
    )
    def refresh(
        context: dg.OpExecutionContext, config: PostSessionConfig, warehouse: WarehouseResource
    ) -> None:
        _Run(context, config, warehouse, catalogue, suites, required, scoring).go()

    @dg.job(
        name=JOB,
        description="Seconds after a session: the tutors touched, from the platform's rows to"
        " scores, alerts, insights and achievements.",
        executor_def=dg.in_process_executor,
        # Bound here: where Dagster binds the job of a sensor, it warns of a beta.
        resource_defs=resources,
        # Before anything that may wait, backfills above all.
        tags={"dagster/priority": "10"},
    )
    def job() -> None:
        refresh()

    return job


@dataclass(slots=True)
class _Pass:
    """One round: what it took, what it made, and its seconds by stage."""

    batch: ledger.Batch
    began: float = field(default_factory=perf_counter)
    seconds: dict[str, float] = field(default_factory=dict)
    made: Mapping[Kind, Made] = field(default_factory=dict)
    scored: Scored | None = None

    def stage(self, name: str) -> None:
        """The stage `name` ends now; it began where the one before ended."""
        self.seconds[name] = round(perf_counter() - self.began - sum(self.seconds.values()), 3)

    def age(self, now: datetime) -> float:
        """Seconds since the oldest change of the batch was first seen."""
        oldest = self.batch.oldest_at
        return 0.0 if oldest is None else round((now - oldest).total_seconds(), 3)


@dataclass
class _Run:
    """One Dagster run, and what it has done so far."""

    context: dg.OpExecutionContext
    config: PostSessionConfig
    resource: WarehouseResource
    catalogue: Catalogue
    suites: Sequence[Suite]
    required: Sequence[guard.Required]
    scoring: Scoring
    taken: int = 0
    failures: int = 0
    passes: list[_Pass] = field(default_factory=list)

    @cached_property
    def _warehouse(self) -> Warehouse:
        return self.resource.warehouse

    @cached_property
    def _manifest(self) -> Any:
        return dbt.parse()

    def go(self) -> None:
        """Go round until nothing waits and nothing comes, or the time is over."""
        settings = self.resource.settings
        linger = self.config.linger_seconds
        linger = settings.linger_seconds if linger is None else linger
        began = busy = time.monotonic()
        has_compared_all = False
        environment = dbt.dbt_environment(self._warehouse, "-", settings.home)
        with dbt.hold_environment(environment):
            # Before looking: a run that starts while another still works is ready to go on.
            _ = self._manifest
            while time.monotonic() - began < self.config.max_seconds:
                looked = time.monotonic()
                if self._waits(whole=False) and self._go_round():
                    busy = time.monotonic()
                elif not has_compared_all:
                    # Late feedback shows in no session's own columns.
                    self._waits(whole=True)
                    has_compared_all = True
                elif time.monotonic() - busy > linger:
                    break
                else:
                    time.sleep(max(_POLL_SECONDS, _POLL_SHARE * (time.monotonic() - looked)))
        self._report()

    def _waits(self, *, whole: bool) -> bool:
        with self._warehouse.connect() as database:
            queue = ledger.compare(database, datetime.now(UTC), whole=whole)
        return queue.changes > 0

    def _go_round(self) -> bool:
        """Take a batch and work on it; False when there was nothing to take, or must not be."""
        warehouse = self._warehouse
        with one_writer(warehouse, "refresh", self.context.log.warning):
            with warehouse.connect() as database:
                if self._is_blocked(database):
                    return False
            with warehouse.connect() as database:
                run_id = f"{self.context.run_id}/{self.taken + 1}"
                batch = ledger.take(database, run_id, datetime.now(UTC))
            if batch is None:
                return False
            self.taken += 1
            try:
                self._work(_Pass(batch))
                self.failures = 0
            except psycopg.OperationalError:
                raise  # the database, not the data
            except Exception as error:
                self._failed(batch, error)
        return True

    def _is_blocked(self, database: Database) -> bool:
        objections = guard.objections(database, self.required)
        if objections:
            self.context.log.warning("nothing is derived now: " + "; ".join(objections))
        return bool(objections)

    def _failed(self, batch: ledger.Batch, error: Exception) -> None:
        self.failures += 1
        message = str(error)
        self.context.log.warning(
            f"pass {self.taken} over {len(batch.tutors)} tutors failed, its changes wait: {message}"
        )
        if batch.is_alone and not isinstance(error, RefusedError):
            self._set_aside({batch.tutors[0]: message}, batch.run_id)
        elif self.failures >= GIVE_UP_AFTER:
            raise error

    def _set_aside(self, tutors: Mapping[str, str], run_id: str) -> None:
        with self._warehouse.connect() as database:
            for tutor_id, reason in tutors.items():
                ledger.set_aside(database, tutor_id, reason, run_id, datetime.now(UTC))
                self.context.log.error(f"tutor {tutor_id} is set aside: {reason}")

    def _work(self, this: _Pass) -> None:
        batch, warehouse = this.batch, self._warehouse
        tutors = tuple(tutor for tutor in batch.tutors if tutor)
        write_header(warehouse, RefreshRun(batch.run_id, batch.as_of, tutors))
        this.stage("take")
        with dbt.hold_environment({"TUTOR_RUN_ID": batch.run_id}):
            # The files of an invocation are written for whoever looks at it: here nobody does.
            dbt.run(["--no-write-json", "run", "--select", *MODELS], manifest=self._manifest)
        this.stage("dbt")
        with warehouse.connect() as database:
            broken = failing_tutors(database, self.suites, tutors, batch.as_of)
        self._set_aside(broken, batch.run_id)
        this.stage("checks")
        with warehouse.connect() as database:
            for findings in FINDINGS:
                store.lock(database, findings.kind)
            if self._is_blocked(database):
                return  # a full refresh has come in between: what was taken waits for it
            narrow(database, batch.run_id, without=list(broken))
            sync_live_of(database, batch.as_of, tutors)
            this.scored = score_tutors(database, batch.run_id, self.scoring)
            this.stage("scores")
            this.made = {
                findings.kind: make(database, self.catalogue, findings.kind, batch.run_id)
                for findings in FINDINGS
            }
            this.stage("rules and write")
            outbox.note_sessions(database, batch.run_id, datetime.now(UTC))
            settled = ledger.settle(database, batch.run_id)
            _note(database, this, settled.at)
        this.stage("commit")
        self._tell(this)
        self.passes.append(this)

    def _tell(self, this: _Pass) -> None:
        """A line in the log, and what changed among the alerts as it happens."""
        batch = this.batch
        applied = this.made[Kind.ALERT].applied
        stages = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in this.seconds.items())
        self.context.log.info(
            f"pass {self.taken}: {batch.changes} changes of {len(batch.tutors)} tutors"
            f" ({stages}); alerts: {applied.opened} opened, {applied.resolved} resolved"
        )
        if applied.changes:
            alerts = next(each for each in FINDINGS if each.kind is Kind.ALERT)
            self.context.log_event(
                dg.AssetMaterialization(
                    ["ops", alerts.table],
                    metadata={
                        **this.made[Kind.ALERT].metadata(),
                        **_metadata([this]),
                        "what_changed": dg.MetadataValue.md(what_changed([applied], alerts.says)),
                    },
                )
            )

    def _report(self) -> None:
        """What the run made, one materialization per table."""
        if not self.passes:
            self.context.log.info("nothing changed")
            return
        shared = _metadata(self.passes)
        with self._warehouse.connect() as database:
            for model, schema in MODELS.items():
                rows = _count(database, getattr(self._warehouse.schemas, schema), model)
                self.context.log_event(
                    dg.AssetMaterialization(
                        [schema, model], metadata={"dagster/row_count": rows, **shared}
                    )
                )
        scored = [this.scored for this in self.passes if this.scored is not None]
        for table in TABLES_OF_TUTORS:
            self.context.log_event(
                dg.AssetMaterialization(
                    ["ops", table],
                    metadata={"scores": sum(len(each.scores) for each in scored), **shared},
                )
            )
        for findings in FINDINGS:
            applied = [this.made[findings.kind].applied for this in self.passes]
            self.context.log_event(
                dg.AssetMaterialization(
                    ["ops", findings.table],
                    metadata={
                        **_total(applied),
                        **shared,
                        "what_changed": dg.MetadataValue.md(what_changed(applied, findings.says)),
                    },
                )
            )
        self.context.log_event(dg.AssetMaterialization(["ops", "session_ledger"], metadata=shared))


def _note(database: Database, this: _Pass, settled_at: datetime) -> None:
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


def _metadata(passes: Sequence[_Pass]) -> dict[str, Any]:
    """Numbers that Dagster plots, over some passes."""
    stages = Counter[str]()
    for this in passes:
        stages.update(this.seconds)
    return {
        "passes": len(passes),
        "changes_taken": sum(this.batch.changes for this in passes),
        "tutors_touched": len({tutor for this in passes for tutor in this.batch.tutors}),
        "oldest_change_seconds": max(this.age(this.batch.as_of) for this in passes),
        "seconds": round(sum(stages.values()), 3),
        **{f"{name.replace(' ', '_')}_seconds": round(each, 3) for name, each in stages.items()},
    }


def _total(applied: Sequence[Applied]) -> dict[str, int]:
    return {
        name: sum(getattr(each, name) for each in applied)
        for name in ("opened", "confirmed", "escalated", "resolved", "suppressed")
    }


def _count(database: Database, schema: str, table: str) -> int:
    row = database.execute(
        sql.SQL("select count(*) from {}").format(sql.Identifier(schema, table))
    ).fetchone()
    assert row is not None
    return int(row[0])

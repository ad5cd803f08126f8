"""The sensors that maintain `ops.incidents`: `failures` follows failed runs, `watch` follows
conditions that last and closes incidents that are over.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import psycopg

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.formatting import agree, count, span, visible
from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.core.warehouse.locks import is_locked
from tutor_pipeline.core.warehouse.platform import is_ours, who_writes
from tutor_pipeline.defs.common import run_records
from tutor_pipeline.defs.common.project import load_project
from tutor_pipeline.defs.common.required import required
from tutor_pipeline.defs.common.warehouse_resource import WarehouseResource
from tutor_pipeline.judgement.quality import guard
from tutor_pipeline.people import incidents
from tutor_pipeline.people.incidents import Kind
from tutor_pipeline.people.notify import delivery_status
from tutor_pipeline.sources import relations
from tutor_pipeline.sources.changes import ledger
from tutor_pipeline.sources.events import applying, inbox, overview
from tutor_pipeline.sources.losses import ASSET, CHECK, Limits, has_states, headline
from tutor_pipeline.steps import losses, tell
from tutor_pipeline.steps.names import Job
from tutor_pipeline.steps.order import FINDINGS_REST_ON
from tutor_pipeline.steps.rebuild_history import EQUALS_A_REBUILD

STUCK_AFTER = timedelta(minutes=10)
NEW_SESSIONS, EVENTS = "new sessions", "events"
"""The subjects of stuck queues."""
UNKNOWN_FOR = timedelta(days=7)
"""A type of events that is not read is no incident when none came for so long."""

MOST_OF_ONE_CAUSE = 3
"""Maximum number of incidents when one cause breaks many checks or tutors; they name the rest."""
MOST_TYPES = 10
"""Maximum number of incidents about types of events that are not read."""
THE_OTHERS, OTHER_TYPES = "the other tutors", "the other types"
THE_PLATFORM = "the platform"
_SHOWN = 50

_CONNECTION_ERRORS = (TutorPipelineError, psycopg.Error)


@dg.definitions
def definitions() -> dg.Definitions:
    """The sensors `failures` and `watch`."""
    project = load_project()
    return dg.Definitions(
        sensors=build_incident_sensors(required(project, FINDINGS_REST_ON), project.sensors)
    )


def build_incident_sensors(
    blocking: Sequence[guard.Required], status: dg.DefaultSensorStatus
) -> list[dg.SensorDefinition]:
    """`failures` and `watch`. `blocking` are the checks that may hold up new sessions."""

    @dg.sensor(
        name="failures",
        minimum_interval_seconds=5,
        default_status=status,
        description="Reports failed runs, except those of the command line, which does so"
        " itself: one incident in ops.incidents per failed blocking check, else per job.",
    )
    def failures(
        context: dg.SensorEvaluationContext, warehouse: WarehouseResource
    ) -> dg.SensorResult:
        # Dagster's own failure sensor would lose a failure that could not be stored.
        instance = context.instance
        if context.cursor is None:
            return dg.SensorResult(
                skip_reason="runs that fail from now on", cursor=str(_newest_failure(instance))
            )
        failed = _failed_since(instance, int(context.cursor))
        if not failed:
            return dg.SensorResult(skip_reason="no run failed", cursor=context.cursor)
        try:
            opened = _report_failures(instance, warehouse.warehouse, list(failed.values()))
        except _CONNECTION_ERRORS as error:
            return dg.SensorResult(
                skip_reason=f"{count(len(failed), 'failed run')} to report: {_first_line(error)}",
                cursor=context.cursor,
            )
        names = ", ".join(f"{run.job_name} {run.run_id[:8]}" for run in failed.values())
        return dg.SensorResult(
            skip_reason=f"failed: {names}; {count(opened, 'incident')} opened",
            cursor=str(max(failed)),
        )

    @dg.sensor(
        name="watch",
        minimum_interval_seconds=30,
        default_status=status,
        description="Opens an incident when a session waits for over"
        f" {span(STUCK_AFTER.total_seconds())} or an event for over"
        f" {span(inbox.STUCK_AFTER.total_seconds())}, a tutor or an event is set aside, a type of"
        " events is not known, rows differ from a rebuild, or messages do not arrive. Closes"
        " incidents that are over.",
    )
    def watch(context: dg.SensorEvaluationContext, warehouse: WarehouseResource) -> dg.SkipReason:
        try:
            return dg.SkipReason(
                _watch(
                    context.instance,
                    warehouse.warehouse,
                    blocking,
                    warehouse.loss_limits,
                    datetime.now(UTC),
                )
            )
        except _CONNECTION_ERRORS as error:
            return dg.SkipReason(_first_line(error))

    return [failures, watch]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _newest_failure(instance: dg.DagsterInstance) -> int:
    records = instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=1).records
    return records[0].storage_id if records else 0


def _failed_since(instance: dg.DagsterInstance, event: int) -> dict[int, dg.DagsterRun]:
    """{event id: run} of runs that failed after an event."""
    records = instance.fetch_run_status_changes(
        dg.RunStatusChangeRecordsFilter(
            event_type=dg.DagsterEventType.RUN_FAILURE, after_storage_id=event
        ),
        limit=100,
        ascending=True,
    ).records
    found = {each.storage_id: instance.get_run_by_id(each.run_id) for each in records}
    return {event: run for event, run in found.items() if run is not None}


def _report_failures(
    instance: dg.DagsterInstance, warehouse: Warehouse, failed: Sequence[dg.DagsterRun]
) -> int:
    """Report failed runs in one transaction. Returns the number of incidents opened."""
    with warehouse.connect() as database:
        return sum(
            _report_failure(database, instance, warehouse, run)
            for run in failed
            if run.remote_job_origin is not None
        )


def _report_failure(
    database: Database,
    instance: dg.DagsterInstance,
    warehouse: Warehouse,
    run: dg.DagsterRun,
) -> int:
    record = instance.get_run_record_by_id(run.run_id)
    at = (run_records.ended_at(record) if record else None) or datetime.now(UTC)
    broken = _broken_checks(database, run.run_id)
    for each in broken:
        if (each["asset"], each["check_name"]) == (ASSET, CHECK):
            return _report_loss(database, each["observed"].split("; "), run.run_id, at)
    names = [f"{each['asset']}: {each['check_name']}" for each in broken]
    opened = 0
    for name, check in zip(names[:MOST_OF_ONE_CAUSE], broken, strict=False):
        opened += tell.incident(
            database,
            Kind.BLOCKING_CHECK,
            name,
            check["says"],
            {
                "why": _found(check),
                "job": run_records.subject(run),
                "failed_with_it": [other for other in names if other != name][:_SHOWN],
            },
            run_id=run.run_id,
            now=at,
        )
    if broken:
        return opened
    about = run_records.subject(run)
    return tell.incident(
        database,
        Kind.RUN_FAILURE,
        about,
        f"{about} failed",
        {"why": run_records.why(instance, run.run_id), "job": run.job_name},
        run_id=run.run_id,
        now=at,
    )


def _report_loss(
    database: Database, lines: Sequence[str], run_id: str | None, now: datetime
) -> int:
    return tell.incident(
        database,
        Kind.SOURCE_LOSS,
        THE_PLATFORM,
        headline(lines[0]),
        {"why": "; ".join(lines)},
        run_id=run_id,
        now=now,
    )


def _broken_checks(database: Database, run_id: str) -> list[dict[str, Any]]:
    """The blocking checks that failed in a run."""
    return database.rows(
        "select asset, check_name, says, status, rows_failing, observed, message"
        " from {ops}.dq_results where run_id = %s and blocking and status <> 'passed'"
        " order by asset, check_name",
        (run_id,),
    )


def _found(check: Mapping[str, Any]) -> str:
    if check["status"] == "errored":
        return f"it could not be evaluated: {check['message']}"
    if check["rows_failing"]:
        rows = check["rows_failing"]
        return f"{count(rows, 'row')} {agree(rows, 'fails', 'fail')}"
    return f"observed {check['observed']}" if check["observed"] else "it does not hold"


@dataclass(frozen=True, slots=True)
class _Watch:
    """One inspection of every condition that may last."""

    database: Database
    instance: dg.DagsterInstance
    required: Sequence[guard.Required]
    now: datetime
    lost: Sequence[str]

    def report(self, kind: Kind, subject: str, title: str, details: Mapping[str, Any]) -> None:
        tell.incident(
            self.database, kind, subject, title, details, run_id=details.get("run"), now=self.now
        )

    def source_loss(self, _: ledger.Queue) -> set[str]:
        if self.lost:
            _report_loss(self.database, self.lost, None, self.now)
        return {THE_PLATFORM} if self.lost else set()

    def stuck_queues(self, queue: ledger.Queue) -> set[str]:
        return self._stuck_sessions(queue) | self._stuck_events()

    def _stuck_events(self) -> set[str]:
        queue = inbox.queue(self.database)
        if queue.oldest_at is None or not queue.is_stuck(self.now):
            return set()
        self.report(
            Kind.STUCK_QUEUE,
            EVENTS,
            f"{count(queue.waiting, 'event')} {agree(queue.waiting, 'waits', 'wait')}, the oldest"
            f" for {span((self.now - queue.oldest_at).total_seconds())}",
            {
                "events": queue.waiting,
                "oldest_at": queue.oldest_at.isoformat(),
                "why": self._why_events_wait(),
            },
        )
        return {EVENTS}

    def _why_events_wait(self) -> str:
        if not is_ours(self.database):
            return "the platform is not one that the pipeline made: events are not written to it"
        if is_locked(self.database, applying.LOCK):
            return "they are being applied, and come faster than that; or a replay is at work"
        return who_writes(self.database) or (
            "nobody applies them: the desk or `tutor-pipeline events serve` must run"
        )

    def unknown_events(self, _: ledger.Queue) -> set[str]:
        found = [
            row
            for row in overview.unknown_types(self.database)
            if self.now - row["last_at"] < UNKNOWN_FOR
        ]
        reported = {f"{row['source']}: {visible(row['type'])}": row for row in found[:MOST_TYPES]}
        for subject, row in reported.items():
            self.report(
                Kind.UNKNOWN_EVENTS,
                subject,
                f"{row['source']} pushes what is not read: {visible(row['type'])}",
                {
                    "why": f"{count(row['events'], 'event')} so far, kept",
                    "events": row["events"],
                    "last_at": row["last_at"].isoformat(),
                },
            )
        if others := found[MOST_TYPES:]:
            named = [f"{row['source']}: {visible(row['type'])}" for row in others]
            self.report(
                Kind.UNKNOWN_EVENTS,
                OTHER_TYPES,
                f"events of {count(len(found), 'type')} that are not read come",
                {"why": ", ".join(named[:MOST_OF_ONE_CAUSE]), "types": named[:_SHOWN]},
            )
        return {*reported, *([OTHER_TYPES] if others else [])}

    def dead_events(self, _: ledger.Queue) -> set[str]:
        rows = overview.dead(self.database)
        for row in rows:
            self.report(
                Kind.DEAD_EVENTS,
                row["source"],
                f"{count(row['events'], 'event')} of {row['source']} cannot be applied",
                {
                    "why": f"{visible(row['event_id'])}: {row['error']}",
                    "events": row["events"],
                },
            )
        return {row["source"] for row in rows}

    def _stuck_sessions(self, queue: ledger.Queue) -> set[str]:
        if self.lost:
            return set()  # what is waited for has an incident of its own
        waits = timedelta() if queue.oldest_at is None else self.now - queue.oldest_at
        if not queue.changes or waits <= STUCK_AFTER:
            return set()
        self.report(
            Kind.STUCK_QUEUE,
            NEW_SESSIONS,
            f"{count(queue.changes, 'change')} of {count(queue.tutors, 'tutor')}"
            f" {agree(queue.changes, 'waits', 'wait')}, the oldest"
            f" for {span(waits.total_seconds())}",
            {
                "changes": queue.changes,
                "tutors": queue.tutors,
                "oldest_at": queue.oldest_at and queue.oldest_at.isoformat(),
                "why": self._why_stuck(),
            },
        )
        return {NEW_SESSIONS}

    def _why_stuck(self) -> str:
        if objections := guard.objections(self.database, self.required):
            return "; ".join(objections[:MOST_OF_ONE_CAUSE])
        failures = run_records.failures_in_a_row(self.instance, Job.POST_SESSION_REFRESH)
        if failures.newest is not None:
            return run_records.why(self.instance, failures.newest.dagster_run.run_id)
        if (
            running := run_records.in_progress(self.instance, Job.POST_SESSION_REFRESH)
        ) is not None:
            return (
                f"{Job.POST_SESSION_REFRESH} {run_records.short(running.dagster_run.run_id)} is"
                f" {run_records.state(running)} since"
                f" {span((self.now - run_records.since(running)).total_seconds())}"
            )
        return f"no {Job.POST_SESSION_REFRESH} was started: is the sensor new_sessions on?"

    def tutors_set_aside(self, _: ledger.Queue) -> set[str]:
        rows = self.database.rows(
            "select tutor_id, reason, attempts, retry_at, run_id as run"
            " from {ops}.set_aside_tutors order by set_aside_at, tutor_id"
        )
        reported = set()
        for row in rows[:MOST_OF_ONE_CAUSE]:
            reported.add(row["tutor_id"])
            self.report(
                Kind.TUTOR_SET_ASIDE,
                row["tutor_id"],
                f"tutor {row['tutor_id']} is set aside, the others go on",
                {
                    "why": row["reason"],
                    "attempts": row["attempts"],
                    "retry_at": row["retry_at"].isoformat(),
                    "run": row["run"],
                },
            )
        if others := rows[MOST_OF_ONE_CAUSE:]:
            reported.add(THE_OTHERS)
            self.report(
                Kind.TUTOR_SET_ASIDE,
                THE_OTHERS,
                f"{count(len(rows), 'tutor')} are set aside",
                {
                    "why": others[-1]["reason"],
                    "tutors": [row["tutor_id"] for row in others[:_SHOWN]],
                },
            )
        return reported

    def drifts(self, _: ledger.Queue) -> set[str]:
        rows = self.database.rows(
            "select distinct on (asset) * from {ops}.dq_results where check_name = %s"
            " order by asset, evaluated_at desc, run_id desc",
            (EQUALS_A_REBUILD,),
        )
        drifted = [row for row in rows if row["status"] != "passed"]
        for row in drifted:
            self.report(
                Kind.DRIFT,
                row["asset"],
                f"{row['asset']} differed from a rebuild",
                {"why": _found(row), "run": row["run_id"]},
            )
        return {row["asset"] for row in drifted}

    def undelivered(self, _: ledger.Queue) -> set[str]:
        rows = delivery_status.dead(self.database)
        for row in rows:
            self.report(
                Kind.UNDELIVERED,
                row["target"],
                f"{count(row['messages'], 'message')} did not get to {row['target']}",
                {"why": row["last_error"], "messages": row["messages"]},
            )
        return {row["target"] for row in rows}

    def failed_runs(self, _: ledger.Queue) -> set[str]:
        return {
            each["subject"]
            for each in self._open(Kind.RUN_FAILURE)
            if not run_records.has_succeeded(
                self.instance, each["details"]["job"], each["subject"], each["last_seen_at"]
            )
        }

    def broken_checks(self, _: ledger.Queue) -> set[str]:
        """A check is broken until its newest evaluation, in any run, passes."""
        found = self._open(Kind.BLOCKING_CHECK)
        pairs = [each["subject"].split(": ", 1) for each in found]
        passing = self.database.execute(
            "select wanted.asset || ': ' || wanted.check_name"
            " from unnest(%s::text[], %s::text[]) as wanted (asset, check_name)"
            " cross join lateral (select status from {ops}.dq_results as results"
            " where results.asset = wanted.asset and results.check_name = wanted.check_name"
            " order by evaluated_at desc, run_id desc limit 1) as newest"
            " where newest.status = 'passed'",
            ([asset for asset, _ in pairs], [check for _, check in pairs]),
        ).fetchall()
        return {each["subject"] for each in found} - {name for (name,) in passing}

    def _open(self, kind: Kind) -> list[dict[str, Any]]:
        return incidents.listed(self.database, kind=kind)


_LASTING: Mapping[Kind, Callable[[_Watch, ledger.Queue], set[str]]] = {
    Kind.SOURCE_LOSS: _Watch.source_loss,
    Kind.STUCK_QUEUE: _Watch.stuck_queues,
    Kind.UNKNOWN_EVENTS: _Watch.unknown_events,
    Kind.DEAD_EVENTS: _Watch.dead_events,
    Kind.TUTOR_SET_ASIDE: _Watch.tutors_set_aside,
    Kind.DRIFT: _Watch.drifts,
    Kind.UNDELIVERED: _Watch.undelivered,
    Kind.RUN_FAILURE: _Watch.failed_runs,
    Kind.BLOCKING_CHECK: _Watch.broken_checks,
}
"""By kind, the method that reports the subjects broken now and returns them."""


def _lost(database: Database, limits: Limits, now: datetime) -> Sequence[str]:
    try:
        return losses.objections(database, now, limits, run_id="watch")
    except TutorPipelineError as error:
        return [_first_line(error)] if has_states(database) else []


def _watch(
    instance: dg.DagsterInstance,
    warehouse: Warehouse,
    required: Sequence[guard.Required],
    limits: Limits,
    now: datetime,
) -> str:
    """Report what is broken and close what is over. Returns the state in one line."""
    with warehouse.connect(autocommit=True) as database:
        queue = (
            ledger.compare(database, now, whole=False)
            if relations.is_filled(database, "sessions") and ledger.is_filled(database)
            else ledger.waiting(database, now)
        )
    with warehouse.connect() as database:
        look = _Watch(database, instance, required, now, _lost(database, limits, now))
        closed = 0
        for kind, broken in _LASTING.items():
            # Taken before the inspection, so that an incident reported meanwhile is not closed.
            was = {each["subject"] for each in incidents.listed(database, kind=kind)}
            over = was - broken(look, queue)
            closed += incidents.close(database, kind, sorted(over), now)
        found = incidents.listed(database)
    if not queue.changes:
        waits = "nothing waits"
    else:
        oldest = now - (queue.oldest_at or now)
        waits = (
            f"{count(queue.changes, 'change')} of {count(queue.tutors, 'tutor')}"
            f" {agree(queue.changes, 'waits', 'wait')}, oldest"
            f" {span(oldest.total_seconds())}"
        )
    named = ", ".join(f"{each['kind']} {each['subject']}" for each in found[:MOST_OF_ONE_CAUSE])
    open_ = f"{count(len(found), 'open incident')}" + (f" ({named})" if named else "")
    return f"{waits}; {open_}" + (f"; {closed} closed" if closed else "")

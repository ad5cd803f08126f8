"""The job `post_session_refresh`: the refresh after sessions as one step, and the metadata of its
passes.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from psycopg import sql

from tutor_pipeline.core.findings import Applied, Kind
from tutor_pipeline.core.paths import DBT_PROJECT_DIR, PACKAGE_DIR
from tutor_pipeline.core.settings import Settings
from tutor_pipeline.defs.common.project import load_project
from tutor_pipeline.defs.common.required import required
from tutor_pipeline.defs.common.standbys import again_if_cancelled
from tutor_pipeline.defs.common.warehouse_resource import WarehouseResource
from tutor_pipeline.defs.findings import numbers, what_changed
from tutor_pipeline.sources import relations
from tutor_pipeline.steps.judge import FINDINGS
from tutor_pipeline.steps.names import Job
from tutor_pipeline.steps.order import FINDINGS_REST_ON, MODELS_OF_A_TUTOR, OF_GROUPS
from tutor_pipeline.steps.refresh_after_sessions import Pass, Plan, Refresh, seconds_of
from tutor_pipeline.steps.score import TABLES_OF_TUTORS


@dg.definitions
def definitions() -> dg.Definitions:
    """The job."""
    return dg.Definitions(jobs=[post_session_refresh])


SENSOR = "new_sessions"
"""The sensor that starts this job."""

LINGERS_FOR, STANDS_BY_FOR = 60, 600
"""Seconds of a run's life: of one that starts with a change, and of one that stands by."""


class PostSessionConfig(dg.Config):
    """Duration of a run."""

    max_seconds: float | None = None
    """When the run ends, even if more changes wait; None = by whether it stands by."""
    linger_seconds: float | None = None
    """How long the run waits for the next change; None = TUTOR_LINGER_SECONDS, and without that it
    stands by.
    """


@dg.op(
    name="refresh_tutors",
    description="Take what changed, build the tutors' rows, check them, write scores, findings"
    " and ledger in one transaction; again, until nothing waits.",
)
def refresh_tutors(
    context: dg.OpExecutionContext, config: PostSessionConfig, warehouse: WarehouseResource
) -> None:
    """Run `steps.refresh_after_sessions`."""
    project = load_project()
    linger = config.linger_seconds
    linger = warehouse.settings.linger_seconds if linger is None else linger
    life = STANDS_BY_FOR if linger is None else LINGERS_FOR
    loaded = fingerprint(warehouse.settings)
    plan = Plan(
        project.catalogue,
        project.suites,
        required(project, FINDINGS_REST_ON),
        project.scoring,
        warehouse.loss_limits,
        warehouse.settings.home,
        linger,
        life if config.max_seconds is None else config.max_seconds,
        lambda: is_on(context.instance) and fingerprint(warehouse.settings) == loaded,
    )
    # A pass that was committed before a retry keeps its name.
    again = f"/again {context.retry_number}" if context.retry_number else ""
    refresh = Refresh(
        context.run_id + again,
        warehouse.warehouse,
        plan,
        context.log,
        tell=lambda passes: _show_alerts(context, passes),
        report=lambda passes: _show(context, warehouse, passes),
    )
    with again_if_cancelled(context):
        refresh.run()
    if not refresh.taken:
        context.log.info("nothing changed")


@dg.job(
    name=Job.POST_SESSION_REFRESH,
    description="Recomputes the tutors touched, seconds after a session: from the platform's"
    " rows to scores, alerts, insights and achievements.",
    executor_def=dg.in_process_executor,
    # Bound here, because Dagster gives a beta warning when it binds the job of a sensor.
    resource_defs={"warehouse": WarehouseResource()},
    # Before everything that may wait, especially backfills.
    tags={"dagster/priority": "10"},
)
def post_session_refresh() -> None:
    """See `description`."""
    refresh_tutors()


def is_on(instance: dg.DagsterInstance) -> bool:
    """Whether nobody has switched the sensor off that starts these runs."""
    if instance.schedule_storage is None:
        return True  # of a run in a process without an instance
    states = [
        state.status.value
        for state in instance.all_instigator_state()
        if state.instigator_name == SENSOR
    ]
    # Of a deployment that is gone, or of another one on this instance, a state may be left.
    return not states or any(state != "STOPPED" for state in states)


def fingerprint(settings: Settings) -> str:
    """Returns what changes with the files that a run has loaded: ours, the mapping, the profile."""
    files = [
        *(path for folder in (PACKAGE_DIR, DBT_PROJECT_DIR) for path in folder.rglob("*.*")),
        *(path for path in (settings.source_map, Path(settings.rule_profile)) if path),
    ]
    changed = [
        f"{path} {path.stat().st_mtime_ns}"
        for path in sorted(files)
        if path.suffix in (".py", ".sql", ".yml", ".yaml") and path.is_file()
    ]
    return hashlib.md5("\n".join(changed).encode(), usedforsecurity=False).hexdigest()


def _show_alerts(context: dg.OpExecutionContext, passes: Sequence[Pass]) -> None:
    """Record what passes changed of alerts, soon after they ended."""
    judged = [this.judged[Kind.ALERT] for this in passes]
    applied = [each.applied for each in judged]
    if not any(each.changes for each in applied):
        return
    (alerts,) = (each for each in FINDINGS if each.kind is Kind.ALERT)
    metadata = {
        **numbers(judged[-1]),
        **_total(applied),
        **_metadata(passes),
        "what_changed": what_changed(applied, alerts.says),
    }
    context.log_event(dg.AssetMaterialization(["ops", alerts.table], metadata=metadata))


def _show(
    context: dg.OpExecutionContext, resource: WarehouseResource, passes: Sequence[Pass]
) -> None:
    """Record one materialization per table that the run made."""

    def materialized(schema: str, table: str, metadata: dict[str, Any]) -> None:
        context.log_event(dg.AssetMaterialization([schema, table], metadata=metadata))

    shared = _metadata(passes)
    with resource.warehouse.connect() as database:
        models = MODELS_OF_A_TUTOR | (OF_GROUPS if relations.has_groups(database) else {})
        for model, schema in models.items():
            name = sql.Identifier(getattr(database.schemas, schema), model)
            rows = database.value(sql.SQL("select count(*) from {}").format(name))
            materialized(schema, model, {"dagster/row_count": rows, **shared})
    scores = sum(len(this.scored.scores) for this in passes if this.scored is not None)
    for table in TABLES_OF_TUTORS:
        materialized("ops", table, {"scores": scores, **shared})
    for findings in FINDINGS:
        applied = [this.judged[findings.kind].applied for this in passes]
        changed = what_changed(applied, findings.says)
        materialized("ops", findings.table, {**_total(applied), **shared, "what_changed": changed})
    materialized("ops", "session_ledger", shared)


def _metadata(passes: Sequence[Pass]) -> dict[str, Any]:
    """Metadata that Dagster plots, over some passes."""
    steps = seconds_of(passes)
    return {
        "passes": len(passes),
        "changes_taken": sum(this.batch.changes for this in passes),
        "tutors_touched": len({tutor for this in passes for tutor in this.batch.tutors}),
        "oldest_change_seconds": max(this.age(this.batch.as_of) for this in passes),
        "seconds": round(sum(steps.values()), 3),
        **{f"{name}_seconds": round(each, 3) for name, each in steps.items()},
    }


def _total(applied: Sequence[Applied]) -> dict[str, int]:
    return {
        name: sum(getattr(each, name) for each in applied)
        for name in ("opened", "confirmed", "escalated", "resolved", "suppressed")
    }

"""Housekeeping: deletes old rows of the pipeline's and Dagster's tables, and measures the rest.

Dagster deletes old ticks itself (`retention` in deploy/dagster.yaml) and offers no way to delete a
backfill's row: one remains for each backfill that somebody requested.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from dagster import DagsterRunStatus

from tutor_pipeline.core.formatting import count
from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.core.warehouse.locks import one_writer
from tutor_pipeline.core.warehouse.retention import BATCH, Size, delete_old, sizes
from tutor_pipeline.defs.common.assets import table, table_asset, with_code_references
from tutor_pipeline.defs.common.warehouse_resource import WarehouseResource
from tutor_pipeline.steps.names import Cadence, Group, Job


@dataclass(frozen=True, slots=True)
class RunRule:
    """Finished runs are deleted `days` after their end; `job`: None = every job."""

    days: int
    statuses: tuple[DagsterRunStatus, ...]
    job: str | None = None


_DONE = (DagsterRunStatus.SUCCESS, DagsterRunStatus.CANCELED)

RUN_RULES = (
    # One run a minute; ops.refresh_passes keeps each pass.
    RunRule(2, _DONE, Job.POST_SESSION_REFRESH),
    # ops.deliveries keeps what was sent to whom.
    RunRule(2, _DONE, Job.DELIVER_MESSAGES),
    RunRule(30, (*_DONE, DagsterRunStatus.FAILURE)),
)

# The asset page reads the newest materialization of each table and partition from the events of
# its run, so these runs stay.
_SHOWN = """
    select distinct run_id from event_logs where id in (
        select max(id) from event_logs
        where dagster_event_type = 'ASSET_MATERIALIZATION' and asset_key is not null
        group by asset_key, partition
    )
"""

# Deleting a run leaves the outcomes of its checks. The newest outcome of each check is its state.
_DELETE_CHECKS = """
    delete from asset_check_executions where id in (
        select executions.id
        from asset_check_executions as executions
        left join runs on executions.run_id = runs.run_id
        where
            runs.run_id is null
            and executions.id not in (
                select max(id) from asset_check_executions group by asset_key, check_name, partition
            )
        order by executions.id
        limit %s
    )
"""


@dg.definitions
def definitions() -> dg.Definitions:
    """`ops/retention`."""
    return dg.Definitions(assets=with_code_references(retention))


@table_asset("ops/retention", Group.OPERATIONS, made=Cadence.HOUSEKEEPING, deps=())
def retention(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource
) -> dg.MaterializeResult[None]:
    """Rows and bytes of the pipeline's operational tables and of Dagster's own, after old rows were
    deleted, to monitor their growth.
    """
    target = warehouse.warehouse
    dagster = Warehouse(warehouse.settings.locate().dagster_url)
    now = datetime.now(UTC)
    with (
        one_writer(target, Job.HOUSEKEEPING, context.log.warning),
        target.connect(autocommit=True) as ours,
        dagster.connect(autocommit=True) as theirs,
    ):
        deleted = {
            **delete_old(ours, now),
            "runs": delete_old_runs(context.instance, theirs, now),
            "asset_check_executions": delete_old_checks(theirs),
        }
        left = {
            "ops": sizes(ours, target.schemas.ops),
            "dagster": sizes(theirs, _schema(theirs)),
        }
    for name, rows in deleted.items():
        if rows:
            context.log.info(f"deleted {count(rows, 'row')} of {name}")
    return dg.MaterializeResult(metadata=_metadata(deleted, left))


def delete_old_runs(instance: dg.DagsterInstance, database: Database, now: datetime) -> int:
    """Delete old runs of an instance with their events and logs, except those that the asset page
    shows. Returns their number. `connection` is to the instance's database.

    The run itself is deleted last, so that after a kill the next call finds and completes it.
    """
    shown = {run_id for (run_id,) in database.execute(_SHOWN)}
    deleted = 0
    for rule in RUN_RULES:
        old = dg.RunsFilter(
            job_name=rule.job,
            statuses=list(rule.statuses),
            updated_before=now - timedelta(days=rule.days),
        )
        for run_id in instance.get_run_ids(old):
            if run_id in shown:
                continue
            with suppress(FileNotFoundError):
                instance.compute_log_manager.delete_logs(prefix=[run_id])
            # `instance.delete_run` does these two the other way round.
            instance.event_log_storage.delete_events(run_id)
            instance.run_storage.delete_run(run_id)
            deleted += 1
    return deleted


def delete_old_checks(database: Database) -> int:
    """Delete outcomes of checks whose run is gone, except the newest of each check. Returns their
    number. `connection` is to the instance's database, in autocommit mode.
    """
    deleted = 0
    while rows := database.execute(_DELETE_CHECKS, (BATCH,)).rowcount:
        deleted += rows
        if rows < BATCH:
            break
    return deleted


def _schema(database: Database) -> str:
    row = database.execute("select current_schema()").fetchone()
    assert row is not None
    return str(row[0])


def _metadata(deleted: Mapping[str, int], left: Mapping[str, Mapping[str, Size]]) -> dict[str, Any]:
    """Metadata that Dagster plots, and a table of all sizes."""
    return {
        "rows_deleted": sum(deleted.values()),
        "runs_deleted": deleted["runs"],
        **{
            f"{where}_megabytes": round(sum(each.bytes for each in tables.values()) / 1e6, 1)
            for where, tables in left.items()
        },
        **{
            f"{table}_rows": left["dagster"][table].rows
            for table in ("runs", "event_logs", "job_ticks", "asset_check_executions")
        },
        "session_ledger_rows": left["ops"]["session_ledger"].rows,
        "tables": table(
            {
                "table": f"{where}.{name}",
                "rows": size.rows,
                "MB": round(size.bytes / 1e6, 1),
                "deleted": deleted.get(name, 0),
            }
            for where, tables in left.items()
            for name, size in tables.items()
        ),
    }

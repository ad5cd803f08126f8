"""The dbt models as assets and their data tests as checks.

dbt runs inside the run's own process, so killing the run kills dbt with it. One refresh writes at
a time: an advisory lock covers processes that share no Dagster instance.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime
from queue import SimpleQueue
from threading import Thread
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import psycopg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtProject, dbt_assets
from dagster_dbt.core.dbt_cli_event import DbtCoreCliEventMessage
from psycopg import sql

from tutor_pipeline.core.errors import RefusedError, TutorPipelineError
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.locks import one_writer
from tutor_pipeline.core.warehouse.refresh_runs import (
    RefreshRun,
    all_or,
    built_moment,
    end_of_day,
    latest_as_of,
    newest_completed_session,
    write_header,
)
from tutor_pipeline.defs.checks import check_result
from tutor_pipeline.defs.resources import WarehouseResource
from tutor_pipeline.defs.source import source_key
from tutor_pipeline.judgement.lifecycle import store
from tutor_pipeline.judgement.quality import results
from tutor_pipeline.judgement.quality.outcome import Outcome, Status, first_rows, plain
from tutor_pipeline.metrics import dbt
from tutor_pipeline.sources.changes import ledger

OWNER = "team:data-engineering"
POOL = "dbt"
PARTITIONED = "daily_partitions"
"""dbt tag of the models that have a row per day and are built by day."""
WEEKLY = "weekly"
"""dbt tag of the models that only what learns reads: built once a week."""

REFRESH, HISTORY = "refresh", "history"
"""Locks of those who write the tables as of now, and the tables with a row per day. A full refresh
takes both, history first; whoever covers some tutors or some days only takes the one, so that a
refresh after a session never waits for a backfill.
"""

LATEST, LAST = "latest", "last"


class RefreshConfig(dg.Config):
    """What a refresh covers."""

    as_of: str | None = None
    """None = now; a date = the end of that day; `latest` = the newest completed session's day;
    `last` = the moment of the alerts that are there.
    """
    tutors: list[str] | None = None
    """None = all tutors."""


class Translator(DagsterDbtTranslator):
    """Names, groups and owners of dbt's nodes in Dagster."""

    def get_asset_spec(
        self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetSpec:
        """`<schema>/<table>` without the prefix; sources are `platform/<table>`."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        if unique_id.startswith("source."):
            return spec.replace_attributes(
                key=source_key(manifest["sources"][unique_id]["name"]), group_name="source"
            )
        node = manifest["nodes"][unique_id]
        return spec.replace_attributes(
            key=model_key(node),
            group_name=spec.group_name or node["config"]["schema"],
            owners=[OWNER],
            description=node.get("description") or None,
        )


def model_key(node: Mapping[str, Any]) -> dg.AssetKey:
    """`<schema>/<table>` of a model, whatever prefix the schemas have."""
    return dg.AssetKey([node["config"]["schema"], node["name"]])


def _models(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The tables as of now."""
    for node in manifest["nodes"].values():
        is_table = node["resource_type"] == "model" and (
            node["config"]["materialized"] != "ephemeral"
        )
        if is_table and not {PARTITIONED, WEEKLY} & set(node["tags"]):
            yield node


def _with_columns_of_history(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """The history has the columns of the wide row but for the evidence (as its macros say)."""
    wide, history = (
        manifest["nodes"][f"model.tutor_pipeline.{name}"]
        for name in ("tutor_aggregates", "tutor_aggregates_history")
    )
    shared = {
        name: column
        for name, column in wide["columns"].items()
        if not column["data_type"].endswith("[]")
    }
    described = {**history, "columns": {**shared, **history["columns"]}}
    return {**manifest, "nodes": {**manifest["nodes"], history["unique_id"]: described}}


def build_metrics_assets(
    manifest: Mapping[str, Any], project: DbtProject, timezone: str, history_start: str
) -> list[dg.AssetsDefinition]:
    """Three families: the tables as of now, those with a row per day (daily partitions), and those
    that only what learns reads.
    """
    manifest = _with_columns_of_history(manifest)
    translator = Translator(DagsterDbtTranslatorSettings(enable_code_references=True))
    every_table = {model_key(node) for node in _models(manifest)}
    days = dg.DailyPartitionsDefinition(start_date=history_start, timezone=timezone)

    @dbt_assets(
        manifest=manifest,
        project=project,
        exclude=f"tag:{PARTITIONED} tag:{WEEKLY}",
        dagster_dbt_translator=translator,
        name="metrics",
        pool=POOL,
    )
    def metrics(
        context: dg.AssetExecutionContext, config: RefreshConfig, warehouse: WarehouseResource
    ) -> Iterator[Any]:
        target = warehouse.warehouse
        with _writer(target, config.tutors is None, context.log.warning):
            run = RefreshRun(
                context.run.run_id, resolve_as_of(target, config.as_of), all_or(config.tutors)
            )
            write_header(target, run)
            if run.tutors is None and every_table <= context.selected_asset_keys:
                _take_all(context, target, run)
            yield from _build(context, warehouse, manifest, project, translator, run.as_of)

    @dbt_assets(
        manifest=manifest,
        project=project,
        select=f"tag:{PARTITIONED}",
        dagster_dbt_translator=translator,
        name="snapshots",
        partitions_def=days,
        # One run for a year: the SQL is set-based over the range.
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=366),
        pool=POOL,
    )
    def snapshots(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> Iterator[Any]:
        target = warehouse.warehouse
        keys = context.partition_key_range
        first, last = date.fromisoformat(keys.start), date.fromisoformat(keys.end)
        with one_writer(target, HISTORY, context.log.warning):
            run = RefreshRun(
                context.run.run_id,
                min(end_of_day(last, target.timezone), datetime.now(UTC)),
                snapshot_from=first,
                snapshot_until=last,
            )
            write_header(target, run)
            yield from _build(context, warehouse, manifest, project, translator, run.as_of)

    @dbt_assets(
        manifest=manifest,
        project=project,
        select=f"tag:{WEEKLY}",
        dagster_dbt_translator=translator,
        name="past_weeks",
        pool=POOL,
    )
    def past_weeks(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource
    ) -> Iterator[Any]:
        target = warehouse.warehouse
        with one_writer(target, HISTORY, context.log.warning):
            with target.connect() as database:
                # As of the tables that it reads.
                as_of = built_moment(database)
            # A refresh of no tutor: the tables as of now stay as they are.
            write_header(target, RefreshRun(context.run.run_id, as_of, ()))
            yield from _build(context, warehouse, manifest, project, translator, as_of)

    return [metrics, snapshots, past_weeks]


@contextmanager
def _writer(warehouse: Warehouse, is_full: bool, on_wait: Callable[[str], None]) -> Iterator[None]:
    with ExitStack() as held:
        for what in (HISTORY, REFRESH) if is_full else (REFRESH,):
            held.enter_context(one_writer(warehouse, what, on_wait))
        yield


def _take_all(context: dg.AssetExecutionContext, warehouse: Warehouse, run: RefreshRun) -> None:
    """Before dbt reads: what changes while it does is found to differ later."""
    try:
        with warehouse.connect() as database:
            ledger.take_all(database, run.run_id, run.as_of)
    except TutorPipelineError as error:
        # Sessions that cannot be read: dbt says what is missing, and what for.
        context.log.warning(str(error))


def resolve_as_of(warehouse: Warehouse, requested: str | None) -> datetime:
    """The moment that a refresh computes for. Raises RefusedError when it lies in the past of
    the alerts: history is for back-tests, the live tables only move forward.
    """
    now = datetime.now(UTC)
    if requested is None:
        return now
    with warehouse.connect() as database:
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


def _build(
    context: dg.AssetExecutionContext,
    resource: WarehouseResource,
    manifest: Mapping[str, Any],
    project: DbtProject,
    translator: Translator,
    as_of: datetime,
) -> Iterator[Any]:
    """Run `dbt build` of the selected assets, yielding an event as each model or test ends.

    What the tests said is kept, whatever becomes of the rest.
    """
    warehouse = resource.warehouse
    models = {key.path[-1] for key in context.selected_asset_keys}
    arguments = ["build", "--exclude-resource-type", "unit_test", "--select", *sorted(models)]
    events: SimpleQueue[dict[str, Any] | BaseException | None] = SimpleQueue()

    def work() -> None:
        try:
            dbt.run(arguments, on_event=events.put)
            events.put(None)
        except BaseException as error:
            events.put(error)

    environment = dbt.dbt_environment(warehouse, context.run.run_id, resource.settings.home)
    checks = set(context.selected_asset_check_keys)
    outcomes: list[Outcome] = []
    worker = Thread(target=work, name="dbt", daemon=True)
    with dbt.hold_environment(environment):
        worker.start()
        try:
            while (item := events.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                if item["info"]["name"] == dbt.PROGRESS:
                    context.log.info(item["data"]["msg"])
                    continue
                node = manifest["nodes"].get(item["data"]["node_info"]["unique_id"])
                if node is None or node["config"]["materialized"] == "ephemeral":
                    continue
                if node["resource_type"] == "model":
                    if item["data"]["node_info"]["node_status"] == "success":
                        yield _output(node, item, warehouse)
                    continue
                message = DbtCoreCliEventMessage(item, event_history_metadata={})
                for event in message.to_default_asset_events(
                    manifest, translator, context, project=project
                ):
                    # A test over two models may run with one of them unselected: not our check.
                    if isinstance(event, dg.AssetCheckResult) and _key_of(event) in checks:
                        outcomes.append(
                            _test_outcome(node, item, _key_of(event), warehouse, resource)
                        )
                        yield check_result(outcomes[-1])
        finally:
            # Whatever went wrong here, dbt must not go on writing once the writers' lock is
            # given back, nor find the environment changed under it.
            worker.join()
            with warehouse.connect() as database:
                results.record(database, context.run.run_id, as_of, outcomes)


def _key_of(result: dg.AssetCheckResult) -> dg.AssetCheckKey:
    assert result.asset_key is not None
    assert result.check_name is not None
    return dg.AssetCheckKey(result.asset_key, result.check_name)


_STATUSES = {"pass": Status.PASSED, "fail": Status.FAILED, "warn": Status.FAILED}


def _test_outcome(
    node: Mapping[str, Any],
    event: Mapping[str, Any],
    key: dg.AssetCheckKey,
    warehouse: Warehouse,
    resource: WarehouseResource,
) -> Outcome:
    """What a dbt test found. Its severity says whether it blocks: errors do, warnings don't."""
    data = event["data"]
    status = _STATUSES.get(data["node_info"]["node_status"], Status.ERRORED)
    severity = (node["config"].get("severity") or "error").lower()
    query = dbt.compiled_sql(resource.settings.home, node)
    sample: list[dict[str, Any]] = []
    message = f"see {dbt.log_file(resource.settings.home)}" if status is Status.ERRORED else None
    if status is Status.FAILED and query is not None:
        try:
            with warehouse.connect() as database:
                sample = [plain(row) for row in first_rows(database, query)]
        except (psycopg.Error, TutorPipelineError) as error:
            message = f"its rows could not be listed: {error}"  # it has failed all the same
    return Outcome(
        key.asset_key.to_user_string(),
        key.name,
        "dbt",
        node["config"]["meta"]["description"],
        severity,
        severity == "error",
        status,
        rows_failing=None if status is Status.ERRORED else int(data.get("num_failures") or 0),
        sample=sample,
        query=query,
        message=message,
        seconds=round(float(data["execution_time"]), 3),
    )


def _output(
    node: Mapping[str, Any], event: Mapping[str, Any], warehouse: Warehouse
) -> dg.Output[None]:
    """A model that is done, with what Dagster plots."""
    with warehouse.connect() as database:
        row = database.execute(
            sql.SQL("select count(*) from {}").format(sql.Identifier(node["schema"], node["name"]))
        ).fetchone()
    assert row is not None
    return dg.Output(
        None,
        output_name=model_key(node).to_python_identifier(),
        metadata={
            "dagster/row_count": row[0],
            "seconds": round(float(event["data"]["execution_time"]), 3),
        },
    )

"""dbt models as assets: the tables as of now, those with a row per day, those of past weeks.

Each family is one step that runs `dbt build`; steps that write the same tables wait for each other.
A Dagster pool lets one step run at a time; a lock in the database covers processes that share no
Dagster instance.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import cache
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtProject, dbt_assets

# Dagster has no public function that names the checks of a dbt event. A test notices when this
# one moves (tests/defs/test_private_modules.py).
from dagster_dbt.core.dbt_cli_event import DbtCoreCliEventMessage

from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun
from tutor_pipeline.defs.common.assets import FRESHNESS, OWNER, cadence, with_code_references
from tutor_pipeline.defs.common.checks import check_result
from tutor_pipeline.defs.common.project import Project, load_project
from tutor_pipeline.defs.common.standbys import again_if_cancelled
from tutor_pipeline.defs.common.warehouse_resource import WarehouseResource
from tutor_pipeline.defs.platform_tables import source_key
from tutor_pipeline.steps import build, take
from tutor_pipeline.steps.names import Cadence, Group

POOL = "dbt"
PARTITIONED = "daily_partitions"
"""dbt tag of the models with a row per day, built by partition."""
WEEKLY = "weekly"
"""dbt tag of the models that only learning reads, built once a week."""

_MOST_DAYS = 366
"""One run for a year: the SQL is set-based over the range."""


class RefreshConfig(dg.Config):
    """The scope of a refresh."""

    as_of: str | None = None
    """None = now; a date = the end of that day; `latest` = the day of the newest completed session;
    `last` = the as-of of the current alerts.
    """
    tutors: list[str] | None = None
    """None = all tutors."""
    accept_loss_by: str | None = None
    """Who accepts that rows of the platform are gone; this is recorded. None = while they are
    missing nothing is made.
    """


@dg.definitions
def definitions() -> dg.Definitions:
    """The three families."""
    return dg.Definitions(assets=with_code_references(*metrics_assets(load_project())))


class Translator(DagsterDbtTranslator):
    """Names, groups, owners and tags of dbt nodes in Dagster."""

    def get_asset_spec(
        self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetSpec:
        """`<schema>/<table>` without the prefix; sources are `platform/<table>`."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        if unique_id.startswith("source."):
            return spec.replace_attributes(
                key=source_key(manifest["sources"][unique_id]["name"]), group_name=Group.SOURCE
            )
        node = manifest["nodes"][unique_id]
        return spec.replace_attributes(
            key=model_key(node),
            group_name=spec.group_name or node["config"]["schema"],
            owners=[OWNER],
            tags={**spec.tags, **cadence(_cadence(node))},
            freshness_policy=FRESHNESS.get(_cadence(node)),
            description=node.get("description") or None,
        )


def model_key(node: Mapping[str, Any]) -> dg.AssetKey:
    """`<schema>/<table>` of a model, without the prefix of the schemas."""
    return dg.AssetKey([node["config"]["schema"], node["name"]])


def _cadence(node: Mapping[str, Any]) -> str:
    if PARTITIONED in node["tags"]:
        return Cadence.DAY
    return Cadence.WEEK if WEEKLY in node["tags"] else Cadence.REFRESH


def tables_as_of_now(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The models that a full refresh builds (in dbt: is_of_a_refresh)."""
    for node in manifest["nodes"].values():
        is_table = node["resource_type"] == "model" and (
            node["config"]["materialized"] != "ephemeral"
        )
        if is_table and _cadence(node) == Cadence.REFRESH:
            yield node


@cache
def metrics_assets(project: Project) -> Sequence[dg.AssetsDefinition]:
    """The tables as of now, those with a row per day, those that only learning reads."""
    manifest = project.manifest
    translator = Translator(DagsterDbtTranslatorSettings(enable_code_references=True))
    of_dbt: dict[str, Any] = {
        "manifest": manifest,
        "project": project.dbt_project,
        "dagster_dbt_translator": translator,
        "pool": POOL,
    }
    every_table = {model_key(node) for node in tables_as_of_now(manifest)}
    days = dg.DailyPartitionsDefinition(
        start_date=project.settings.history_start.isoformat(), timezone=project.settings.timezone
    )

    @dbt_assets(**of_dbt, name="metrics", exclude=f"tag:{PARTITIONED} tag:{WEEKLY}")
    def metrics(
        context: dg.AssetExecutionContext, config: RefreshConfig, warehouse: WarehouseResource
    ) -> Iterator[Any]:
        chosen = context.selected_asset_keys
        with (
            again_if_cancelled(context),
            take.refresh(
                warehouse.warehouse,
                context.run.run_id,
                config.as_of,
                config.tutors,
                tables=None if every_table <= chosen else [key.to_user_string() for key in chosen],
                limits=warehouse.loss_limits,
                accept_loss_by=config.accept_loss_by,
                warn=context.log.warning,
            ) as run,
        ):
            yield from _build(context, warehouse, run, manifest, translator, project.dbt_project)

    @dbt_assets(
        **of_dbt,
        name="snapshots",
        select=f"tag:{PARTITIONED}",
        partitions_def=days,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=_MOST_DAYS),
    )
    def snapshots(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> Iterator[Any]:
        keys = context.partition_key_range
        first, last = date.fromisoformat(keys.start), date.fromisoformat(keys.end)
        target, run_id = warehouse.warehouse, context.run.run_id
        with take.days(target, run_id, first, last, context.log.warning) as run:
            yield from _build(context, warehouse, run, manifest, translator, project.dbt_project)

    @dbt_assets(**of_dbt, name="past_weeks", select=f"tag:{WEEKLY}")
    def past_weeks(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource
    ) -> Iterator[Any]:
        target, run_id = warehouse.warehouse, context.run.run_id
        with take.past_weeks(target, run_id, context.log.warning) as run:
            yield from _build(context, warehouse, run, manifest, translator, project.dbt_project)

    return metrics, snapshots, past_weeks


def _build(
    context: dg.AssetExecutionContext,
    resource: WarehouseResource,
    run: RefreshRun,
    manifest: Mapping[str, Any],
    translator: DagsterDbtTranslator,
    project: DbtProject,
) -> Iterator[Any]:
    """Build the selected assets. Yields an output for each table, a result for each check."""
    selected = set(context.selected_asset_check_keys)

    def checks_of(event: Mapping[str, Any]) -> list[build.Check]:
        message = DbtCoreCliEventMessage(dict(event), event_history_metadata={})
        named = [
            dg.AssetCheckKey(each.asset_key, each.check_name)
            for each in message.to_default_asset_events(
                manifest, translator, context, project=project
            )
            if isinstance(each, dg.AssetCheckResult) and each.asset_key and each.check_name
        ]
        # A test over two models may run with one of them unselected: ignore its check.
        return [
            build.Check(key.asset_key.to_user_string(), key.name)
            for key in named
            if key in selected
        ]

    warehouse: Warehouse = resource.warehouse
    models = [key.path[-1] for key in context.selected_asset_keys]
    for made in build.build(
        warehouse, resource.settings.home, run, manifest, models, checks_of, context.log.info
    ):
        if isinstance(made, build.Built):
            yield dg.Output(
                None,
                output_name=model_key(made.node).to_python_identifier(),
                metadata={"dagster/row_count": made.rows, "seconds": made.seconds},
            )
        else:
            yield check_result(made)

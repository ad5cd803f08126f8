"""Data quality in Dagster: the quarantine, a step of checks per suite, and the report.

A failing blocking check fails its step, so what depends on its table is not made in that run; in
later runs the guard refuses it (`common.guarded`).
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache

import dagster as dg

from tutor_pipeline.core.warehouse.refresh_runs import moment
from tutor_pipeline.defs.common.assets import (
    OWNER,
    asset_key,
    cadence,
    column_schema,
    table,
    table_asset,
    with_code_references,
)
from tutor_pipeline.defs.common.checks import check_result
from tutor_pipeline.defs.common.project import Project, load_project
from tutor_pipeline.defs.common.warehouse_resource import WarehouseResource
from tutor_pipeline.judgement.quality.suites import Suite
from tutor_pipeline.people.reports.publish import write_report
from tutor_pipeline.sources.quarantine import sync_live
from tutor_pipeline.steps import check
from tutor_pipeline.steps.names import Cadence, Group

REPORT = dg.AssetKey("validation_report")

_REFRESHED = dg.AssetKey(["staging", "session_rows"])
"""A table of the step that builds all tables of a refresh. Suites depend on that step through this
table, which has no blocking check, so that one suite never stops another.
"""


@dg.definitions
def definitions() -> dg.Definitions:
    """The quarantine, the report, and the checks of the suites."""
    return dg.Definitions(
        assets=with_code_references(quarantine, validation_report),
        asset_checks=suite_checks(load_project()),
    )


@table_asset("ops/quarantine", Group.QUALITY)
def quarantine(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource
) -> dg.MaterializeResult[None]:
    """Incoming sessions that broke their contract, each with its reasons. A corrected session
    resolves its entry. None of them reaches a metric, and none is lost.
    """
    with warehouse.warehouse.connect() as database:
        summary = sync_live(database, moment(database, context.run.run_id))
        columns = column_schema(database, database.schemas.ops, "quarantine")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": summary.quarantined,
            "dagster/column_schema": columns,
            "rows_in": summary.rows,
            "clean": summary.clean,
            "quarantined": summary.quarantined,
            "resolved": summary.resolved,
            "by_reason": table(
                {"reason": reason, "rows": rows} for reason, rows in summary.by_reason.items()
            ),
        }
    )


@dg.asset(
    key=REPORT,
    group_name=Group.QUALITY,
    kinds={"python", "html"},
    owners=[OWNER],
    tags=cadence(Cadence.REFRESH),
    # It reads nearly all tables but depends on none, as people need it most when checks stop
    # other steps. Steps run one at a time, and the lowest priority runs last.
    op_tags={"dagster/priority": "-100"},
)
def validation_report(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource
) -> dg.MaterializeResult[None]:
    """One page that says whether the data is sound: verdict, checks with failing rows, quarantine,
    freshness, alerts, insights, achievements, changes. Written at the end of every refresh, even
    if earlier steps fail.
    """
    settings = warehouse.settings
    with warehouse.warehouse.connect() as database:
        written = write_report(
            database, settings.reports_dir, context.run.run_id, datetime.now(UTC)
        )
    validation = written.validation
    return dg.MaterializeResult(
        metadata={
            "report": dg.MetadataValue.url(settings.report_address(written.file.name)),
            "file": dg.MetadataValue.path(written.file),
            "verdict": validation.verdict.sentence,
            "checks": len(validation.checks),
            "checks_failing": len(validation.attention),
            "checks_stopping": sum(each.stops for each in validation.checks),
        }
    )


@cache
def suite_checks(project: Project) -> Sequence[dg.AssetChecksDefinition]:
    """One step per suite; each check of the suite is a Dagster check of the table."""
    return [_build_suite(suite) for suite in project.suites]


def suite_check_keys(project: Project) -> list[dg.AssetCheckKey]:
    """The checks of all suites, for the selections of jobs."""
    return [key for checks in suite_checks(project) for key in checks.check_keys]


def _build_suite(suite: Suite) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name=f"check_{suite.name}",
        description=suite.about,
        specs=[
            dg.AssetCheckSpec(
                each.name,
                asset=asset_key(suite.asset),
                description=each.says,
                blocking=each.blocking,
                additional_deps={_REFRESHED} - {asset_key(suite.asset)},
                metadata={"severity": each.severity, "suite": suite.name},
            )
            for each in suite.checks
        ],
        can_subset=True,
    )
    def checks(
        context: dg.AssetCheckExecutionContext, warehouse: WarehouseResource
    ) -> Iterator[dg.AssetCheckResult]:
        chosen = {key.name for key in context.selected_asset_check_keys}
        for outcome in check.suite(warehouse.warehouse, context.run.run_id, suite, chosen):
            yield check_result(outcome)

    return checks

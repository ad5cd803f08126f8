"""Data quality in Dagster: the quarantine, a step of checks per suite, and the report.

A check that blocks fails its step when it does not hold, so what depends on its table is not made
in that run; in later runs the guard says no (`defs.findings`).
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import dagster as dg

from tutor_pipeline.core.warehouse.refresh_runs import moment
from tutor_pipeline.defs.checks import asset_key, check_result
from tutor_pipeline.defs.columns import column_schema
from tutor_pipeline.defs.metrics import OWNER
from tutor_pipeline.defs.resources import WarehouseResource
from tutor_pipeline.judgement.quality import results
from tutor_pipeline.judgement.quality.suites import Suite
from tutor_pipeline.people.reports.publish import write_report
from tutor_pipeline.sources.quarantine import sync_live

GROUP = "quality"

_REFRESHED = dg.AssetKey(["staging", "session_rows"])
"""Made by the step that makes all tables of a refresh. Suites come after it by way of this table,
which has no check that blocks: of two suites neither keeps the other from being evaluated.
"""


@dg.asset(
    key=["ops", "quarantine"],
    deps=[["staging", "session_rows"]],
    group_name=GROUP,
    kinds={"python", "postgres"},
    owners=[OWNER],
    metadata={"dagster/table_name": "ops.quarantine"},
)
def quarantine(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource
) -> dg.MaterializeResult[None]:
    """Incoming sessions that broke their contract, each with its reasons; a corrected one resolves
    its entry. None of them reaches a metric, and none is lost.
    """
    target = warehouse.warehouse
    with target.connect() as database:
        summary = sync_live(database, moment(database, context.run.run_id))
        columns = column_schema(database, target.schemas.ops, "quarantine")
    reasons = [f"| {reason} | {count} |" for reason, count in summary.by_reason.items()]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": summary.quarantined,
            "dagster/column_schema": columns,
            "rows_in": summary.rows,
            "clean": summary.clean,
            "quarantined": summary.quarantined,
            "resolved": summary.resolved,
            "by_reason": dg.MetadataValue.md(
                "\n".join(["| reason | rows |", "| --- | --- |", *reasons])
            ),
        }
    )


@dg.asset(
    key=["validation_report"],
    group_name=GROUP,
    kinds={"python", "html"},
    owners=[OWNER],
    # It reads nearly all tables and depends on none: where checks stop what follows, it is what
    # people need. Steps run one at a time, and one of the least priority runs last.
    op_tags={"dagster/priority": "-100"},
)
def validation_report(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource
) -> dg.MaterializeResult[None]:
    """One page that says whether the data can be relied on: verdict, checks with failing rows,
    quarantine, freshness, alerts, insights, achievements, what changed. Written at the end of
    every refresh, whatever came before.
    """
    settings, target = warehouse.settings, warehouse.warehouse
    with target.connect() as database:
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
            "checks_stopping": sum(check.stops for check in validation.checks),
        }
    )


def build_suite_checks(suites: Iterable[Suite]) -> list[dg.AssetChecksDefinition]:
    """One step per suite; each of its checks is a check of the table in Dagster."""
    return [_build_suite(suite) for suite in suites]


def _build_suite(suite: Suite) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name=f"check_{suite.name}",
        description=suite.about,
        specs=[
            dg.AssetCheckSpec(
                check.name,
                asset=asset_key(suite.asset),
                description=check.says,
                blocking=check.blocking,
                additional_deps={_REFRESHED} - {asset_key(suite.asset)},
                metadata={"severity": check.severity, "suite": suite.name},
            )
            for check in suite.checks
        ],
        can_subset=True,
    )
    def checks(
        context: dg.AssetCheckExecutionContext, warehouse: WarehouseResource
    ) -> Iterator[dg.AssetCheckResult]:
        # Great Expectations takes seconds to import: only who runs a check pays.
        from tutor_pipeline.judgement.quality.run import run_suite

        target = warehouse.warehouse
        run_id = context.run.run_id
        chosen = {key.name for key in context.selected_asset_check_keys}
        with target.connect() as database:
            as_of = moment(database, run_id)
            ((began,),) = database.execute("select clock_timestamp()").fetchall()
        outcomes = run_suite(suite, target, as_of, chosen)
        with target.connect() as database:
            results.record(database, run_id, as_of, outcomes, began)
        for outcome in outcomes:
            yield check_result(outcome)

    return checks

"""The quarantine as an asset."""

import dagster as dg

from tutor_pipeline.defs.columns import column_schema
from tutor_pipeline.defs.metrics import OWNER
from tutor_pipeline.defs.resources import WarehouseResource
from tutor_pipeline.source.quarantine import sync_live
from tutor_pipeline.warehouse.runs import moment

GROUP = "quality"


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
    with target.connect() as connection:
        summary = sync_live(connection, target, moment(connection, target, context.run_id))
        columns = column_schema(connection, target.schemas.ops, "quarantine")
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

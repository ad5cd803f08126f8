"""Scores, and what scorers are configured with, as assets."""

from datetime import UTC, datetime

import dagster as dg

from tutor_pipeline.defs.columns import column_schema
from tutor_pipeline.defs.metrics import OWNER
from tutor_pipeline.defs.resources import WarehouseResource
from tutor_pipeline.scores import weights

GROUP = "scores"

SCORES = (
    dg.AssetSpec(
        ["ops", "current_tutor_risk"],
        group_name=GROUP,
        kinds={"postgres"},
        owners=[OWNER],
        description="The newest churn score of each tutor, which the rule high_churn_risk reads;"
        " empty where nothing writes scores.",
        metadata={"dagster/table_name": "ops.current_tutor_risk"},
    ),
)
"""Tables of scores that findings read; nothing here makes them."""


@dg.asset(
    key=["ops", "churn_algorithm_weights"],
    group_name=GROUP,
    kinds={"python", "postgres"},
    owners=[OWNER],
    metadata={"dagster/table_name": "ops.churn_algorithm_weights"},
)
def churn_algorithm_weights(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource
) -> dg.MaterializeResult[None]:
    """How much each factor of the student churn score counts. The first version is written where
    there is none; a version is never changed, only followed by a newer one.
    """
    target = warehouse.warehouse
    with target.connect() as connection:
        seeded = weights.seed(connection, target, datetime.now(UTC))
        newest = weights.current(connection, target)
        columns = column_schema(connection, target.schemas.ops, "churn_algorithm_weights")
    assert newest is not None
    rows = [f"| {factor} | {weight:.2f} |" for factor, weight in newest.weights.items()]
    return dg.MaterializeResult(
        metadata={
            "version": newest.version,
            "seeded": seeded,
            "weights": dg.MetadataValue.md(
                "\n".join(["| factor | weight |", "| --- | --- |", *rows])
            ),
            "dagster/column_schema": columns,
        }
    )

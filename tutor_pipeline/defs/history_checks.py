"""Checks that the tables with a row per day still equal a rebuild from the platform."""

from collections.abc import Iterator

import dagster as dg

from tutor_pipeline.defs.common.assets import asset_key
from tutor_pipeline.defs.common.checks import check_result
from tutor_pipeline.defs.common.warehouse_resource import WarehouseResource
from tutor_pipeline.steps.rebuild_history import (
    EQUALS_A_REBUILD,
    SAYS,
    TABLES,
    DailyTable,
    reconcile,
)

_WRITES_DAYS = {"dagster/partition", "dagster/asset_partition_range_start"}
"""Tags of runs that write partitions."""


@dg.definitions
def definitions() -> dg.Definitions:
    """`equals_a_rebuild` of each table with a row per day."""
    return dg.Definitions(asset_checks=[_build_check(table) for table in TABLES])


def _build_check(table: DailyTable) -> dg.AssetChecksDefinition:
    asset = asset_key(f"marts/{table.name}")

    @dg.multi_asset_check(
        name=f"reconcile_{table.name}",
        specs=[dg.AssetCheckSpec(EQUALS_A_REBUILD, asset=asset, description=SAYS)],
        # Its result may be left out.
        can_subset=True,
    )
    def check(
        context: dg.AssetCheckExecutionContext, warehouse: WarehouseResource
    ) -> Iterator[dg.AssetCheckResult]:
        if _WRITES_DAYS & context.run.tags.keys():
            # A backfill from the asset page selects all checks, but must not run this comparison.
            return
        home, run_id = warehouse.settings.home, context.run.run_id
        yield check_result(reconcile(warehouse.warehouse, home, table, run_id, context.log.warning))

    return check

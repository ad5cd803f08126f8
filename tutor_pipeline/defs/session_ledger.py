"""The ledger of a full refresh: what it processed, recorded once its findings are made."""

from datetime import UTC, datetime

import dagster as dg

from tutor_pipeline.defs.common.assets import table_asset, with_code_references
from tutor_pipeline.defs.common.warehouse_resource import WarehouseResource
from tutor_pipeline.steps import settle
from tutor_pipeline.steps.names import Group


@dg.definitions
def definitions() -> dg.Definitions:
    """`ops/session_ledger`."""
    return dg.Definitions(assets=with_code_references(session_ledger))


@table_asset("ops/session_ledger", Group.FINDINGS)
def session_ledger(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource
) -> dg.MaterializeResult[None]:
    """Which version of each session was processed. A session with another version waits for the
    next refresh after sessions, which settles its own part in the transaction of its findings.
    """
    settled, queue = settle.full_refresh(warehouse.warehouse, context.log.warning)
    age = 0.0 if queue.oldest_at is None else (datetime.now(UTC) - queue.oldest_at).total_seconds()
    return dg.MaterializeResult(
        metadata={
            "changes_settled": settled,
            "changes_waiting": queue.changes,
            "tutors_waiting": queue.tutors,
            "tutors_set_aside": queue.set_aside,
            "oldest_waiting_seconds": round(age, 1),
        }
    )

"""The ledger of a full refresh: what it processed, noted when its findings are made."""

from datetime import UTC, datetime

import dagster as dg

from tutor_pipeline.defs.findings import FINDINGS, GROUP
from tutor_pipeline.defs.metrics import OWNER
from tutor_pipeline.defs.resources import WarehouseResource
from tutor_pipeline.people.notify import outbox
from tutor_pipeline.sources.changes import ledger


@dg.asset(
    key=["ops", "session_ledger"],
    deps=[["ops", findings.table] for findings in FINDINGS],
    group_name=GROUP,
    kinds={"python", "postgres"},
    owners=[OWNER],
    metadata={"dagster/table_name": "ops.session_ledger"},
)
def session_ledger(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource
) -> dg.MaterializeResult[None]:
    """Which version of each session was processed. A session whose version differs waits for the
    next refresh after sessions, which settles its own part in the transaction of its findings.
    """
    target = warehouse.warehouse
    with target.connect() as database:
        run_id = ledger.finished_refresh(database)
        settled = 0
        if run_id is None:
            context.log.warning(
                "nothing to settle: the newest full refresh has not made all findings yet"
            )
        else:
            if ledger.is_filled(database):  # else all of it is of before we looked
                outbox.note_sessions(database, run_id, datetime.now(UTC))
            settled = ledger.settle(database, run_id).changes
        queue = ledger.waiting(database, datetime.now(UTC))
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

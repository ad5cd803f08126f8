"""Settle: the ledger records what was processed, once the findings that rest on it are made."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.people.notify.kinds import session
from tutor_pipeline.sources.changes import ledger


def full_refresh(warehouse: Warehouse, warn: Callable[[str], None]) -> tuple[int, ledger.Queue]:
    """Settle the newest full refresh. Returns the changes settled and those that still wait."""
    settled = 0
    with warehouse.connect() as database:
        run_id = ledger.finished_refresh(database)
        if run_id is None:
            warn("nothing to settle: the newest full refresh has not made all findings yet")
        else:
            # Before the first refresh was settled, all changes are older than the installation.
            if ledger.is_filled(database):
                # Versions that are made otherwise than before tell nothing of what changed.
                only_new = ledger.is_reshaped(database, run_id)
                session.note(database, run_id, datetime.now(UTC), only_new=only_new)
            settled = ledger.settle(database, run_id).changes
        return settled, ledger.waiting(database, datetime.now(UTC))

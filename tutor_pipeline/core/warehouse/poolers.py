"""What a pooler between us and the server takes away, for work that cannot do without it."""

from __future__ import annotations

from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.core.warehouse.database import Warehouse

_PID = "select pg_backend_pid()"


def pools_transactions(warehouse: Warehouse) -> bool:
    """Returns whether the next transaction of a connection may run on another of the server.

    While another transaction holds the server's connection that was used last, ours gets another
    one. Without a pooler, or in session mode, a connection stays what it is.
    """
    with warehouse.connect(autocommit=True) as ours, warehouse.connect() as other:
        before = ours.value(_PID)
        other.value(_PID)
        return bool(ours.value(_PID) != before)


def refuse_pooled_transactions(warehouse: Warehouse, what: str) -> None:
    """Raises RefusedError if a pooler would take away the temporary tables of `what`."""
    if pools_transactions(warehouse):
        raise RefusedError(
            f"{what} keeps temporary tables from one transaction to the next, which a pooler in"
            f" transaction mode takes away ({warehouse.masked_url})\n"
            "Give it a direct TUTOR_DATABASE_URL, or a pooler in session mode."
        )

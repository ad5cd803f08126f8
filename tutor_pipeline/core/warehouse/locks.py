"""Advisory locks across processes that end with the connection of their holder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tutor_pipeline.core.warehouse.database import Database, Warehouse

_POLL_SECONDS = 0.25


@contextmanager
def one_writer(
    warehouse: Warehouse, what: str, on_wait: Callable[[str], None] = lambda _: None
) -> Iterator[None]:
    """Holds the lock `what` of this warehouse's schemas; waits while another process holds it.

    The lock belongs to a connection of its own, so a killed process releases it at once. Calls
    `on_wait` once, with a sentence, when it has to wait.
    """
    with warehouse.connect(autocommit=True) as database:
        key = _key(warehouse, what)
        told = False
        while not database.value("select pg_try_advisory_lock(hashtextextended(%s, 0))", (key,)):
            if not told:
                on_wait(f"another process is writing ({what}); waiting for it to finish")
                told = True
            time.sleep(_POLL_SECONDS)
        yield


def is_held(database: Database, what: str) -> bool:
    """Whether some process holds the lock `what` of this warehouse's schemas."""
    found = database.value(
        "select exists (select 1 from pg_locks where locktype = 'advisory' and granted"
        " and objsubid = 1 and classid::bigint << 32 | objid::bigint = hashtextextended(%s, 0)"
        " and database = (select oid from pg_database where datname = current_database()))",
        (_key(database.warehouse, what),),
    )
    return bool(found)


def _key(warehouse: Warehouse, what: str) -> str:
    return f"{what} {warehouse.schemas.ops}"

"""Advisory locks across processes that end with the transaction of their holder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.core.warehouse.database import Database, Warehouse

_POLL_SECONDS = 0.25
_HELD = """
    select 1 from pg_locks
    where
        locktype = 'advisory' and granted
        and objsubid = 1 and classid::bigint << 32 | objid::bigint = hashtextextended(%s, 0)
        and database = (select oid from pg_database where datname = current_database())
"""


# A server or a role may end transactions that do nothing, or take long: this one waits for its
# holder. Whose host vanished is to be noticed within a minute, not after the system's two hours.
# Asks no relation: its lock would last as long as the transaction.
_STAYS_OPEN = """
    select set_config(name, value, true)
    from (
        values
            ('idle_in_transaction_session_timeout', '0'), ('transaction_timeout', '0'),
            ('tcp_keepalives_idle', '30'), ('tcp_keepalives_interval', '10'),
            ('tcp_keepalives_count', '3'), ('tcp_user_timeout', '60000')
    ) as wanted (name, value)
    where current_setting(name, true) is not null
"""


@dataclass(frozen=True, slots=True)
class Writer:
    """The holder of the lock `what`: the server's process that has it."""

    what: str
    pid: int

    def prove(self, database: Database) -> None:
        """Proves, in the transaction that is about to commit, that the lock is still held; until
        that ends nobody else begins to write. Raises RefusedError: its connection was lost,
        and somebody else may write.
        """
        database.execute(
            "select pg_advisory_xact_lock_shared(hashtextextended(%s, 0))",
            (_key(database.warehouse, f"commit of {self.what}"),),
        )
        if not database.value(
            f"select exists ({_HELD} and pid = %s)",
            (_key(database.warehouse, self.what), self.pid),
        ):
            raise RefusedError(
                f"another process took over writing ({self.what}): this one writes nothing more"
            )


@contextmanager
def one_writer(
    warehouse: Warehouse, what: str, on_wait: Callable[[str], None] = lambda _: None
) -> Iterator[Writer]:
    """Holds the lock `what` of this warehouse's schemas; waits while another process holds it.

    The lock belongs to an open transaction on a connection of its own, so a killed process releases
    it at once, and a pooler gives the connection to nobody else meanwhile. Calls `on_wait` once,
    with a sentence, when it has to wait.
    """
    key = _key(warehouse, what)
    told = False
    commits = _key(warehouse, f"commit of {what}")
    database = warehouse.connect()
    try:
        while not _try(database, key):
            database.rollback()
            if not told:
                on_wait(f"another process is writing ({what}); waiting for it to finish")
                told = True
            time.sleep(_POLL_SECONDS)
        # Who had it before and lost the connection may be committing, having proved it.
        with database.transaction(force_rollback=True):
            database.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (commits,))
        yield Writer(what, database.value("select pg_backend_pid()"))
    finally:
        database.close()


def _try(database: Database, key: str) -> bool:
    """Takes the lock until the transaction ends. False if it is taken."""
    database.execute(_STAYS_OPEN)
    return bool(database.value("select pg_try_advisory_xact_lock(hashtextextended(%s, 0))", (key,)))


def hold(database: Database, what: str) -> bool:
    """Takes the lock `what` until the transaction of the database ends. False if it is taken."""
    return _try(database, _key(database.warehouse, what))


def is_held(database: Database, what: str) -> bool:
    """Whether some process holds the lock `what` of this warehouse's schemas."""
    return bool(database.value(f"select exists ({_HELD})", (_key(database.warehouse, what),)))


def is_locked(database: Database, name: str) -> bool:
    """Whether some transaction holds the lock `name` of `Database.lock`."""
    return bool(database.value(f"select exists ({_HELD})", (f"{database.schemas.ops}.{name}",)))


def _key(warehouse: Warehouse, what: str) -> str:
    return f"{what} {warehouse.schemas.ops}"

"""A few connections that the threads of a server share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import (
    APPLICATION_NAME,
    KEEPALIVE,
    Database,
    Warehouse,
    prepare,
)


class NoConnectionError(TutorPipelineError):
    """The database does not answer, or all connections are in use."""


class Pool:
    """At most `size` connections to a warehouse. Who gets none within `seconds` is told so, and
    what somebody does with one for longer than `longest` seconds is canceled.
    """

    def __init__(self, warehouse: Warehouse, *, size: int, seconds: float, longest: float) -> None:
        self._warehouse = warehouse
        self._longest = longest
        named = conninfo_to_dict(warehouse.url)
        self._pool = ConnectionPool(
            warehouse.url,
            min_size=1,
            max_size=size,
            timeout=seconds,
            # Asks for a connection again and again, quickly: who reads a page waits for it.
            reconnect_timeout=2 * seconds,
            max_idle=60,
            check=ConnectionPool.check_connection,
            configure=_configure,
            kwargs={
                "application_name": f"{APPLICATION_NAME} desk",
                "autocommit": True,
                "prepare_threshold": None,
                "connect_timeout": max(2, int(seconds)),
                **{name: value for name, value in KEEPALIVE.items() if name not in named},
            },
            open=False,
        )

    def __enter__(self) -> Self:
        self._pool.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close(timeout=2)

    @contextmanager
    def connection(self) -> Iterator[Database]:
        """A connection in autocommit mode. Raises NoConnectionError."""
        try:
            taken = self._pool.getconn()
        except (PoolTimeout, PoolClosed, psycopg.OperationalError) as error:
            raise NoConnectionError("the database does not answer") from error
        # Not by `statement_timeout`: behind a pooler in transaction mode that would be the limit of
        # somebody else next.
        limit = Timer(self._longest, taken.cancel_safe)
        limit.daemon = True
        limit.start()
        try:
            yield Database(taken, self._warehouse)
        finally:
            limit.cancel()
            # One that cancels at this moment must not cancel what the next one does.
            limit.join()
            self._pool.putconn(taken)


def _configure(connection: psycopg.Connection[Any]) -> None:
    prepare(connection)
    connection.autocommit = True

"""A few connections that the threads of a server share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import psycopg
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
    """At most `size` connections to a warehouse. Who gets none within `seconds` is told so, and a
    statement that takes longer than `statement_seconds` is ended.
    """

    def __init__(
        self, warehouse: Warehouse, *, size: int, seconds: float, statement_seconds: int
    ) -> None:
        self._warehouse = warehouse
        self._limit = f"set statement_timeout = '{statement_seconds}s'"
        self._pool = ConnectionPool(
            warehouse.url,
            min_size=1,
            max_size=size,
            timeout=seconds,
            # Asks for a connection again and again, quickly: who reads a page waits for it.
            reconnect_timeout=2 * seconds,
            max_idle=60,
            check=ConnectionPool.check_connection,
            configure=self._configure,
            kwargs={
                "application_name": f"{APPLICATION_NAME} desk",
                "autocommit": True,
                "prepare_threshold": None,
                "connect_timeout": max(2, int(seconds)),
                **KEEPALIVE,
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
        try:
            yield Database(taken, self._warehouse)
        finally:
            self._pool.putconn(taken)

    def _configure(self, connection: psycopg.Connection[Any]) -> None:
        prepare(connection)
        connection.execute(self._limit)
        connection.autocommit = True

"""The secrets of all sources, read anew every two seconds at most: one that is revoked is no
longer good then, and requests that are not signed do not reach the database.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from starlette.concurrency import run_in_threadpool

from tutor_pipeline.core.warehouse.pool import Pool
from tutor_pipeline.sources.events import secrets

FRESH_SECONDS = 2.0


class KnownSecrets:
    """Secrets by source, for requests of one loop."""

    def __init__(self, pool: Pool, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._clock = clock
        self._known: Mapping[str, Sequence[bytes]] = {}
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    def is_source(self, name: str) -> bool:
        """Whether a source of that name had a secret when they were read last."""
        return name in self._known

    async def of(self, source: str) -> Sequence[bytes]:
        """Returns the secrets of a source that are good now. Raises psycopg.Error and
        TutorPipelineError.
        """
        if time.monotonic() - self._read_at >= FRESH_SECONDS:
            # One reads for all that wait: while the database is away, each would wait its turn
            # otherwise. Who no longer waits does not end it for the others.
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._read())
            await asyncio.shield(self._reading)
        return self._known.get(source, ())

    async def _read(self) -> None:
        asked_at = time.monotonic()
        self._known = await run_in_threadpool(self._active)
        self._read_at = asked_at

    def _active(self) -> Mapping[str, Sequence[bytes]]:
        with self._pool.connection() as database:
            return secrets.active(database, self._clock())

"""The secrets of all sources, read anew every two seconds at most: one that is revoked is no
longer good then, and requests that are not signed do not reach the database.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from threading import Lock

from tutor_pipeline.core.warehouse.pool import Pool
from tutor_pipeline.sources.events import secrets

FRESH_SECONDS = 2.0


class KnownSecrets:
    """Secrets by source. `of` may be called from several threads."""

    def __init__(self, pool: Pool, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._clock = clock
        self._known: Mapping[str, Sequence[bytes]] = {}
        self._read_at = float("-inf")
        self._lock = Lock()

    @property
    def is_fresh(self) -> bool:
        """Whether they were read just now."""
        return time.monotonic() - self._read_at < FRESH_SECONDS

    @property
    def known(self) -> Mapping[str, Sequence[bytes]]:
        """The secrets as they were read last."""
        return self._known

    def read(self) -> None:
        """Reads them, unless they are fresh. Raises psycopg.Error and TutorPipelineError."""
        with self._lock:
            if not self.is_fresh:
                with self._pool.connection() as database:
                    self._known = secrets.active(database, self._clock())
                self._read_at = time.monotonic()

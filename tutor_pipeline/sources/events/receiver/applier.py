"""The thread that applies stored events, as long as there are some."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime
from threading import Event, Thread

import psycopg

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.sources.events import applying

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
"""How often events of other receivers are looked for, and what was held up."""
_HELD_UP_SECONDS, _FAILED_SECONDS = 0.5, 2.0
_IDLE_SECONDS = 60.0
"""Without events for so long, the connection is given back."""
_ANYTHING = """
    select exists (
        select 1 from {ops}.event_inbox where state in ('waiting', 'quarantined')
    ) or exists (
        select 1 from {ops}.event_versions where kept is not null
    )
"""


class Applier:
    """Applies events in a thread of its own. `wake` says that there are new ones."""

    def __init__(self, warehouse: Warehouse, clock: Callable[[], datetime]) -> None:
        self._warehouse = warehouse
        self._clock = clock
        self._new = Event()
        self._ending = False
        self._thread = Thread(target=self._run, name="apply-events", daemon=True)
        self._looked = float("-inf")

    def start(self) -> None:
        """Begins; what was left by another process is applied first."""
        self._thread.start()

    def wake(self) -> None:
        """Says that events were stored."""
        self._new.set()

    def stop(self, seconds: float = 5.0) -> None:
        """Ends after the batch that is being applied."""
        self._ending = True
        self._new.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        said = ""
        while not self._ending:
            try:
                if self._new.is_set() or self._is_anything():
                    self._apply()
                else:
                    self._new.wait(LOOK_SECONDS)
                said = ""
            except psycopg.errors.InsufficientPrivilege:
                # The desk's role in a database with roles: another process takes events there.
                self._pause(LOOK_SECONDS)
            except (psycopg.Error, TutorPipelineError) as error:
                # Once: a database may be away for long.
                if said != (said := str(error).strip().partition("\n")[0]):
                    log.warning("events wait: %s", said)
                self._pause(_FAILED_SECONDS)
            except Exception:
                log.exception("events wait: applying them failed")
                self._pause(LOOK_SECONDS)

    def _is_anything(self) -> bool:
        # Not through the pool: whoever reads a page must not wait for what this one's failures do.
        with self._warehouse.connect(autocommit=True) as database:
            return bool(database.value(_ANYTHING))

    def _apply(self) -> None:
        """Applies until nothing has come for a while."""
        with self._warehouse.connect(autocommit=True) as database:
            idle_since = time.monotonic()
            while not self._ending and time.monotonic() - idle_since < _IDLE_SECONDS:
                self._new.clear()
                self._look_again(database)
                applied = applying.apply_waiting(database, self._clock())
                if applied.events:
                    idle_since = time.monotonic()
                if applied.is_held_up:
                    self._pause(_HELD_UP_SECONDS)
                elif not applied.is_more:
                    self._new.wait(LOOK_SECONDS)

    def _look_again(self, database: Database) -> None:
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            applying.look_again(database, self._clock())
            self._looked = time.monotonic()

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._ending and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))

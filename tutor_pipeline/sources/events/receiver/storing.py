"""Stores events of many requests in one transaction: what waits meanwhile goes with the next one.

An answer follows the commit, so that whoever is told "accepted" need not send again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psycopg

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.pool import Pool
from tutor_pipeline.sources.events import inbox
from tutor_pipeline.sources.events.inbox import Answer, Incoming

log = logging.getLogger(__name__)

MOST_AT_ONCE = 1_000
"""Events of one transaction, unless one request has more."""
MOST_WAITING = 10_000
"""Events that wait to be stored; with more, whoever sends is asked to come later."""


class NotStoredError(Exception):
    """The events were not stored; the sender must send them again."""


_Waiting = tuple[Sequence[Incoming], asyncio.Future[list[Answer]]]


class Storing:
    """Stores events in groups. `stored` is called after each commit, in another thread."""

    def __init__(self, pool: Pool, stored: Callable[[], None]) -> None:
        self._pool = pool
        self._stored = stored
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._events = 0
        self._said = ""
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "store-events")

    def start(self) -> None:
        """Begins to store. Call it in the loop of the requests."""
        self._task = asyncio.get_running_loop().create_task(self._store_groups())

    async def stop(self) -> None:
        """Ends; who waits still is told that nothing was stored."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        while not self._waiting.empty():
            _tell_nothing_was_stored([self._waiting.get_nowait()])
        self._thread.shutdown(wait=False)

    async def store(self, events: Sequence[Incoming]) -> list[Answer]:
        """Stores events. Returns what to answer of each. Raises NotStoredError."""
        if not events:
            return []
        if self._events + len(events) > MOST_WAITING:
            raise NotStoredError
        told: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self._events += len(events)
        self._waiting.put_nowait((events, told))
        return await told

    async def _store_groups(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            group = [await self._waiting.get()]
            size = len(group[0][0])
            while size < MOST_AT_ONCE and not self._waiting.empty():
                group.append(self._waiting.get_nowait())
                size += len(group[-1][0])
            self._events -= size
            events = [event for some, _ in group for event in some]
            try:
                answers = await loop.run_in_executor(self._thread, self._write, events)
            except asyncio.CancelledError:
                _tell_nothing_was_stored(group)
                raise
            except Exception as error:
                # Whatever it is: the next ones must be stored all the same.
                self._warn(error)
                _tell_nothing_was_stored(group)
                continue
            self._said = ""
            start = 0
            for some, told in group:
                if not told.done():
                    told.set_result(answers[start : start + len(some)])
                start += len(some)

    def _warn(self, error: Exception) -> None:
        if not isinstance(error, psycopg.Error | TutorPipelineError):
            log.error("storing events failed", exc_info=error)
        # Once: a database may be away for long.
        elif self._said != (said := str(error).strip().partition("\n")[0]):
            self._said = said
            log.warning("events are not stored: %s", said)

    def _write(self, events: Sequence[Incoming]) -> list[Answer]:
        with self._pool.connection() as database, database.transaction():
            answers = inbox.store(database, events)
        self._stored()
        return answers


def _tell_nothing_was_stored(group: Sequence[_Waiting]) -> None:
    for _, told in group:
        if not told.done():
            told.set_exception(NotStoredError())

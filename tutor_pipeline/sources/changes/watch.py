"""Watches the platform for changes, on one connection: which of its rows to compare at which look.

Nearly every change is of a session of the last hours, so each look compares these, with metrics and
feedback when PostgreSQL counts that somebody wrote. Everything else is compared then, too, and now
and then: slice by slice, the newest first, so that no look takes long.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.sources.changes import counters, ledger
from tutor_pipeline.sources.changes.ledger import Queue, Started

RECENT = timedelta(hours=6)
"""The sessions that each look compares started so long ago at most."""
POLL_SECONDS, QUIET_SECONDS = 0.5, 2.0
"""Between two looks: while sessions change or may end, and when all is quiet."""
_POLL_SHARE, _SWEEP_SHARE = 4, 9
"""Pause this many times as long as a look, or a sweep, took: looks take a fifth of the time at
most, sweeps a tenth.
"""
BUSY_FOR = timedelta(minutes=10)
"""All is quiet when for so long nothing changed, and within as long no session may end."""
_LASTS = timedelta(hours=3)
"""Most sessions end so long after their start."""
_ASK_SECONDS = 60
_SLICE, _SHORTEST, _SLICE_SECONDS = timedelta(days=1), timedelta(hours=12), 0.1
"""The first slice of a sweep, the shortest, and about how long the comparison of one may take."""
_LONGEST_PAUSE = 10
"""Seconds: somebody may switch the run off meanwhile, or a successor be ready."""
_UNCOUNTED_SECONDS, _COUNTED_SECONDS = 10, 60
"""How often everything is compared at least: where nobody counts what is written to the tables, and
where somebody does.
"""


@dataclass(slots=True)
class Sweep:
    """A comparison of everything, in slices; and when the next one is due. Pure: takes the seconds
    of a clock. `seen`: how many rows had been written when the newest began (None: nobody counts).
    """

    seen: int | None = None
    due: float = 0
    not_before: float = 0
    rest: Started | None = None
    length: timedelta = _SLICE
    seconds: float = 0

    @property
    def is_on(self) -> bool:
        """Whether slices are left."""
        return self.rest is not None

    def is_due(self, written: int | None, now: float) -> bool:
        """Whether to begin one: rows were written, or the last one is long ago."""
        return now >= self.due or (written != self.seen and now >= self.not_before)

    def begin(self, window: Started, written: int | None) -> None:
        """Everything in the window is to be compared, of which so many rows have been written."""
        self.rest, self.seen, self.seconds = window, written, 0

    def take(self, *, is_divisible: bool) -> Started:
        """Returns the next slice, the newest that is left."""
        assert self.rest is not None
        since = max(self.rest.since, self.rest.until - self.length)
        return Started(since, self.rest.until) if is_divisible else self.rest

    def made(self, part: Started, took: float, now: float, least: float = 0) -> None:
        """The slice was compared. The next one is longer or shorter, by how long it took; half of
        that may be what the smallest comparison takes (`least`), of which a shorter slice has no
        less.
        """
        assert self.rest is not None
        self.seconds += took
        length = self.length * min(2, max(_SLICE_SECONDS, 2 * least) / took)
        self.length = min(max(length, _SHORTEST), 90 * _SLICE)
        if part.since > self.rest.since:
            self.rest = Started(self.rest.since, part.since)
            return
        self.rest = None
        self.not_before = now + _SWEEP_SHARE * self.seconds
        every = _UNCOUNTED_SECONDS if self.seen is None else _COUNTED_SECONDS
        self.due = max(self.not_before, now + every)


@dataclass(slots=True)
class Watch:
    """What a run that waits for changes does. `database`: its connection, in autocommit."""

    database: Database
    sweep: Sweep = field(default_factory=Sweep)
    written: int | None = None
    seen: int | None = None
    not_before: float = 0
    least: float = 0
    changed: float = field(default_factory=time.monotonic)
    asked: float = float("-inf")
    may_end: bool = True

    def look(self, now: datetime) -> Queue:
        """Compares the sessions of the last hours, after somebody wrote with metrics and feedback.
        Returns what waits, also of earlier looks.
        """
        began = time.monotonic()
        # First: what is written meanwhile is to be compared again.
        self.written = counters.written(self.database)
        recent = Started(now - RECENT, now) if ledger.is_divisible(self.database) else None
        whole = recent is not None and self.written != self.seen and began >= self.not_before
        queue = ledger.compare(self.database, now, whole=whole, started=recent)
        ended = time.monotonic()
        self.least = ended - began
        if whole and queue.is_compared:
            self.seen, self.not_before = self.written, ended + _POLL_SHARE * self.least
        if queue.changes:
            self.changed = time.monotonic()
        return queue

    def look_further(self, now: datetime) -> bool:
        """Compares the next slice of everything. What it finds waits for the next look. Returns
        False if that is not due, or somebody else compares just now.
        """
        began = time.monotonic()
        if not self.sweep.is_on:
            if not self.sweep.is_due(self.written, began):
                return False
            self.sweep.begin(ledger.window(now), self.written)
        part = self.sweep.take(is_divisible=ledger.is_divisible(self.database))
        if not ledger.compare(self.database, now, whole=True, started=part).is_compared:
            return False
        ended = time.monotonic()
        self.sweep.made(part, ended - began, ended, self.least)
        return True

    def pause(self, now: datetime, took: float) -> float:
        """Returns how many seconds to wait after a look that took so long."""
        clock = time.monotonic()
        if clock - self.asked > _ASK_SECONDS:
            self.may_end = ledger.is_any(self.database, Started(now - _LASTS, now + BUSY_FOR))
            self.asked = clock
        is_busy = self.may_end or clock - self.changed < BUSY_FOR.total_seconds()
        share = min(_POLL_SHARE * took, _LONGEST_PAUSE)
        return max(POLL_SECONDS if is_busy else QUIET_SECONDS, share)


@contextmanager
def watch(warehouse: Warehouse) -> Iterator[Watch]:
    """Watches until the context ends."""
    # Autocommit: each comparison is a transaction of its own, and the counters are read anew.
    with warehouse.connect(autocommit=True) as database:
        yield Watch(database)

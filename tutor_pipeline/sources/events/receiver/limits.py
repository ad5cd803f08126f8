"""How much a receiver takes at once, and how fast."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of requests: bytes, lines of a batch, seconds to come in, requests that are not
    verified yet, and of one source events a second, `burst` of them at once.
    """

    body: int = 5 * 1024 * 1024
    event: int = 20 * 1024
    lines: int = 1_000
    seconds: float = 10.0
    unverified: int = 32
    per_second: float = 1_000.0
    burst: float = 20_000.0


class Pace:
    """Says whether a source may send so many events now: a bucket of tokens per source."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_for(self, source: str, events: int) -> float:
        """Takes the events from the bucket. Returns 0, or the seconds after which there is room;
        then nothing was taken.
        """
        now = self._clock()
        left, since = self._buckets.get(source, (self._limits.burst, now))
        left = min(self._limits.burst, left + (now - since) * self._limits.per_second)
        if events <= left:
            self._buckets[source] = (left - events, now)
            return 0.0
        self._buckets[source] = (left, now)
        return (events - left) / self._limits.per_second

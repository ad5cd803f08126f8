"""Chooses the tutors whose changes a refresh takes together. Pure.

Belongs here: the order of tutors, and the search for the tutor whose changes make a batch fail.
Does not belong here: reading and counting attempts (ledger.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import NamedTuple

MAX_ATTEMPTS = 3
"""Attempts of a batch before it is split to find the tutor who makes it fail."""
PATIENCE = timedelta(minutes=5)
"""The longest time that tutors whose batch failed wait behind the others."""


class Waiting(NamedTuple):
    """A tutor with changes. `attempts`: the most attempts of any of them."""

    tutor_id: str
    attempts: int
    oldest_at: datetime
    retry_at: datetime | None


def choose(tutors: Sequence[Waiting], as_of: datetime) -> tuple[Sequence[Waiting], bool]:
    """Returns the tutors to take together, and whether that is one tutor's last attempt.

    Tutors whose changes failed fewer than MAX_ATTEMPTS times come all together. The others are
    halved at each further attempt, by one more bit of a hash of their id: a search for the tutor
    who makes the batch fail that needs no state but the attempts. A tutor who was set aside is
    tried alone.
    """
    fresh = [each for each in tutors if each.retry_at is None and each.attempts < MAX_ATTEMPTS]
    suspects = [each for each in tutors if each.retry_at is None and each.attempts >= MAX_ATTEMPTS]
    due = sorted(
        (each.retry_at, each) for each in tutors if each.retry_at and each.retry_at <= as_of
    )
    late = as_of - PATIENCE
    waited = [each.oldest_at for each in suspects] + [retry_at for retry_at, _ in due]
    if fresh and all(since >= late for since in waited):
        return fresh, False
    if suspects:
        least = min(each.attempts for each in suspects)
        bits = min(least - MAX_ATTEMPTS + 1, 64)
        parts: dict[int, list[Waiting]] = {}
        for each in suspects:
            if each.attempts == least:
                parts.setdefault(_hash(each.tutor_id) >> (64 - bits), []).append(each)
        part = parts[min(parts)]
        return part, len(part) == 1
    if due:
        return [due[0][1]], True
    return fresh, False


def _hash(tutor_id: str) -> int:
    return int.from_bytes(blake2b(tutor_id.encode(), digest_size=8).digest())

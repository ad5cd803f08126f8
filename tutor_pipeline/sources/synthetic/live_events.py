"""Transactions of a simulated live platform as values: what is asked for, and what comes out.

Belongs here: the plan, the tutors who teach, events and the statements that they consist of.
Does not belong here: which events happen (live_simulation.py), committing them (live_player.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.sources.synthetic.personas import Traits
from tutor_pipeline.sources.synthetic.population import Array

MOST_PER_SECOND = 100.0  # what one connection can write; for more, use `generate`
LEAST_PER_SECOND = 1 / 86_400
BURST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Delay:
    """A random delay in seconds: `least` plus an exponential part with the given mean, capped."""

    least: float
    mean: float
    most: float

    def draw(self, rng: np.random.Generator, size: int) -> Array:
        """Returns `size` delays in seconds."""
        rest = rng.exponential(self.mean - self.least, size)
        return np.minimum(self.least + rest, self.most)


@dataclass(frozen=True, slots=True)
class Habits:
    """How the platform writes its rows. Shares (0 to 1) are of all sessions."""

    # Metrics and the bill: in the transaction of the session, or in a later one.
    metrics_at_once: float = 0.5
    metrics_delay: Delay = Delay(1, 6, 60)
    # Feedback always comes later. `observations.COVERAGE` says how many sessions get it.
    feedback_delay: Delay = Delay(15, 180, 1800)
    # Transactions that stay open while others that began later commit.
    held: float = 0.02
    held_for: Delay = Delay(2, 8, 30)
    # A later change of the session; at most one of these.
    corrected: float = 0.02  # a new score, or an excused no-show; other sessions stay as they are
    deleted: float = 0.01
    moved_to_tutor: float = 0.005
    moved_to_day: float = 0.005
    fate_delay: Delay = Delay(20, 120, 900)
    farthest_move: int = 20  # days


@dataclass(frozen=True, slots=True)
class Plan:
    """How many sessions arrive: `burst` within the first minute, then `per_second` steadily.

    `poor_firsts` is the share (0 to 1) of sessions that are poor first sessions of new pairs.
    """

    per_second: float
    burst: int = 0
    seed: int = 7
    poor_firsts: float = 0.0
    habits: Habits = field(default_factory=Habits)

    def __post_init__(self) -> None:
        """Raises UsageError for values that cannot be simulated."""
        if self.per_second and not LEAST_PER_SECOND <= self.per_second <= MOST_PER_SECOND:
            raise UsageError(
                f"--rate must be 0 or between 1/day and {MOST_PER_SECOND:.0f}/s"
                f" ({MOST_PER_SECOND * 86_400:.0f}/day)."
            )
        if not 0 <= self.burst <= 1_000_000:
            raise UsageError(f"--burst is {self.burst}, but it must be between 0 and 1000000.")
        if not self.per_second and not self.burst:
            raise UsageError("--rate 0 without --burst: there is nothing to simulate.")
        if not 0 <= self.poor_firsts <= 1:
            raise UsageError(
                f"--poor-firsts is {self.poor_firsts:g}, but it must be between 0 and 1."
            )
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"--seed is {self.seed}, but it must be between 0 and 2^63 - 1.")


@dataclass(slots=True)
class Pair:
    """A student who works with one tutor; they have completed `held` sessions."""

    student_id: str
    held: int
    subject_id: str
    subject: str
    grade_level: str
    bargain: float  # share of the student's sessions that are discounted


@dataclass(frozen=True, slots=True)
class Cast:
    """The tutors who teach, in the same order in every field. `pairs` are oldest first."""

    tutor_ids: tuple[str, ...]
    traits: Traits
    burnout: Array
    spirits: Array
    hourly_rate: Array
    subjects: tuple[tuple[tuple[str, str], ...], ...]  # (id, name), the primary one first
    pairs: tuple[tuple[Pair, ...], ...]


class Verb(StrEnum):
    """What a statement does. Repeating a statement has no further effect."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Write:
    """One statement. Inserts the row `values`, or updates or deletes the rows of the session."""

    verb: Verb
    table: str
    values: Mapping[str, Any] = field(default_factory=dict)


class Kind(StrEnum):
    """What a transaction is about."""

    SESSION = "session"
    METRICS = "metrics"
    FEEDBACK = "feedback"
    CORRECTION = "correction"
    DELETION = "deletion"
    MOVED_TO_TUTOR = "moved_to_tutor"
    MOVED_TO_DAY = "moved_to_day"


@dataclass(frozen=True, slots=True)
class Event:
    """One transaction. It begins `at` seconds after the start and commits `held_for` s later.

    `details` of a session: its `status` and, for a poor first session, its place in the tutor's
    run of those (`poor_first`, from 1). `details` of a correction or a move: the values it sets.
    """

    at: float
    kind: Kind
    tutor_id: str
    session_id: str
    writes: tuple[Write, ...]
    details: Mapping[str, Any]
    held_for: float = 0.0

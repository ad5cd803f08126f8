"""The hidden state of tutors: burnout per day, runs of bad days, and leaving.

Belongs here: the state per tutor and day; who leaves when and why.
Does not belong here: anything that a platform could record.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tutor_pipeline.sources.synthetic.personas import Traits
from tutor_pipeline.sources.synthetic.population import Array, stream
from tutor_pipeline.sources.synthetic.worlds import ORDINARY, World

AT_RISK = 0.6  # burnout from which a tutor counts as at risk
LEFT_SHARE = 0.08  # of the tutors have left by the end
NOTICE_DAYS = 14  # from the decision to leave to the day of leaving
HISTORY_DAYS = 90  # a shorter window is the end of a history of this length

# Why tutors leave: burnout; reasons outside the work; the work, but without signs.
LEAVE_CAUSES = ("burnout", "outside", "sudden")
BURNOUT, OUTSIDE, SUDDEN = range(len(LEAVE_CAUSES))

MOST_CALM = 0.55  # upper bound of burnout for tutors without signs
PEAKS = (0.7, 1.0)  # range of the peak of late burnout; it rises and falls within RISE_DAYS
RISE_DAYS = 3

DAYS_PER_MONTH = 30.44

STAYED = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class HiddenDays:
    """The hidden state. Matrices are tutors x days of the window. `left_on` counts days from its
    start (negative: before it; STAYED: never). `cause` is an index into LEAVE_CAUSES.
    """

    burnout: Array
    spirits: Array  # shift of teaching quality beyond burnout, in standard deviations, ≤ 0
    left_on: Array
    cause: Array

    @property
    def outside(self) -> Array:
        """True for tutors who leave for outside reasons."""
        return np.asarray(self.cause == OUTSIDE)


def live_through(seed: int, traits: Traits, days: int, world: World = ORDINARY) -> HiddenDays:
    """Draws burnout, spirits and departures of every tutor over a window of `days` days."""
    rng = stream(seed, "burnout")
    history = max(days, HISTORY_DAYS)
    burnout, calm = _burnout(rng, traits, history)
    if world.alike:
        burnout = np.broadcast_to(traits.risk[:, None], burnout.shape)
    spirits = _spirits(rng, traits, history)
    left_on, cause = _departures(rng, burnout, joined_on(traits.months, history), world)
    if world.late_days:
        burnout = _late(rng, calm, left_on, cause, world.late_days)
    burnout = np.where((cause == SUDDEN)[:, None], calm, burnout)
    before = history - days
    return HiddenDays(
        burnout=burnout[:, before:],
        spirits=spirits[:, before:],
        left_on=np.where(left_on == STAYED, STAYED, left_on - before),
        cause=cause,
    )


def joined_on(months: Array, days: int) -> Array:
    """Returns the day on which tutors joined `months` ago, from the start of a window of `days`
    days.
    """
    return days - np.round(months * DAYS_PER_MONTH).astype(np.int64)


def _burnout(rng: np.random.Generator, traits: Traits, days: int) -> tuple[Array, Array]:
    """Draws two matrices of burnout, tutors x days.

    The first has drift back to the tutor's own level, daily noise, and rare jumps that wear off.
    The second has the drift alone, and nobody at risk.
    """
    tutors = len(traits.risk)
    burnout, calm = np.empty((tutors, days)), np.empty((tutors, days))
    drift = rng.normal(0, 0.06, tutors)
    jump = np.zeros(tutors)
    for day in range(days):
        drift = 0.95 * drift + rng.normal(0, 0.02, tutors)
        hit = rng.random(tutors) < 0.3 / 90
        jump = 0.97 * jump + np.where(hit, rng.uniform(0.15, 0.40, tutors), 0.0)
        calm[:, day] = traits.risk + drift
        burnout[:, day] = calm[:, day] + jump
    last_days = np.clip((np.arange(days) - (days - 1 - 14)) / 14, 0, 1)
    burnout += np.where(traits.is_a("burned_out_veteran"), 0.35, 0.0)[:, None] * last_days
    return np.clip(burnout, 0.0, 1.0), np.clip(calm, 0.0, MOST_CALM)


def _late(
    rng: np.random.Generator, calm: Array, left_on: Array, cause: Array, late_days: int
) -> Array:
    """Draws burnout that rises steeply in the last days before leaving. It rises in equally many
    tutors who recover and stay.
    """
    tutors, days = calm.shape
    leaves = (left_on != STAYED) & (cause == BURNOUT)
    recovers = np.zeros(tutors, dtype=bool)
    recovers[rng.permutation(np.flatnonzero(left_on == STAYED))[: leaves.sum()]] = True
    until = np.where(recovers, rng.integers(late_days, days + 1, tutors), left_on)
    peak: Array = rng.uniform(*PEAKS, (tutors, 1))
    left = until[:, None] - np.arange(days)  # days until then, including the current one
    rise = np.clip((late_days + 1 - left) / RISE_DAYS, 0, 1)
    rise = np.where(recovers[:, None], np.minimum(rise, left / RISE_DAYS), rise)
    rise = np.where((leaves | recovers)[:, None] & (left > 0), rise, 0.0)
    return np.asarray(calm + (peak - calm) * rise)


def _spirits(rng: np.random.Generator, traits: Traits, days: int) -> Array:
    """Draws the shift of teaching quality: runs of bad days, and the decline of some veterans."""
    tutors = len(traits.risk)
    starts = rng.random((tutors, days)) < 1 / 32
    lengths = rng.integers(6, 11, (tutors, days))
    ends = np.where(starts, np.arange(days) + lengths, 0)
    in_run = np.arange(days) < np.maximum.accumulate(ends, axis=1)
    runs = np.where(traits.has("runs_of_bad_days")[:, None] & in_run, -4.0, 0.0)
    onset = days - rng.integers(10, 17, tutors)
    depth = rng.uniform(4.5, 6.0, tutors)
    fallen = np.clip((np.arange(days) - onset[:, None]) / 4, 0, 1)
    decline = -np.where(traits.has("declining_veteran"), depth, 0.0)[:, None] * fallen
    return runs + decline


def _departures(
    rng: np.random.Generator, burnout: Array, joined: Array, world: World
) -> tuple[Array, Array]:
    """Draws the day of leaving per tutor and the cause; the shares are exact.

    Proportional hazards: a tutor leaves when the accumulated hazard exceeds an exponentially
    distributed threshold. The base rate is chosen so that LEFT_SHARE of the tutors leave.
    """
    tutors, days = burnout.shape
    leavers = round(LEFT_SHARE * tutors)
    unseen = [round(world.outside_share * leavers), round(world.sudden_share * leavers)]
    cause = np.full(tutors, BURNOUT)
    cause[rng.permutation(tutors)[: sum(unseen)]] = np.repeat([OUTSIDE, SUDDEN], unseen)
    some_day = rng.integers(np.clip(joined, 0, days - 1), days)
    left_on = np.where(cause != BURNOUT, some_day, STAYED)
    thresholds = np.where(cause != BURNOUT, np.inf, rng.exponential(1.0, tutors))
    # The hazard of a day depends on burnout NOTICE_DAYS before, from the day of joining on.
    decided = np.maximum(np.arange(days) - NOTICE_DAYS, 0)
    there = decided >= np.minimum(joined, days - 1)[:, None]
    pressure = np.exp(world.hazard_growth * burnout[:, decided])
    hazard = np.cumsum(np.where(there, pressure, 0.0), axis=1)
    needed = np.sort(thresholds / hazard[:, -1])
    worn_out = leavers - sum(unseen)
    if worn_out:
        rate = np.sqrt(needed[worn_out - 1] * needed[worn_out])
        day = (rate * hazard < thresholds[:, None]).sum(axis=1)
        left_on = np.where(day < days, day, left_on)
    return left_on, cause

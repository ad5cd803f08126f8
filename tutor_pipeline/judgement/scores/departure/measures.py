"""How a sign is measured, for tutors and students alike.

Belongs here: the sign that two compared numbers give, and its variance by chance alone.
Does not belong here: which columns are compared (`tutors.evidence`, `students.evidence`), how a
sign compares with other people's (`reference`).

A sign is higher where the risk is higher, and NaN where it is not known. Counts are compared by the
logarithm of their ratio, which is the same for half of 4 and half of 40. `PSEUDO` is added to both
sides, so that a ratio of small counts says little.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutor_pipeline.judgement.scores.score import Row

Array = NDArray[np.float64]
Columns = Mapping[str, Array]
"""The columns of a table of evidence by name: a number per row, NaN for NULL."""

PSEUDO = 0.5  # sessions or days
FEWEST_DAYS = 14  # days of an own past that a change needs
OWN_PAST = 10.0  # sessions at the platform's rate, added to an own rate
LONGEST_GAP = 91.0  # days, where there is no completed session
MOST_UNCLEAR = 0.2  # of the sessions ahead; beyond it, what is booked ahead is not known
LEAST_BOOKED = 0.02  # of the usual pace; below it, the platform does not book ahead


@dataclass(frozen=True, slots=True)
class Measured:
    """One sign, by row. `value`: higher is more at risk, NaN is not known. `variance`: by chance
    alone, 0 where it is not known. `now` and `usual` are the compared numbers, `n` and `n_usual`
    the observations behind them.
    """

    value: Array
    variance: Array
    now: Array
    usual: Array
    n: Array
    n_usual: Array


def columns_of(rows: Sequence[Row], names: Sequence[str]) -> dict[str, Array]:
    """Returns these columns of the rows."""
    return {
        name: np.array(
            [np.nan if (value := row[name]) is None else value for row in rows],
            dtype=np.float64,
        )
        for name in names
    }


def counted(now: Array, expected: Array, before: Array) -> Measured:
    """Returns the sign of fewer than expected; both counts vary as counts do (Poisson)."""
    value = -np.log((now + PSEUDO) / (expected + PSEUDO))
    return Measured(
        value, 1 / (expected + PSEUDO) + 1 / (before + PSEUDO), now, expected, now, before
    )


def gap(c: Columns, pace: Array) -> Measured:
    """Returns the sign of the sessions that would have been usual since the last one."""
    days = known_gap(c)
    # Without two sessions there is no gap between them.
    value = np.where(c["completed_before_14d"] >= 2, np.log1p(np.maximum(days * pace, 0)), np.nan)
    # A gap varies as waiting times do: the variance of log(1 + x) for an exponential x.
    variance = np.where(np.isfinite(value), 0.3, np.nan)
    return Measured(value, variance, days, 1 / pace, c["completed_before_14d"], c["days_seen"])


def known_gap(c: Columns) -> Array:
    """Returns the days since the last completed session, or LONGEST_GAP."""
    days = c["days_since_completed"]
    return np.where(np.isfinite(days), days, LONGEST_GAP)


def per_day(total: Array, c: Columns, recent: int) -> Array:
    """Returns a total of the 8 weeks before the recent days, a day; NaN with too short a past."""
    days = np.clip(c["days_seen"] - recent, 0, 56)
    return total / np.where(days >= FEWEST_DAYS, days, np.nan)


def pace(c: Columns, recent: int) -> Array:
    """Returns completed sessions a day in the 8 weeks before the recent days; NaN with too
    short a past.
    """
    return per_day(c[f"completed_before_{recent}d"], c, recent)


def changed_rate(now: Array, n: Array, past: Array, n_past: Array, rate: float | None) -> Measured:
    """Returns the sign of a higher share of sessions than in the own past."""
    p = np.nan if rate is None else rate
    own = (past + OWN_PAST * p) / (n_past + OWN_PAST)
    chance = p * (1 - p)
    share = np.where(n > 0, now / n, np.nan)
    variance = chance * (1 / np.maximum(n, 1) + 1 / (n_past + OWN_PAST))
    before = np.where(n_past > 0, past / n_past, p)
    return Measured(share - own, variance, share, before, n, n_past)


def rate_level(now: Array, n: Array, past: Array, n_past: Array, rate: float | None) -> Measured:
    """Returns the sign of a higher share of sessions than the others have."""
    p = np.nan if rate is None else rate
    chance = p * (1 - p)
    sessions = n + n_past
    share = np.where(sessions > 0, (now + past) / sessions, np.nan) + 0 * p
    average = np.full_like(share, p)
    return Measured(
        share, chance / np.maximum(sessions, 1), share, average, sessions, unknown(share)
    )


def changed_mark(c: Columns, mark: str, within: float | None) -> Measured:
    """Returns the sign of a lower mark than in the own past."""
    now, past = c[f"{mark}_28d"], c[f"{mark}_before"]
    n, n_past = c[f"{mark}_28d_n"], c[f"{mark}_before_n"]
    single = 0.0 if within is None else within
    return Measured(past - now, single * (1 / n + 1 / n_past), now, past, n, n_past)


def mark_level(c: Columns, mark: str, within: float | None) -> Measured:
    """Returns the sign of a lower mark than the others have."""
    now, past = c[f"{mark}_28d"], c[f"{mark}_before"]
    n, n_past = c[f"{mark}_28d_n"], c[f"{mark}_before_n"]
    single = 0.0 if within is None else within
    count = n + n_past
    mean = (np.nan_to_num(now) * n + np.nan_to_num(past) * n_past) / count
    return Measured(-mean, single / count, mean, unknown(mean), count, unknown(mean))


def variance_within(c: Columns, mark: str) -> float | None:
    """Returns the variance of one session's mark, from the changes of its means; None with fewer
    than 10 changes.
    """
    n, n_past = c[f"{mark}_28d_n"], c[f"{mark}_before_n"]
    with np.errstate(all="ignore"):
        change = c[f"{mark}_28d"] - c[f"{mark}_before"]
        single = 1 / n + 1 / n_past
    known = np.isfinite(change) & np.isfinite(single)
    if known.sum() < 10:
        return None
    change = change[known] - np.median(change[known])
    # By the median (0.4549 for chi-squared), so that the few who really changed do not count.
    return rounded(float(np.median(change**2 / single[known])) / 0.4549)


def happens(happened: float, among: float) -> float | None:
    """Returns the share of sessions to which something happens; None where it never happened, as it
    may not be recorded at all.
    """
    return rounded(happened / among) if among and happened else None


def happens_among(c: Columns, happened: str, among: str) -> float | None:
    """Returns the share of 12 weeks' sessions to which something happens, like `happens`, over the
    spans in which it is known how often it happened.
    """
    events, sessions = 0.0, 0.0
    for days in ("28d", "before"):
        count = c[f"{happened}_{days}"]
        events += total(count)
        sessions += total(c[f"{among}_{days}"][np.isfinite(count)])
    return happens(events, sessions)


def booked_share(c: Columns) -> float | None:
    """Returns sessions booked ahead ÷ the usual sessions of as many days; None where the platform
    does not book ahead, or does not say when.
    """
    expected = 14 * pace(c, 14)
    has_pace = np.isfinite(expected) & ~is_unclear(c)
    ahead, unclear = total(c["booked_ahead"]), total(c["booked_unclear"])
    if not ahead or unclear > MOST_UNCLEAR * (ahead + unclear):
        return None
    usually = total(expected[has_pace])
    share = total(c["booked_ahead"][has_pace]) / usually if usually else 0.0
    return rounded(share) if share > LEAST_BOOKED else None


def booked_ahead(c: Columns, usual_pace: Array, share: float | None) -> Measured:
    """Returns the sign of fewer sessions booked ahead than usual."""
    known = np.nan if share is None else share
    expected = np.where(is_unclear(c), np.nan, 14 * usual_pace * known)
    return counted(c["booked_ahead"], expected, c["completed_before_14d"])


def is_unclear(c: Columns) -> NDArray[np.bool_]:
    """Returns for whom too many sessions ahead have no known moment of booking."""
    ahead, unclear = c["booked_ahead"], c["booked_unclear"]
    return np.asarray(unclear > MOST_UNCLEAR * (ahead + unclear))


def total(values: Array) -> float:
    """Returns the exact sum of the known values, which the order of the rows does not change."""
    return math.fsum(values[np.isfinite(values)].tolist())


def rounded(value: float) -> float:
    """Returns the value rounded to nine digits."""
    return round(value, 9)


def unknown(like: Array) -> Array:
    """Returns an array of NaN of the same shape."""
    return np.full_like(like, np.nan)

"""Makes a version of a forecast from documented weights and recorded departures.

Belongs here: the prior, how departures change it, the cut-offs.
Does not belong here: which rows may be learned from (`outcomes`), scoring (`scorer`).

A Bayesian logistic regression (`regression`). Before anything is learned the documented weights
(signs.yml) hold, and the intercept follows from the yearly rate of departures. Departures change
the weights within a guarding structure: one multiplier m ~ N(1, 0.5) for all weights, and
deviations ~ N(0, 0.15) for single ones. If departures were random the multiplier would go to 0,
and the order would stay the documented one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tutor_pipeline.judgement.scores.departure.forecast import HORIZON_DAYS, Forecast
from tutor_pipeline.judgement.scores.departure.measures import Array
from tutor_pipeline.judgement.scores.departure.signs import Signs
from tutor_pipeline.judgement.scores.departure.version import Version, log_odds, probability
from tutor_pipeline.judgement.scores.regression import Prior, posterior, unlearned

MULTIPLIER_SD, DEVIATION_SD, INTERCEPT_SD = 0.5, 0.15, 1.0
ENOUGH_DEPARTURES = 20
"""From so many departures on, forecasts are percentages."""

RAISED_SHARE = 0.10
FEWEST_HIGH = 1
HIGH_TIMES, HIGH_TIMES_UNLEARNED, RAISED_TIMES = 3.0, 4.0, 1.5
"""Cut-offs. Medium: at most RAISED_SHARE of the reference rows, and at least RAISED_TIMES the base
rate. High: at most the forecast's `high_share` (but FEWEST_HIGH rows), and at least HIGH_TIMES.
"""

STEP_DAYS = 7
"""Days between the rows of one person. Their windows overlap, and together weigh as one."""

_LEAST_SCALE = 0.1
_NO_VARIANCE = 1e-12  # rounding errors of zero
_DIGITS = 9


@dataclass(frozen=True)
class Outcomes:
    """The rows to learn from: `z` (rows x signs), whether the person of each row `left`, and the
    number of that person (`whose`).

    `learned_from`, `learned_until`: the days of the oldest and newest row; `known_on`: the day by
    which the last outcome was known. ISO dates, None without rows.
    """

    z: Array
    left: Any
    whose: Any
    learned_from: str | None = None
    learned_until: str | None = None
    known_on: str | None = None

    @property
    def departures(self) -> int:
        """The number of distinct people who left."""
        return len(np.unique(self.whose[self.left]))


def nothing(forecast: Forecast) -> Outcomes:
    """Returns outcomes without rows."""
    return Outcomes(
        np.zeros((0, len(forecast.codes))), np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64)
    )


def monthly(yearly_rate: float) -> float:
    """Returns the share that leaves within the horizon, given the share within a year."""
    return float(1 - (1 - yearly_rate) ** (HORIZON_DAYS / 365.25))


def learn(
    forecast: Forecast,
    reference_rows: Array,
    known: frozenset[str],
    outcomes: Outcomes,
    yearly_rate: float,
) -> Version:
    """Returns a version. `reference_rows` (rows x signs) are those that cut-offs are fixed on: the
    matured rows, or today's where there are none. `known`: the signs that the platform has.

    The order of the rows has no effect. Without departures the version is the prior's, whatever the
    rows.
    """
    signs = tuple(code for code in forecast.codes if code in known)
    places = [forecast.codes.index(code) for code in signs]
    rows = reference_rows[:, places]
    documented = forecast.signs.default_weights(known)
    weights = np.array([documented[code] for code in signs])
    agreement, scale = _agreement(forecast.signs, rows, signs, weights)
    weights = weights / scale if scale else weights
    standing_out = _standing_out(rows @ weights)
    departures = outcomes.departures
    # Where groups of signs do not agree, their sum is chance, and departures count for more.
    trust = _trust(agreement, standing_out)
    expected = trust + (1 - trust) * _learned_share(departures)
    prior = Prior(
        intercept=_intercept(rows, weights, expected, yearly_rate),
        intercept_sd=INTERCEPT_SD,
        multiplier=expected,
        multiplier_sd=MULTIPLIER_SD,
        deviation_sd=DEVIATION_SD,
    )
    # Overlapping windows of one person weigh as one.
    fitted = (
        posterior(outcomes.z[:, places], outcomes.left, weights, prior, STEP_DAYS / HORIZON_DAYS)
        if departures
        else unlearned(weights, prior)
    )
    version = Version(
        forecast=forecast,
        signals=signs,
        weights=_plain(weights),
        multiplier=round(fitted.multiplier, _DIGITS),
        deviations=_plain(fitted.deviations),
        intercept=round(fitted.intercept, _DIGITS),
        covariance=tuple(_plain(row) for row in fitted.covariance),
        agreement=round(agreement, _DIGITS),
        standing_out=round(standing_out, _DIGITS),
        base_rate=0.0,
        medium_above=1.0,
        high_above=1.0,
        is_probability=departures >= ENOUGH_DEPARTURES,
        departures=departures,
        learned_rows=len(outcomes.z) if departures else 0,
        reference_rows=len(reference_rows),
        yearly_rate=yearly_rate,
    )
    return _with_cut_offs(_dated(version, outcomes), reference_rows)


def _learned_share(departures: int) -> float:
    return min(departures / ENOUGH_DEPARTURES, 1.0)


def _dated(version: Version, outcomes: Outcomes) -> Version:
    if not version.departures:
        return version
    return replace(
        version,
        learned_from=outcomes.learned_from,
        learned_until=outcomes.learned_until,
        known_on=outcomes.known_on,
    )


def _agreement(
    signs: Signs, rows: Array, codes: Sequence[str], weights: Array
) -> tuple[float, float]:
    """Returns how far groups of signs agree (1: not at all), and the standard deviation of their
    sum, which is at least _LEAST_SCALE of what independent groups would have.

    Without that minimum, weights divided by the deviation would grow without bounds where people
    hardly differ.
    """
    if len(rows) < 2:
        return 1.0, 0.0
    summed: dict[str, Array] = {}
    weighed: dict[str, float] = {}
    for place, code in enumerate(codes):
        group = signs.by_code[code].group
        summed[group] = summed.get(group, 0.0) + weights[place] * rows[:, place]
        weighed[group] = weighed.get(group, 0.0) + float(weights[place])
    apart = sum(float(np.var(np.sort(each))) for each in summed.values())
    together = float(np.var(np.sort(sum(summed.values(), start=np.zeros(len(rows))))))
    least = _LEAST_SCALE * math.hypot(*weighed.values())
    return (together / apart if apart > _NO_VARIANCE else 1.0), max(math.sqrt(together), least)


def _standing_out(summed: Array) -> float:
    """Returns how far out the highest 2 % of the sums are, as a multiple of a normal variable's."""
    if len(summed) < 2:
        return 1.0
    low, middle, high, highest = np.quantile(np.sort(summed), (0.1, 0.5, 0.9, 0.98))
    spread = float(high - low) / 2.563
    return float(highest - middle) / (2.054 * spread) if spread > _NO_VARIANCE else 1.0


def _trust(agreement: float, standing_out: float) -> float:
    """Returns the multiplier before anything is learned: small where groups of signs agree only by
    chance and nobody stands out beyond chance.
    """
    told = max((agreement - 1) / 0.5, (standing_out - 1.1) / 0.8)
    return math.sqrt(min(max(told, 0.04), 1.0))


def _intercept(rows: Array, weights: Array, multiplier: float, yearly_rate: float) -> float:
    """Returns the intercept at which the mean forecast is the share that leaves in the horizon."""
    share = monthly(yearly_rate)
    guess = math.log(share / (1 - share))
    if not len(rows):
        return guess
    from scipy.optimize import brentq
    from scipy.special import expit

    summed = np.sort(multiplier * (rows @ weights))
    widest = float(np.abs(summed).max()) + 1
    found = brentq(
        lambda intercept: float(np.mean(expit(intercept + summed))) - share,
        guess - widest,
        guess + widest,
        xtol=1e-13,
    )
    return round(float(found), _DIGITS)


def _with_cut_offs(version: Version, rows: Array) -> Version:
    """Returns the version with its base rate and cut-offs, fixed on the reference rows."""
    learned = _learned_share(version.departures)
    times = HIGH_TIMES_UNLEARNED + (HIGH_TIMES - HIGH_TIMES_UNLEARNED) * learned
    forecasts = np.sort(probability(log_odds(version, rows)))[::-1]
    base = float(np.mean(forecasts)) if len(forecasts) else monthly(version.yearly_rate)

    def cut_off(share: float, times: float) -> float:
        """Returns what this share of the rows exceeds at most, and at least so many base rates."""
        if not len(forecasts):
            return round(times * base, _DIGITS)
        place = min(max(int(share * len(forecasts)), FEWEST_HIGH), len(forecasts) - 1)
        return round(max(float(forecasts[place]), times * base), _DIGITS)

    return replace(
        version,
        base_rate=round(base, _DIGITS),
        medium_above=cut_off(RAISED_SHARE, RAISED_TIMES),
        high_above=cut_off(version.forecast.high_share, times),
    )


def _plain(values: Array) -> tuple[float, ...]:
    return tuple(round(float(each), _DIGITS) + 0.0 for each in values)

"""From documented weights and recorded departures to a version.

Belongs here: the prior, what the departures change of it, the cut-offs. Does not belong here:
which rows may be learned from (`outcomes`), scoring.

A Bayesian logistic regression (`regression`). Before anything is learned the documented weights
(signals.yml) count as they are, and the intercept is what the yearly rate of departures says.
Each departure moves it within a structure that guards it: the weights as a whole by one
multiplier m ~ N(1, 0.5), single ones by deviations ~ N(0, 0.15) in the same unit. Were departures
random, the multiplier goes to 0 and the order stays the documented one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tutor_pipeline.judgement.scores.departure.forecast import HORIZON_DAYS, Forecast
from tutor_pipeline.judgement.scores.departure.measures import Array
from tutor_pipeline.judgement.scores.departure.signals import Signals
from tutor_pipeline.judgement.scores.departure.version import Version, log_odds, probability
from tutor_pipeline.judgement.scores.regression import Prior, posterior, unlearned

MULTIPLIER_SD, DEVIATION_SD, INTERCEPT_SD = 0.5, 0.15, 1.0
ENOUGH_DEPARTURES = 20
"""From here on forecasts may be read as percentages."""

RAISED_SHARE = 0.10
FEWEST_HIGH = 1
HIGH_TIMES, HIGH_TIMES_UNLEARNED, RAISED_TIMES = 3.0, 4.0, 1.5
"""High and Medium: at most so high a share of the rows (High: the forecast's `high_share`, of few
rows FEWEST_HIGH), and so many times the base rate at least.
"""

STEP_DAYS = 7
"""Rows of one person lie so many days apart; their windows overlap, and count together as one."""

_LEAST_SCALE = 0.1
_NO_VARIANCE = 1e-12  # what rounding leaves of none
_DIGITS = 9


@dataclass(frozen=True)
class Outcomes:
    """What may be learned from: `z` (rows x signs), whether each row is of somebody who left, and
    whose (a number) it is.

    `learned_from`, `learned_until`: the days of the oldest and newest row; `known_on`: by when
    the last outcome was known. All as ISO dates, None where there is no row.
    """

    z: Array
    left: Any
    whose: Any
    learned_from: str | None = None
    learned_until: str | None = None
    known_on: str | None = None

    @property
    def departures(self) -> int:
        """Distinct people who left."""
        return len(np.unique(self.whose[self.left]))


def nothing(forecast: Forecast) -> Outcomes:
    """Outcomes of nobody."""
    return Outcomes(
        np.zeros((0, len(forecast.codes))), np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64)
    )


def monthly(yearly_rate: float) -> float:
    """The share that leaves within the horizon, of the share that leaves within a year."""
    return float(1 - (1 - yearly_rate) ** (HORIZON_DAYS / 365.25))


def learn(
    forecast: Forecast,
    reference_rows: Array,
    known: frozenset[str],
    outcomes: Outcomes,
    yearly_rate: float,
) -> Version:
    """A version from what is known. `reference_rows` (rows x signs) are those that cut-offs are
    fixed on: the matured rows where there are some, today's where not. `known`: the signs that
    the platform has.

    The same whatever the order of the rows. Without departures, whatever the rows, it is the
    prior's.
    """
    signals = tuple(code for code in forecast.codes if code in known)
    places = [forecast.codes.index(code) for code in signals]
    documented = forecast.signals.default_weights(known)
    weights = np.array([documented[code] for code in signals])
    agreement, scale = _agreement(forecast.signals, reference_rows[:, places], signals, weights)
    weights = weights / scale if scale else weights
    departures = outcomes.departures
    learned = min(departures / ENOUGH_DEPARTURES, 1.0)
    # Where groups of signs do not agree, the sum is chance; what departures say counts for more.
    summed = reference_rows[:, places] @ weights
    trust = _trust(agreement, apart := _standing_out(summed))
    expected = trust + (1 - trust) * learned
    prior = Prior(
        intercept=_intercept(reference_rows[:, places], weights, expected, yearly_rate),
        intercept_sd=INTERCEPT_SD,
        multiplier=expected,
        multiplier_sd=MULTIPLIER_SD,
        deviation_sd=DEVIATION_SD,
    )
    # Overlapping windows of one person count together as one.
    fitted = (
        posterior(outcomes.z[:, places], outcomes.left, weights, prior, STEP_DAYS / HORIZON_DAYS)
        if departures
        else unlearned(weights, prior)
    )
    version = Version(
        forecast=forecast,
        signals=signals,
        weights=_plain(weights),
        multiplier=round(fitted.multiplier, _DIGITS),
        deviations=_plain(fitted.deviations),
        intercept=round(fitted.intercept, _DIGITS),
        covariance=tuple(_plain(row) for row in fitted.covariance),
        agreement=round(agreement, _DIGITS),
        standing_out=round(apart, _DIGITS),
        base_rate=0.0,
        medium_above=1.0,
        high_above=1.0,
        is_probability=departures >= ENOUGH_DEPARTURES,
        departures=departures,
        learned_rows=len(outcomes.z) if departures else 0,
        reference_rows=len(reference_rows),
        yearly_rate=yearly_rate,
        learned_from=outcomes.learned_from if departures else None,
        learned_until=outcomes.learned_until if departures else None,
        known_on=outcomes.known_on if departures else None,
    )
    return _with_cut_offs(version, reference_rows)


def _agreement(
    told: Signals, rows: Array, signals: Sequence[str], weights: Array
) -> tuple[float, float]:
    """How far groups of signs agree, and the standard deviation of their sum. 1 = not at all.

    Where people are the same but for a hair, that deviation is a hair too, and weights divided by
    it would be without bounds: it is _LEAST_SCALE of what groups would give at least.
    """
    if len(rows) < 2:
        return 1.0, 0.0
    summed: dict[str, Array] = {}
    weighed: dict[str, float] = {}
    for place, code in enumerate(signals):
        group = told.by_code[code].group
        summed[group] = summed.get(group, 0.0) + weights[place] * rows[:, place]
        weighed[group] = weighed.get(group, 0.0) + float(weights[place])
    apart = sum(float(np.var(np.sort(each))) for each in summed.values())
    together = float(np.var(np.sort(sum(summed.values(), start=np.zeros(len(rows))))))
    least = _LEAST_SCALE * math.hypot(*weighed.values())
    return (together / apart if apart > _NO_VARIANCE else 1.0), max(math.sqrt(together), least)


def _standing_out(summed: Array) -> float:
    """How far the highest 2 % of the sums lie out, as a multiple of what chance alone gives: 1, as
    far as of normal variables.
    """
    if len(summed) < 2:
        return 1.0
    low, middle, high, highest = np.quantile(np.sort(summed), (0.1, 0.5, 0.9, 0.98))
    spread = float(high - low) / 2.563
    return float(highest - middle) / (2.054 * spread) if spread > _NO_VARIANCE else 1.0


def _trust(agreement: float, standing_out: float) -> float:
    """The multiplier before anything is learned: small where groups of signs agree by chance only,
    and nobody stands out more than chance lets the highest do.
    """
    told = max((agreement - 1) / 0.5, (standing_out - 1.1) / 0.8)
    return math.sqrt(min(max(told, 0.04), 1.0))


def _intercept(rows: Array, weights: Array, multiplier: float, yearly_rate: float) -> float:
    """At which the mean forecast is the share that leaves within the horizon."""
    share = monthly(yearly_rate)
    guess = math.log(share / (1 - share))
    if not len(rows):
        return guess
    summed = np.sort(multiplier * (rows @ weights))
    low, high = guess - 50, guess + 50
    for _ in range(100):
        middle = (low + high) / 2
        mean = float(np.mean(1 / (1 + np.exp(-np.clip(middle + summed, -500, 500)))))
        low, high = (middle, high) if mean < share else (low, middle)
    return round((low + high) / 2, _DIGITS)


def _with_cut_offs(version: Version, rows: Array) -> Version:
    """Freeze the base rate and the levels on the reference rows."""
    learned = min(version.departures / ENOUGH_DEPARTURES, 1.0)
    times = HIGH_TIMES_UNLEARNED + (HIGH_TIMES - HIGH_TIMES_UNLEARNED) * learned
    forecasts = np.sort(probability(log_odds(version, rows)))[::-1]
    base = float(np.mean(forecasts)) if len(forecasts) else monthly(version.yearly_rate)

    def cut_off(share: float, times: float) -> float:
        """What at most this share of the rows exceeds, and so many base rates at least."""
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

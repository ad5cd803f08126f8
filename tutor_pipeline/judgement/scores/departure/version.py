"""What a version of a forecast is: everything that a forecast rests on beside the reference, as
JSON.

Belongs here: its fields, reading and writing it, the forecast and its interval from standardised
signs. Does not belong here: how a version comes about (`learning`), levels and words (`scorer`).

With z somebody's standardised signs, w the documented weights (scaled so that w·z has the
standard deviation 1 over the rows it was fixed on), m the multiplier, d the deviations and a
the intercept:

    log odds = a + m · (w + d) · z
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from tutor_pipeline.judgement.scores.departure.forecast import Forecast
from tutor_pipeline.judgement.scores.departure.measures import Array

INTERVAL = (0.05, 0.95)
_Z = 1.6448536269514722  # of the 95 % quantile of a normal variable


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a forecast. Lists are in the order of `signals`; `covariance` is of
    (intercept, multiplier, deviations), the posterior's.

    `base_rate` is the mean forecast over the rows that the cut-offs were fixed on
    (`reference_rows`). Above `high_above` is High, above `medium_above` Medium. `departures`:
    distinct people who left, learned from; `learned_rows` the rows of theirs and the others'.
    `agreement`: how far groups of signs agree, as the variance of their sum ÷ the sum of their
    variances; `standing_out`: how far the highest 2 % of the sums lie out, as a multiple of what
    chance gives. `is_probability`: whether forecasts may be read as percentages.
    """

    forecast: Forecast
    signals: tuple[str, ...]
    weights: tuple[float, ...]
    multiplier: float
    deviations: tuple[float, ...]
    intercept: float
    covariance: tuple[tuple[float, ...], ...]
    agreement: float
    standing_out: float
    base_rate: float
    medium_above: float
    high_above: float
    is_probability: bool
    departures: int
    learned_rows: int
    reference_rows: int
    yearly_rate: float
    learned_from: str | None = None
    learned_until: str | None = None
    known_on: str | None = None

    def to_json(self) -> str:
        """The version as JSON; `from_json` gives back an equal one."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        del found["forecast"]
        return json.dumps(found, sort_keys=True)

    @classmethod
    def from_json(cls, forecast: Forecast, text: str | Mapping[str, Any]) -> Version:
        """Read what `to_json` wrote, as text or as PostgreSQL gives jsonb."""
        found = json.loads(text) if isinstance(text, str) else dict(text)
        lists = {name: tuple(found[name]) for name in ("signals", "weights", "deviations")}
        covariance = tuple(map(tuple, found["covariance"]))
        return cls(forecast, **{**found, **lists, "covariance": covariance})

    @property
    def known(self) -> frozenset[str]:
        """The signs that are worth something."""
        return frozenset(
            code for code, weight in zip(self.signals, self.weights, strict=True) if weight
        )

    @property
    def coefficients(self) -> Array:
        """What each sign of the forecast is worth, in log odds per standard deviation."""
        own = {
            code: self.multiplier * (weight + deviation)
            for code, weight, deviation in zip(
                self.signals, self.weights, self.deviations, strict=True
            )
        }
        return np.array([own.get(code, 0.0) for code in self.forecast.codes])


def contributions(version: Version, z: Array) -> Array:
    """What each sign adds to the log odds: rows x signs."""
    return np.asarray(z * version.coefficients)


def log_odds(version: Version, z: Array) -> Array:
    """One sign after the other: a matrix product may sum otherwise when there are more rows."""
    odds = np.full(len(z), version.intercept)
    for place, coefficient in enumerate(version.coefficients):
        if coefficient:
            odds = odds + coefficient * z[:, place]
    return odds


def probability(odds: Array) -> Array:
    """Of log odds, rounded to six digits."""
    return np.asarray(np.round(1 / (1 + np.exp(-np.clip(odds, -500, 500))), 6))


def interval(version: Version, z: Array, odds: Array) -> tuple[Array, Array]:
    """Between which probabilities the truth lies, 90 times of 100, as far as the posterior knows:
    the multiplier's and the base rate's uncertainty included.
    """
    places = [version.forecast.codes.index(code) for code in version.signals]
    own = z[:, places]
    summed = np.zeros(len(z))
    for place, (weight, deviation) in enumerate(
        zip(version.weights, version.deviations, strict=True)
    ):
        summed = summed + (weight + deviation) * own[:, place]
    gradient = np.column_stack([np.ones(len(z)), summed, version.multiplier * own])
    covariance = np.array(version.covariance)
    # einsum goes row by row, in the same order for one row as for many.
    variance = np.einsum("ij,jk,ik->i", gradient, covariance, gradient, optimize=False)
    away = _Z * np.sqrt(np.maximum(variance, 0))
    return probability(odds - away), probability(odds + away)

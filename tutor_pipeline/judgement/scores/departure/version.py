"""A version of a forecast: everything that a forecast needs besides the reference, as JSON.

Belongs here: its fields, its JSON, the forecast and its interval from standardised signs.
Does not belong here: how a version is learned (`learning`), levels and words (`scorer`).

With z the standardised signs of one row, w the documented weights (scaled so that w·z has the
standard deviation 1 over the reference rows), m the multiplier, d the deviations and a the
intercept:

    log odds = a + m · (w + d) · z
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from statistics import NormalDist
from typing import Any

import numpy as np

from tutor_pipeline.judgement.scores.departure.forecast import Forecast
from tutor_pipeline.judgement.scores.departure.measures import Array

INTERVAL = (0.05, 0.95)
_Z = NormalDist().inv_cdf(INTERVAL[1])


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a forecast. Lists are in the order of `signals`, the codes of the signs that the
    platform has. `covariance` is the posterior's, of (intercept, multiplier, deviations).

    `base_rate` is the mean forecast over the `reference_rows` that cut-offs were fixed on. Above
    `high_above` is High, above `medium_above` Medium. `departures`: distinct people learned from
    who left; `learned_rows`: the rows learned from. `agreement`: the variance of the sum of the
    groups ÷ the sum of their variances. `standing_out`: how far out the highest 2 % of the sums
    are, as a multiple of what chance gives. `is_probability`: whether forecasts are percentages.
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
        """Returns the version as JSON; `from_json` returns an equal one."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        del found["forecast"]
        return json.dumps(found, sort_keys=True)

    @classmethod
    def from_json(cls, forecast: Forecast, text: str | Mapping[str, Any]) -> Version:
        """Returns the version of a text, or of jsonb as PostgreSQL returns it."""
        found = json.loads(text) if isinstance(text, str) else dict(text)
        lists = {name: tuple(found[name]) for name in ("signals", "weights", "deviations")}
        covariance = tuple(map(tuple, found["covariance"]))
        return cls(forecast, **{**found, **lists, "covariance": covariance})

    @property
    def known(self) -> frozenset[str]:
        """The signs with a weight."""
        return frozenset(
            code for code, weight in zip(self.signals, self.weights, strict=True) if weight
        )

    @property
    def coefficients(self) -> Array:
        """The coefficient of each sign of the forecast, in log odds per standard deviation."""
        own = {
            code: self.multiplier * (weight + deviation)
            for code, weight, deviation in zip(
                self.signals, self.weights, self.deviations, strict=True
            )
        }
        return np.array([own.get(code, 0.0) for code in self.forecast.codes])


def contributions(version: Version, z: Array) -> Array:
    """Returns what each sign adds to the log odds: rows x signs."""
    return np.asarray(z * version.coefficients)


def log_odds(version: Version, z: Array) -> Array:
    """Returns the log odds per row.

    Adds sign by sign: the order in which a matrix product sums depends on the number of rows.
    """
    odds = np.full(len(z), version.intercept)
    for place, coefficient in enumerate(version.coefficients):
        if coefficient:
            odds = odds + coefficient * z[:, place]
    return odds


def probability(odds: Array) -> Array:
    """Returns the probabilities of log odds, rounded to six digits."""
    return np.asarray(np.round(1 / (1 + np.exp(-np.clip(odds, -500, 500))), 6))


def interval(version: Version, z: Array, odds: Array) -> tuple[Array, Array]:
    """Returns the lower and upper ends of the 90 % intervals of the posterior. They include the
    uncertainty of the multiplier and of the base rate.
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
    # einsum sums row by row, in the same order for one row as for many.
    variance = np.einsum("ij,jk,ik->i", gradient, covariance, gradient, optimize=False)
    away = _Z * np.sqrt(np.maximum(variance, 0))
    return probability(odds - away), probability(odds + away)

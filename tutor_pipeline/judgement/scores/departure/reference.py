"""What is usual on a platform: the yardstick by which every sign is standardised.

Belongs here: fitting a reference from everybody, and standardising signs by it.
Does not belong here: what the signs are (`tutors`, `students`), their weights (`learning`).

Full refreshes fit and store a reference; later runs read it. So a score does not depend on who else
is scored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tutor_pipeline.judgement.scores.departure.forecast import Forecast, asked
from tutor_pipeline.judgement.scores.departure.measures import Array, Columns, Measured
from tutor_pipeline.judgement.scores.departure.signs import Kind, Sign

LOWEST, HIGHEST = -2.0, 3.0
"""Where a standardised sign is cut, so that one wild value never decides alone."""
_FEW = 10.0  # how many people the natural spread of signs.yml stands for
_MOST_NOISE = 0.7  # of a sign's variance may be called chance, however noisy the sign is
_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Yardstick:
    """One sign over everybody: its `center` (of a change: what all changed by), the variance
    `between` people beyond chance, the `spread` of the signs without chance, and the share of their
    variance that is `real`. `typical` is the median of the numbers behind the sign, in their unit.
    """

    center: float
    between: float
    spread: float
    real: float
    typical: float
    tutors: int  # or students for whom the sign is known


@dataclass(frozen=True, slots=True)
class Reference:
    """One version of what is usual for a forecast, fitted on `size` people. A sign that the
    platform does not have has no yardstick.
    """

    forecast: Forecast
    size: int
    usual: Any
    yardsticks: Mapping[str, Yardstick]

    @property
    def known(self) -> frozenset[str]:
        """The signs that the platform has."""
        return frozenset(self.yardsticks)

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object that `from_json` reads back exactly."""
        return {
            "tutors": self.size,
            "usual": self.usual.to_json(),
            "yardsticks": {code: asdict(each) for code, each in self.yardsticks.items()},
        }

    @classmethod
    def from_json(cls, forecast: Forecast, stored: Mapping[str, Any]) -> Reference:
        """Returns what `to_json` was given."""
        return cls(
            forecast,
            stored["tutors"],
            forecast.usual_from(stored["usual"]),
            {
                code: Yardstick(**stored["yardsticks"][code])
                for code in forecast.codes
                if code in stored["yardsticks"]
            },
        )


@dataclass(frozen=True, slots=True)
class Standardised:
    """Standardised signs: rows x signs of the forecast, 0 where not `known`."""

    z: Array
    known: Any
    measured: Mapping[str, Measured]


def fit(forecast: Forecast, columns: Columns) -> Reference:
    """Returns what is usual among these people (the columns that the forecast reads), without those
    long silent. The order of the rows has no effect.

    On a small platform spreads are drawn towards the natural spreads of signs.yml, as if ten usual
    people were among them, and the common change towards none.
    """
    columns = asked(columns)
    usual = forecast.usual_of(columns)
    measured = forecast.measure(columns, usual)
    yardsticks = {}
    for code, sign in forecast.signs.by_code.items():
        found = measured[code]
        known = np.isfinite(found.value)
        if known.any():
            yardsticks[code] = _yardstick(
                sign, found.value[known], found.variance[known], found.now[known]
            )
    return Reference(forecast, len(columns["days_seen"]), usual, yardsticks)


def standardise(columns: Columns, reference: Reference) -> Standardised:
    """Returns signs as distances from the center, without chance, in units of the spread."""
    codes = reference.forecast.codes
    measured = reference.forecast.measure(columns, reference.usual)
    size = len(columns["days_seen"])
    z, known = np.zeros((size, len(codes))), np.zeros((size, len(codes)), dtype=bool)
    for place, code in enumerate(codes):
        yardstick = reference.yardsticks.get(code)
        if yardstick is None:
            continue
        found = measured[code]
        known[:, place] = np.isfinite(found.value)
        away = _without_chance(found.value - yardstick.center, found.variance, yardstick.between)
        unit = yardstick.spread / np.sqrt(yardstick.real)
        cut = np.clip(away / unit, LOWEST, HIGHEST)
        z[:, place] = np.where(known[:, place], cut, 0.0).round(_DIGITS)
    return Standardised(z, known, measured)


def _yardstick(sign: Sign, value: Array, variance: Array, now: Array) -> Yardstick:
    n = len(value)
    order = np.lexsort((variance, value))
    value, variance = value[order], np.nan_to_num(variance[order])
    center = float(np.median(value))
    if sign.kind is Kind.CHANGE:
        center *= n / (n + _FEW)
    total = _variance(value, center, sign.natural, n)
    chance = float(np.mean(variance))
    between = max(total - chance, (1 - _MOST_NOISE) * total)
    away = _without_chance(value - center, variance, between)
    spread = np.sqrt(_variance(away, 0.0, sign.natural, n))
    return Yardstick(
        center=round(center, _DIGITS),
        between=round(between, _DIGITS),
        spread=round(float(spread), _DIGITS),
        real=round(between / total, _DIGITS),
        typical=round(float(np.median(now)), _DIGITS),
        tutors=n,
    )


def _variance(value: Array, center: float, natural: float, n: int) -> float:
    """Returns the variance around the center, with values far outside the middle 80 % cut: the few
    who are about to leave must not stretch the yardstick that they are measured by.
    """
    away = value - center
    low, high = np.quantile(away, (0.1, 0.9))
    edge = 3 * float(high - low) / 2.563  # the middle 80 % of a normal variable
    if edge > 0:
        away = np.clip(away, -edge, edge)
    found = float(np.mean(np.square(away)))
    return (n * found + _FEW * natural**2) / (n + _FEW)


def _without_chance(away: Array, variance: Array, between: float) -> Array:
    """Returns distances drawn to the center where they rest on little (empirical Bayes)."""
    with np.errstate(all="ignore"):
        return np.asarray(away * between / (between + np.nan_to_num(variance)))

"""A Bayesian logistic regression around documented weights. Pure.

Belongs here: the posterior of its parameters. Does not belong here: what the columns are, where
weights and priors come from (`departure.learning`, `crossval`).

With x a row's columns, w the documented weights, m the multiplier, d the deviations from them and
a the intercept:

    log odds = a + m · (w + d) · x

m, d and a have normal priors. Without documented weights (w = 0, m fixed at 1) this is an L2
logistic regression. The posterior is a mode (Fisher scoring) and the curvature there (Laplace).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

LEAST_MULTIPLIER = 0.05
"""Above 0: where outcomes say nothing, the order stays the documented one."""

_CHUNK = 50_000
_STEPS = 100
_CLOSE = 1e-7


@dataclass(frozen=True, slots=True)
class Prior:
    """Means and standard deviations of the normal priors; deviations have the mean 0.

    `multiplier_sd` None: the multiplier is fixed. `intercept_sd` None: nothing is known of it.
    """

    intercept: float
    intercept_sd: float | None
    multiplier: float
    multiplier_sd: float | None
    deviation_sd: float

    def precision(self, columns: int) -> Array:
        """Of (intercept, multiplier, deviations); 0 where nothing is known, or it is fixed."""
        return np.array(
            [
                *(
                    0.0 if sd is None else 1 / sd**2
                    for sd in (self.intercept_sd, self.multiplier_sd)
                ),
                *[1 / self.deviation_sd**2] * columns,
            ]
        )

    def mean(self, columns: int) -> Array:
        """Of (intercept, multiplier, deviations)."""
        return np.array([self.intercept, self.multiplier, *[0.0] * columns])


@dataclass(frozen=True)
class Posterior:
    """Its mode, and the `covariance` of (intercept, multiplier, deviations)."""

    intercept: float
    multiplier: float
    deviations: Array
    covariance: Array

    def log_odds(self, x: Array, weights: Array) -> Array:
        """Of rows (rows x columns)."""
        return np.asarray(self.intercept + self.multiplier * (x @ (weights + self.deviations)))


def unlearned(weights: Array, prior: Prior) -> Posterior:
    """What is known without any outcome: the prior."""
    columns = len(weights)
    with np.errstate(divide="ignore"):
        spread = 1 / prior.precision(columns)
    return Posterior(prior.intercept, prior.multiplier, np.zeros(columns), np.diag(spread))


def posterior(
    x: Array, happened: Any, weights: Array, prior: Prior, row_weight: float = 1.0
) -> Posterior:
    """What outcomes teach. `x`: rows x columns; `happened`: of each row; `row_weight`: how much a
    row counts, under 1 where rows tell of the same outcome. The order of the rows decides nothing.

    The log odds are a product of parameters, whose second derivatives are left out, so that every
    direction leads up; a step that goes too far is halved.
    """
    order = np.lexsort((happened, *x.T[::-1]))
    x, y = x[order], happened[order].astype(float)
    documented = x @ weights
    columns = x.shape[1]
    mean, precision = prior.mean(columns), prior.precision(columns)
    is_fixed = prior.multiplier_sd is None

    def climb(at: Array) -> tuple[float, Array, Array]:
        """The log posterior there, its gradient and its curvature."""
        value = -float(np.sum(precision * (at - mean) ** 2)) / 2
        gradient, curvature = precision * (mean - at), np.diag(precision)
        for first in range(0, len(x), _CHUNK):
            rows = slice(first, first + _CHUNK)
            summed = documented[rows] + x[rows] @ at[2:]
            odds = at[0] + at[1] * summed
            p = 1 / (1 + np.exp(-np.clip(odds, -500, 500)))
            slopes = np.column_stack([np.ones(len(summed)), summed, at[1] * x[rows]])
            value += row_weight * float(np.sum(y[rows] * odds - np.logaddexp(0, odds)))
            gradient = gradient + row_weight * (slopes.T @ (y[rows] - p))
            curvature = curvature + row_weight * (slopes.T @ (slopes * (p * (1 - p))[:, None]))
        return value, gradient, curvature

    at = mean.copy()
    if not is_fixed:
        at[1] = max(at[1], LEAST_MULTIPLIER)
    value, gradient, curvature = climb(at)
    for _ in range(_STEPS):
        # At its least, and drawn further down, the multiplier stays; the others go to their best.
        free = np.arange(len(at))
        if is_fixed or (at[1] <= LEAST_MULTIPLIER and gradient[1] < 0):
            free = np.delete(free, 1)
        step = np.zeros(len(at))
        step[free] = np.linalg.solve(curvature[np.ix_(free, free)], gradient[free])
        far = float(np.abs(step[:2]).max())
        step = step * min(1.0, 1 / far if far > 0 else 1.0)
        while float(np.abs(step).max()) >= _CLOSE:
            there = at + step
            if not is_fixed:
                there[1] = max(there[1], LEAST_MULTIPLIER)
            found = climb(there)
            if found[0] >= value:
                break
            step = step / 2
        else:
            break
        at = there
        value, gradient, curvature = found
    kept = np.delete(np.arange(len(at)), 1) if is_fixed else np.arange(len(at))
    covariance = np.zeros_like(curvature)
    covariance[np.ix_(kept, kept)] = np.linalg.inv(curvature[np.ix_(kept, kept)])
    return Posterior(float(at[0]), float(at[1]), at[2:], covariance)

"""A Bayesian logistic regression around documented weights.

Belongs here: the posterior of its parameters.
Does not belong here: what the columns are, where weights and priors come from
(`departure.learning`, `crossval`).

With x the columns of a row, w the documented weights, m the multiplier, d the deviations and a the
intercept:

    log odds = a + m · (w + d) · x

m, d and a have normal priors. Without documented weights (w = 0, m fixed at 1) this is an L2
logistic regression. The posterior is its mode (by Fisher scoring) and the curvature there
(Laplace).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

LEAST_MULTIPLIER = 0.05
"""Above 0, so that the order stays the documented one where outcomes say nothing."""

_CHUNK = 50_000
_STEPS = 100
_CLOSE = 1e-7


@dataclass(frozen=True, slots=True)
class Prior:
    """Means and standard deviations of the normal priors. The mean of the deviations is 0.

    `multiplier_sd` None: the multiplier is fixed. `intercept_sd` None: a flat prior.
    """

    intercept: float
    intercept_sd: float | None
    multiplier: float
    multiplier_sd: float | None
    deviation_sd: float

    def precision(self, columns: int) -> Array:
        """Returns that of (intercept, multiplier, deviations); 0 where flat or fixed."""
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
        """Returns those of (intercept, multiplier, deviations)."""
        return np.array([self.intercept, self.multiplier, *[0.0] * columns])


@dataclass(frozen=True)
class Posterior:
    """The mode, and the `covariance` of (intercept, multiplier, deviations)."""

    intercept: float
    multiplier: float
    deviations: Array
    covariance: Array

    def log_odds(self, x: Array, weights: Array) -> Array:
        """Returns the log odds of rows (rows x columns)."""
        return np.asarray(self.intercept + self.multiplier * (x @ (weights + self.deviations)))


def unlearned(weights: Array, prior: Prior) -> Posterior:
    """Returns the prior, as the posterior without any outcome."""
    columns = len(weights)
    with np.errstate(divide="ignore"):
        spread = 1 / prior.precision(columns)
    return Posterior(prior.intercept, prior.multiplier, np.zeros(columns), np.diag(spread))


def posterior(
    x: Array, happened: Any, weights: Array, prior: Prior, row_weight: float = 1.0
) -> Posterior:
    """Returns the posterior after outcomes, in any order. `x`: rows x columns; `happened`: by row;
    `row_weight`: the weight of a row, below 1 where several rows share an outcome.

    The log odds are a product of parameters. Its second derivatives are left out, so that every
    step leads up; a step that goes too far is halved.
    """
    from scipy.special import expit

    order = np.lexsort((happened, *x.T[::-1]))
    x, y = x[order], happened[order].astype(float)
    documented = x @ weights
    columns = x.shape[1]
    mean, precision = prior.mean(columns), prior.precision(columns)
    is_fixed = prior.multiplier_sd is None

    def climb(at: Array) -> tuple[float, Array, Array]:
        """Returns the log posterior, its gradient and its curvature."""
        value = -float(np.sum(precision * (at - mean) ** 2)) / 2
        gradient, curvature = precision * (mean - at), np.diag(precision)
        for first in range(0, len(x), _CHUNK):
            rows = slice(first, first + _CHUNK)
            summed = documented[rows] + x[rows] @ at[2:]
            odds = at[0] + at[1] * summed
            p = expit(odds)
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
        # A multiplier at its lower bound that is drawn further down stays there.
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
    covariance = _covariance(curvature, is_fixed)
    return Posterior(float(at[0]), float(at[1]), at[2:], covariance)


def _covariance(curvature: Array, is_fixed: bool) -> Array:
    """Returns the inverse of the curvature; 0 for the multiplier where it is fixed."""
    kept = np.delete(np.arange(len(curvature)), 1) if is_fixed else np.arange(len(curvature))
    covariance = np.zeros_like(curvature)
    covariance[np.ix_(kept, kept)] = np.linalg.inv(curvature[np.ix_(kept, kept)])
    return covariance

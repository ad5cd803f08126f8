"""How good forecasts are as probabilities.

Belongs here: Brier score of a constant, calibration slope, and bins.
Does not belong here: the order of forecasts (`ranking`), draws (`bootstrap`).

scikit-learn's logistic regression takes one weighting at a time and stops early; the slope of a
replicate starts where that of the sample ended, and takes two or three steps.
"""

from __future__ import annotations

import numpy as np

from tutor_pipeline.judgement.scores.evaluation.sample import Array, Sample

_EDGE = 1e-6  # probabilities nearer to 0 or 1 count as this, so that log odds stay finite
_STEPS, _STEEPEST = 30, 50.0


def constant_brier(labels: Array, weights: Array) -> Array:
    """Returns the Brier score of the best constant forecast, the mean of the labels."""
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (labels @ weights) / weights.sum(axis=0)
    share = np.where((share > 0) & (share < 1), share, np.nan)
    return np.asarray(share * (1 - share))


def finite_log_odds(probabilities: Array) -> Array:
    """Returns the log odds, finite also for probabilities of 0 and 1."""
    from scipy.special import logit

    return np.asarray(logit(np.clip(probabilities, _EDGE, 1 - _EDGE)))


def slopes_of(
    odds: Array, labels: Array, weights: Array, start: tuple[float, float] | None
) -> tuple[Array, tuple[float, float] | None]:
    """Returns the slope per replicate, and where the search for the next ones may start."""
    slopes = np.full(weights.shape[1], np.nan)
    if not len(odds) or np.ptp(odds) == 0:
        return slopes, start
    for column in range(weights.shape[1]):
        solved = _logistic(odds, labels, weights[:, column], start)
        if solved is not None:
            slopes[column] = solved[1]
            start = start or solved
    return slopes, start


def _logistic(
    odds: Array, labels: Array, weights: Array, start: tuple[float, float] | None
) -> tuple[float, float] | None:
    """Returns intercept and slope by Newton's method; None where the best ones are infinite (one
    class, or perfect separation).
    """
    from scipy.special import expit

    used = weights > 0
    x, y, w = odds[used], labels[used].astype(float), weights[used]
    if not len(x) or y.min() == y.max() or np.ptp(x) == 0:
        return None
    if start is None:
        share = float(np.average(y, weights=w))
        start = (float(np.log(share / (1 - share))), 0.0)
    intercept, slope = start
    for _ in range(_STEPS):
        p = expit(intercept + slope * x)
        residual, spread = w * (y - p), w * p * (1 - p)
        gradient = (residual.sum(), residual @ x)
        curve = (spread.sum(), spread @ x, spread @ (x * x))
        determinant = curve[0] * curve[2] - curve[1] ** 2
        if not determinant > 1e-12 * max(1.0, curve[0] * curve[2]):
            return None
        step = (
            (curve[2] * gradient[0] - curve[1] * gradient[1]) / determinant,
            (curve[0] * gradient[1] - curve[1] * gradient[0]) / determinant,
        )
        intercept, slope = intercept + step[0], slope + step[1]
        if not abs(slope) < _STEEPEST:
            return None
        if max(map(abs, step)) < 1e-7:
            return float(intercept), float(slope)
    return None


def calibration_bins(
    sample: Sample, probabilities: Array, bins: int = 10
) -> list[tuple[float, float, int]]:
    """Returns mean forecast, share of positives and number of rows, in up to `bins` bins of about
    equal size. Equal forecasts are in one bin.
    """
    known = np.isfinite(probabilities)
    forecast, labels = probabilities[known], sample.labels[known]
    if not len(forecast):
        return []
    edges = np.unique(np.quantile(forecast, np.linspace(0, 1, bins + 1)[1:-1]))
    bin_of = np.searchsorted(edges, forecast, side="left")
    return [
        (float(forecast[inside].mean()), float(labels[inside].mean()), int(inside.sum()))
        for inside in (bin_of == number for number in range(len(edges) + 1))
        if inside.any()
    ]

"""The figures of a sample and of what scorers forecast, each with its interval.

Belongs here: which figures there are, over the same draws for all scorers.
Does not belong here: how one is computed (`ranking`, `calibration`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tutor_pipeline.judgement.scores.evaluation.bootstrap import draws, figure_of
from tutor_pipeline.judgement.scores.evaluation.calibration import (
    constant_brier,
    finite_log_odds,
    slopes_of,
)
from tutor_pipeline.judgement.scores.evaluation.ranking import (
    Ranked,
    auc_of,
    average_precision_of,
    list_heads,
    lists_of,
    ranked,
    recall_of,
)
from tutor_pipeline.judgement.scores.evaluation.sample import (
    NOTHING,
    REPLICATES,
    SEED,
    Array,
    Figure,
    Metric,
    Prediction,
    Sample,
)


@dataclass
class _Prepared:
    """A prediction, sorted once for all draws, and the figures `found` so far."""

    prediction: Prediction
    ranked: Ranked
    heads: Ranked
    head_dates: Array  # of each group of `heads`
    has_score: Array
    found: dict[Metric, list[Array]] = field(default_factory=dict)
    slope: tuple[float, float] | None = None  # of the sample itself: where the draws' search starts


def evaluate(
    sample: Sample,
    predictions: Sequence[Prediction],
    *,
    baseline: str | None = None,
    replicates: int = REPLICATES,
    seed: int = SEED,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, dict[Metric, Figure]]:
    """Returns every figure of every scorer, by scorer. Lift is over the scorer named `baseline`.

    A row without a score ranks last, as nobody acts on it. The Brier score and the calibration
    slope leave it out, and exist for probabilities only.
    """
    if not len(sample):
        return {prediction.scorer: {} for prediction in predictions}
    prepared = [_prepare(sample, prediction) for prediction in predictions]
    drawn = -1  # the first is the sample itself
    for draw in draws(sample.tutors, replicates, seed):
        weights = draw[sample.tutors]
        constant = constant_brier(sample.labels, weights)
        for each in prepared:
            _measure(each, sample, weights)
            if each.prediction.is_probability:
                _add(each, Metric.BRIER_OF_CONSTANT, constant)
        drawn += draw.shape[1]
        progress(drawn, replicates)
    by_name = {each.prediction.scorer: each for each in prepared}
    if baseline in by_name:
        below = np.concatenate(by_name[baseline].found[Metric.AVERAGE_PRECISION])
        for each in (each for name, each in by_name.items() if name != baseline):
            above = np.concatenate(each.found[Metric.AVERAGE_PRECISION])
            with np.errstate(divide="ignore", invalid="ignore"):
                _add(each, Metric.LIFT, above / below)
    return {
        name: {
            metric: figure_of(np.concatenate(each.found[metric]))
            for metric in Metric
            if metric in each.found
        }
        for name, each in by_name.items()
    }


def gain(
    sample: Sample,
    ours: Array,
    theirs: Array,
    *,
    replicates: int = REPLICATES,
    seed: int = SEED,
) -> Figure:
    """Returns by how much the average precision of `ours` exceeds that of `theirs`, paired."""
    rankings = [ranked(scores) for scores in (ours, theirs)]
    differences = []
    for draw in draws(sample.tutors, replicates, seed):
        weights = draw[sample.tutors]
        first, second = (
            average_precision_of(*each.sums(weights, sample.labels)) for each in rankings
        )
        differences.append(first - second)
    return figure_of(np.concatenate(differences))


def auc(sample: Sample, scores: Array, *, replicates: int = REPLICATES, seed: int = SEED) -> Figure:
    """Returns the chance that a positive row ranks above a negative one; ties count half."""
    if not sample.labels.any() or sample.labels.all():
        return NOTHING
    by_score = ranked(scores)
    found = [
        auc_of(*by_score.sums(draw[sample.tutors], sample.labels))
        for draw in draws(sample.tutors, replicates, seed)
    ]
    return figure_of(np.concatenate(found))


def rate(
    sample: Sample, chosen: Array, *, replicates: int = REPLICATES, seed: int = SEED
) -> Figure:
    """Returns the share of the chosen rows in which it happened."""
    found = []
    for draw in draws(sample.tutors, replicates, seed):
        weights = draw[sample.tutors[chosen]]
        with np.errstate(invalid="ignore"):
            found.append((weights * sample.labels[chosen, None]).sum(0) / weights.sum(0))
    return figure_of(np.concatenate(found))


def calibration_slope(
    sample: Sample, probabilities: Array, *, replicates: int = REPLICATES, seed: int = SEED
) -> Figure:
    """Returns the slope of a logistic regression of the labels on the forecast log odds: 1 is
    right, below 1 the forecasts are too extreme. No value where the slope is not finite.
    """
    if not len(sample):
        return NOTHING
    odds, start, found = finite_log_odds(probabilities), None, []
    for draw in draws(sample.tutors, replicates, seed):
        slopes, start = slopes_of(odds, sample.labels, draw[sample.tutors], start)
        found.append(slopes)
    return figure_of(np.concatenate(found))


def precision_recall(sample: Sample, scores: Array, most: int = 120) -> list[tuple[float, float]]:
    """Returns recall and precision by threshold, the highest threshold first; at most about `most`
    points. Empty without positive rows.
    """
    from sklearn.metrics import precision_recall_curve

    if not sample.labels.any():
        return []
    known = np.isfinite(scores)
    last = scores[known].min() - 1 if known.any() else 0.0
    by_threshold = precision_recall_curve(sample.labels, np.where(known, scores, last))
    # The curve begins at the lowest threshold and ends with a point that is no threshold.
    precision, recall = (each[-2::-1] for each in by_threshold[:2])
    # Even steps of recall: the curve bends where there are few rows, and then has very many.
    steps = np.searchsorted(recall, np.linspace(0, 1, most))
    kept = np.unique(np.minimum(steps, len(recall) - 1))
    return [(float(recall[n]), float(precision[n])) for n in kept]


def _prepare(sample: Sample, prediction: Prediction) -> _Prepared:
    if len(prediction.scores) != len(sample):
        raise ValueError(f"{prediction.scorer} scored {len(prediction.scores)} of {len(sample)}")
    heads = list_heads(sample.dates, prediction.scores)
    return _Prepared(
        prediction=prediction,
        ranked=ranked(prediction.scores),
        heads=heads,
        head_dates=sample.dates[heads.order][heads.starts],
        has_score=np.isfinite(prediction.scores),
    )


def _measure(each: _Prepared, sample: Sample, weights: Array) -> None:
    """Add the figures of a block of draws."""
    positive, total = each.ranked.sums(weights, sample.labels)
    _add(each, Metric.AUC, auc_of(positive, total))
    _add(each, Metric.AVERAGE_PRECISION, average_precision_of(positive, total))
    _add(each, Metric.RECALL, recall_of(positive, total))
    for metric, values in lists_of(each.heads, each.head_dates, sample, weights):
        _add(each, metric, values)
    if each.prediction.is_probability:
        known = each.has_score
        forecast, labels = each.prediction.scores[known], sample.labels[known]
        error = np.square(forecast - labels)
        with np.errstate(invalid="ignore"):
            _add(each, Metric.BRIER, error @ weights[known] / weights[known].sum(axis=0))
        slopes, each.slope = slopes_of(
            finite_log_odds(forecast), labels, weights[known], each.slope
        )
        _add(each, Metric.CALIBRATION_SLOPE, slopes)


def _add(each: _Prepared, metric: Metric, values: Array) -> None:
    each.found.setdefault(metric, []).append(values)

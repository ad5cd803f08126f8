"""How well scores tell those it happened to from the others: figures with intervals.

Belongs here: the figures, exact with ties, and the bootstrap over tutors behind every interval.
Does not belong here: which rows are looked at and what happened to them (`backtest`).

A tutor is in the sample many times, once per date, and those rows are alike: intervals come from
drawing whole tutors with replacement. Every scorer sees the same draws, so the difference of two
is paired. A row's weight is how often its tutor was drawn; the figure itself is the one at weight
1, by the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

REPLICATES = 200
SEED = 20260101
INTERVAL = (0.05, 0.95)
"""Every interval is of 90 %."""

FALSE_FLAGS = 0.15
"""The share of the healthy that may be flagged, in `recall_at_15_percent_false_flags`."""

LIST_LENGTHS = (3, 5, 8)
"""How many tutors a date's attention list holds, in precision and recall at k."""

_CHUNK = 20  # replicates at a time: a block of rows x replicates stays small
_EDGE = 1e-6  # a probability nearer to 0 or 1 counts as this: log odds stay finite
_STEPS, _STEEPEST = 30, 50.0


class Metric(StrEnum):
    """The figures by their names in `ops.backtest_metrics`."""

    AUC = "auc"
    AVERAGE_PRECISION = "average_precision"
    LIFT = "lift_over_signals_v1"
    RECALL = "recall_at_15_percent_false_flags"
    PRECISION_3 = "precision_at_3"
    PRECISION_5 = "precision_at_5"
    PRECISION_8 = "precision_at_8"
    RECALL_3 = "recall_at_3"
    RECALL_5 = "recall_at_5"
    RECALL_8 = "recall_at_8"
    BRIER = "brier"
    BRIER_OF_CONSTANT = "brier_of_constant"
    CALIBRATION_SLOPE = "calibration_slope"


@dataclass(frozen=True, slots=True)
class Figure:
    """A value and its 90 % interval; None where there is none (no positives, no probability)."""

    value: float | None
    lower: float | None = None
    upper: float | None = None


NOTHING = Figure(None)


@dataclass(frozen=True)
class Sample:
    """What happened. Three arrays, an entry per row: tutor (a code from 0), date (a code), and
    whether it happened (bool).
    """

    tutors: Array
    dates: Array
    labels: Array

    def __post_init__(self) -> None:
        if not len(self.tutors) == len(self.dates) == len(self.labels):
            raise ValueError("a sample's arrays differ in length")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def positives(self) -> int:
        """Rows in which it happened."""
        return int(self.labels.sum())

    @property
    def leavers(self) -> int:
        """Distinct tutors to whom it happened."""
        return len(np.unique(self.tutors[self.labels]))

    @property
    def distinct_tutors(self) -> int:
        """Distinct tutors in it."""
        return len(np.unique(self.tutors))

    def where(self, chosen: Array) -> Sample:
        """The rows at which `chosen` is true."""
        return Sample(self.tutors[chosen], self.dates[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Prediction:
    """A scorer's scores of a sample's rows, higher = likelier; NaN where it gave none."""

    scorer: str
    version: str
    scores: Array
    is_probability: bool


@dataclass
class _Prepared:
    """A prediction sorted once; `curves` and the like then cost a few sums per draw."""

    prediction: Prediction
    ranked: _Groups
    top: _Groups
    top_dates: Array  # of each group of `top`
    has_score: Array
    found: dict[Metric, list[Array]] = field(default_factory=dict)
    slope: tuple[float, float] | None = None  # of the sample as it is: where the draws start


@dataclass(frozen=True)
class _Groups:
    """Rows in order of falling score; `starts` begins each group of equal scores."""

    order: Array
    starts: Array

    def sums(self, weights: Array, labels: Array) -> tuple[Array, Array]:
        """Weight of positives and of all per group: groups x replicates."""
        chosen = weights[self.order]
        positive = chosen * labels[self.order, None]
        if len(self.starts) == len(self.order):
            return positive, chosen
        return (
            np.add.reduceat(positive, self.starts, axis=0),
            np.add.reduceat(chosen, self.starts, axis=0),
        )


def evaluate(
    sample: Sample,
    predictions: Sequence[Prediction],
    *,
    baseline: str | None = None,
    replicates: int = REPLICATES,
    seed: int = SEED,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, dict[Metric, Figure]]:
    """Every figure of every scorer. `baseline` names the scorer that lift is over.

    A row without a score ranks below all others, as nobody acts on it; the Brier score and the
    calibration slope leave it out. Scores that are no probability have neither.
    """
    if not len(sample):
        return {prediction.scorer: {} for prediction in predictions}
    prepared = [_prepare(sample, prediction) for prediction in predictions]
    drawn = -1  # the first is the sample as it is
    for draw in draws(sample.tutors, replicates, seed):
        weights = draw[sample.tutors]
        constant = _constant_brier(sample.labels, weights)
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
            metric: _figure(np.concatenate(each.found[metric]))
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
    """How much more average precision `ours` has than `theirs`, paired over the same draws."""
    groups = [_ranking(scores) for scores in (ours, theirs)]
    differences = []
    for draw in draws(sample.tutors, replicates, seed):
        weights = draw[sample.tutors]
        first, second = (
            _average_precision(*(each.sums(weights, sample.labels))) for each in groups
        )
        differences.append(first - second)
    return _figure(np.concatenate(differences))


def auc(sample: Sample, scores: Array, *, replicates: int = REPLICATES, seed: int = SEED) -> Figure:
    """The chance that a row to which it happened ranks above one to which it did not."""
    if not sample.labels.any() or sample.labels.all():
        return NOTHING
    ranked = _ranking(scores)
    found = [
        _auc(*ranked.sums(draw[sample.tutors], sample.labels))
        for draw in draws(sample.tutors, replicates, seed)
    ]
    return _figure(np.concatenate(found))


def rate(
    sample: Sample, chosen: Array, *, replicates: int = REPLICATES, seed: int = SEED
) -> Figure:
    """In which share of the chosen rows it happened."""
    found = []
    for draw in draws(sample.tutors, replicates, seed):
        weights = draw[sample.tutors[chosen]]
        with np.errstate(invalid="ignore"):
            found.append((weights * sample.labels[chosen, None]).sum(0) / weights.sum(0))
    return _figure(np.concatenate(found))


def calibration_slope(
    sample: Sample, probabilities: Array, *, replicates: int = REPLICATES, seed: int = SEED
) -> Figure:
    """The slope of a logistic regression of what happened on the log odds foretold; 1 is right,
    below 1 the forecasts are too extreme. None where it has no finite solution.
    """
    if not len(sample):
        return NOTHING
    odds, start, found = _log_odds(probabilities), None, []
    for draw in draws(sample.tutors, replicates, seed):
        slopes, start = _slopes(odds, sample.labels, draw[sample.tutors], start)
        found.append(slopes)
    return _figure(np.concatenate(found))


def precision_recall(sample: Sample, scores: Array, most: int = 120) -> list[tuple[float, float]]:
    """Recall and precision at every threshold, the highest first; at most about `most` points."""
    positive, total = (
        sums[:, 0] for sums in _ranking(scores).sums(np.ones((len(sample), 1)), sample.labels)
    )
    found = np.cumsum(positive)
    if not len(found) or not found[-1]:
        return []
    recall, precision = found / found[-1], found / np.cumsum(total)
    # Evenly in recall: where the curve bends there are few rows, and later very many.
    steps = np.searchsorted(recall, np.linspace(0, 1, most))
    kept = np.unique(np.minimum(steps, len(recall) - 1))
    return [(float(recall[n]), float(precision[n])) for n in kept]


def calibration_bins(
    sample: Sample, probabilities: Array, bins: int = 10
) -> list[tuple[float, float, int]]:
    """Mean forecast, share it happened to, and rows, in up to `bins` bins of about equal size;
    equal forecasts are never parted.
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


def draws(tutors: Array, replicates: int, seed: int) -> Iterator[Array]:
    """How often each tutor is drawn: blocks of tutors x replicates. The very first column is 1
    for all: the sample as it is.
    """
    population, present = int(tutors.max()) + 1, np.unique(tutors)
    rng = np.random.default_rng(seed)
    yield np.ones((population, 1))
    for first in range(0, replicates, _CHUNK):
        block = np.zeros((population, min(_CHUNK, replicates - first)))
        for column in range(block.shape[1]):
            drawn = present[rng.integers(0, len(present), len(present))]
            block[:, column] = np.bincount(drawn, minlength=population)
        yield block


def _prepare(sample: Sample, prediction: Prediction) -> _Prepared:
    if len(prediction.scores) != len(sample):
        raise ValueError(f"{prediction.scorer} scored {len(prediction.scores)} of {len(sample)}")
    top = _tops(sample.dates, prediction.scores)
    return _Prepared(
        prediction=prediction,
        ranked=_ranking(prediction.scores),
        top=top,
        top_dates=sample.dates[top.order][top.starts] if len(top.starts) else top.starts,
        has_score=np.isfinite(prediction.scores),
    )


def _ranking(scores: Array) -> _Groups:
    ranks = np.where(np.isfinite(scores), scores, -np.inf)
    order = np.argsort(-ranks, kind="stable")
    ordered = ranks[order]
    return _Groups(order, _beginnings(ordered[1:] != ordered[:-1]))


def _tops(dates: Array, scores: Array) -> _Groups:
    """The head of each date's list, by date. A draw leaves a tutor out of it or takes it several
    times, so it is longer than the longest list by far: that a draw reaches its end, with under
    8 of its first 200 tutors, does not happen.
    """
    ranks = np.where(np.isfinite(scores), scores, -np.inf)
    order = np.lexsort((-ranks, dates))
    day, ordered = dates[order], ranks[order]
    new_day = _beginnings(day[1:] != day[:-1])
    group = _beginnings((day[1:] != day[:-1]) | (ordered[1:] != ordered[:-1]))
    place = np.arange(len(order)) - np.repeat(new_day, np.diff([*new_day, len(order)]))
    kept = np.repeat(place[group], np.diff([*group, len(order)])) < 25 * max(LIST_LENGTHS)
    day, ordered = day[kept], ordered[kept]
    return _Groups(order[kept], _beginnings((day[1:] != day[:-1]) | (ordered[1:] != ordered[:-1])))


def _beginnings(changes: Array) -> Array:
    """Where groups start, from where a value differs from the one before."""
    return np.concatenate(([0], np.flatnonzero(changes) + 1)).astype(np.intp)


def _measure(each: _Prepared, sample: Sample, weights: Array) -> None:
    """Add the figures of some draws."""
    positive, total = each.ranked.sums(weights, sample.labels)
    _add(each, Metric.AUC, _auc(positive, total))
    _add(each, Metric.AVERAGE_PRECISION, _average_precision(positive, total))
    _add(each, Metric.RECALL, _recall(positive, total))
    _lists(each, sample, weights)
    if each.prediction.is_probability:
        known = each.has_score
        forecast, labels = each.prediction.scores[known], sample.labels[known]
        error = np.square(forecast - labels)
        with np.errstate(invalid="ignore"):
            _add(each, Metric.BRIER, error @ weights[known] / weights[known].sum(axis=0))
        slopes, each.slope = _slopes(_log_odds(forecast), labels, weights[known], each.slope)
        _add(each, Metric.CALIBRATION_SLOPE, slopes)


def _add(each: _Prepared, metric: Metric, values: Array) -> None:
    each.found.setdefault(metric, []).append(values)


def _auc(positive: Array, total: Array) -> Array:
    """The chance that a positive ranks above a negative, ties counted half."""
    negative = total - positive
    above = np.cumsum(negative, axis=0)
    negatives, positives = negative.sum(axis=0), positive.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        won = (positive * (negatives - above + negative / 2)).sum(axis=0)
        return np.asarray(won / (positives * negatives))


def _average_precision(positive: Array, total: Array) -> Array:
    """Precision at each threshold, weighted with the recall it adds."""
    found, flagged = np.cumsum(positive, axis=0), np.cumsum(total, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(flagged > 0, found / flagged, 0.0)
        return np.asarray((positive * precision).sum(axis=0) / positive.sum(axis=0))


def _recall(positive: Array, total: Array) -> Array:
    """The share found at the lowest threshold that flags at most FALSE_FLAGS of the others.

    Those with equal scores are flagged together or not at all, as a threshold does.
    """
    negative = total - positive
    false, found = np.cumsum(negative, axis=0), np.cumsum(positive, axis=0)
    allowed = (false <= FALSE_FLAGS * negative.sum(axis=0) + 1e-9).sum(axis=0)
    reached = np.vstack([np.zeros((1, found.shape[1])), found])
    with np.errstate(invalid="ignore", divide="ignore"):
        share = reached[allowed, np.arange(found.shape[1])] / positive.sum(axis=0)
    share[negative.sum(axis=0) == 0] = np.nan
    return np.asarray(share)


def _lists(each: _Prepared, sample: Sample, weights: Array) -> None:
    """Precision and recall of each date's k highest, averaged over the dates.

    Where equal scores straddle the end of the list, each of them is in it with the same chance.
    Recall is over the dates on which it happened to somebody.
    """
    positive, total = each.top.sums(weights, sample.labels)
    dates = _beginnings(each.top_dates[1:] != each.top_dates[:-1])
    sizes = np.diff([*dates, len(each.top_dates)])
    before = np.cumsum(total, axis=0) - total
    before -= np.repeat(before[dates], sizes, axis=0)
    days, day_of = np.unique(sample.dates, return_inverse=True)
    happened = np.zeros((len(days), weights.shape[1]))
    np.add.at(happened, day_of[sample.labels], weights[sample.labels])
    for k, precision, recall in (
        (3, Metric.PRECISION_3, Metric.RECALL_3),
        (5, Metric.PRECISION_5, Metric.RECALL_5),
        (8, Metric.PRECISION_8, Metric.RECALL_8),
    ):
        with np.errstate(invalid="ignore", divide="ignore"):
            listed = np.clip(k - before, 0, total)
            hits = np.add.reduceat(
                np.where(total > 0, listed / total, 0.0) * positive, dates, axis=0
            )
            per_date = hits / np.add.reduceat(listed, dates, axis=0)
            found = np.where(happened > 0, hits / happened, np.nan)
            any_happened = (happened > 0).sum(axis=0)
            _add(each, precision, np.where(any_happened > 0, _mean(per_date), np.nan))
            _add(each, recall, _mean(found))


def _mean(values: Array) -> Array:
    """Column means of what is a number; NaN where nothing is."""
    known = np.isfinite(values)
    return np.asarray(np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0))


def _constant_brier(labels: Array, weights: Array) -> Array:
    """What foretelling everybody the same, right on average, would give."""
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (labels @ weights) / weights.sum(axis=0)
    share = np.where((share > 0) & (share < 1), share, np.nan)
    return np.asarray(share * (1 - share))


def _log_odds(probabilities: Array) -> Array:
    within = np.clip(probabilities, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(within / (1 - within)))


def _slopes(
    odds: Array, labels: Array, weights: Array, start: tuple[float, float] | None
) -> tuple[Array, tuple[float, float] | None]:
    """The slope per replicate by Newton's method, and where the next ones may start."""
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
    """Intercept and slope; None where no finite ones are best (one class, or perfectly parted)."""
    used = weights > 0
    x, y, w = odds[used], labels[used].astype(float), weights[used]
    if not len(x) or y.min() == y.max() or np.ptp(x) == 0:
        return None
    if start is None:
        share = float(np.average(y, weights=w))
        start = (float(np.log(share / (1 - share))), 0.0)
    intercept, slope = start
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(intercept + slope * x, -500, 500)))
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


def _figure(values: Array) -> Figure:
    """The first is the sample's own value, the others the draws'.

    Draws without a value (nobody drawn to whom it happened) are left out of the interval; where
    they are half of all, there is none.
    """
    if not np.isfinite(values[0]):
        return NOTHING
    drawn = values[1:][np.isfinite(values[1:])]
    value = round(float(values[0]), 9)
    if not len(drawn) or 2 * len(drawn) < len(values) - 1:
        return Figure(value)
    lower, upper = (round(float(edge), 9) for edge in np.quantile(drawn, INTERVAL))
    return Figure(value, lower, upper)


@contextmanager
def one_thread() -> Iterator[None]:
    """Learn on one core: on tables this small, threads that wait for each other cost twenty times
    what they win on a busy machine, and sums have no fixed order.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield

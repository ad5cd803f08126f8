"""How well an order of rows finds the positive ones.

Belongs here: figures of the order of scores, exact with ties, for many weightings at once.
Does not belong here: draws (`bootstrap`), figures of probabilities (`calibration`).

scikit-learn has the AUC and the average precision of one weighting; tests compare. Here a score is
sorted once, and a draw then costs a few sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tutor_pipeline.judgement.scores.evaluation.sample import Array, Metric, Sample

FALSE_FLAGS = 0.15
"""The share of the negatives that may be flagged, in `recall_at_15_percent_false_flags`."""

LIST_LENGTHS = (3, 5, 8)
"""The lengths k of a date's attention list, in precision and recall at k."""


@dataclass(frozen=True)
class Ranked:
    """Rows by score, highest first. `starts`: where each group of equal scores begins."""

    order: Array
    starts: Array

    def sums(self, weights: Array, labels: Array) -> tuple[Array, Array]:
        """Returns the weight of the positives and of all, per group: groups x replicates."""
        chosen = weights[self.order]
        positive = chosen * labels[self.order, None]
        if len(self.starts) == len(self.order):
            return positive, chosen
        return (
            np.add.reduceat(positive, self.starts, axis=0),
            np.add.reduceat(chosen, self.starts, axis=0),
        )


def ranked(scores: Array) -> Ranked:
    """Returns the rows by score. Rows without a score come last, in one group."""
    ranks = np.where(np.isfinite(scores), scores, -np.inf)
    order = np.argsort(-ranks, kind="stable")
    ordered = ranks[order]
    return Ranked(order, beginnings(ordered[1:] != ordered[:-1]))


def list_heads(dates: Array, scores: Array) -> Ranked:
    """Returns the first rows of each date, by date and score.

    A draw leaves tutors out or takes them several times, so the head is 25 times the longest list:
    no draw has fewer than 8 of the first 200 tutors.
    """
    ranks = np.where(np.isfinite(scores), scores, -np.inf)
    order = np.lexsort((-ranks, dates))
    day, ordered = dates[order], ranks[order]
    new_day = beginnings(day[1:] != day[:-1])
    group = beginnings((day[1:] != day[:-1]) | (ordered[1:] != ordered[:-1]))
    place = np.arange(len(order)) - np.repeat(new_day, np.diff([*new_day, len(order)]))
    kept = np.repeat(place[group], np.diff([*group, len(order)])) < 25 * max(LIST_LENGTHS)
    day, ordered = day[kept], ordered[kept]
    return Ranked(order[kept], beginnings((day[1:] != day[:-1]) | (ordered[1:] != ordered[:-1])))


def beginnings(changes: Array) -> Array:
    """Returns where groups start, given where a value differs from the one before."""
    return np.concatenate(([0], np.flatnonzero(changes) + 1)).astype(np.intp)


def auc_of(positive: Array, total: Array) -> Array:
    """Returns the chance that a positive ranks above a negative; ties count half."""
    negative = total - positive
    above = np.cumsum(negative, axis=0)
    negatives, positives = negative.sum(axis=0), positive.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        won = (positive * (negatives - above + negative / 2)).sum(axis=0)
        return np.asarray(won / (positives * negatives))


def average_precision_of(positive: Array, total: Array) -> Array:
    """Returns the mean precision over the thresholds, weighted by the recall that each adds."""
    found, flagged = np.cumsum(positive, axis=0), np.cumsum(total, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(flagged > 0, found / flagged, 0.0)
        return np.asarray((positive * precision).sum(axis=0) / positive.sum(axis=0))


def recall_of(positive: Array, total: Array) -> Array:
    """Returns the recall at the lowest threshold that flags at most FALSE_FLAGS of the negatives.

    A threshold flags equal scores together or not at all.
    """
    negative = total - positive
    false, found = np.cumsum(negative, axis=0), np.cumsum(positive, axis=0)
    allowed = (false <= FALSE_FLAGS * negative.sum(axis=0) + 1e-9).sum(axis=0)
    reached = np.vstack([np.zeros((1, found.shape[1])), found])
    with np.errstate(invalid="ignore", divide="ignore"):
        share = reached[allowed, np.arange(found.shape[1])] / positive.sum(axis=0)
    share[negative.sum(axis=0) == 0] = np.nan
    return np.asarray(share)


def lists_of(
    heads: Ranked, head_dates: Array, sample: Sample, weights: Array
) -> Iterator[tuple[Metric, Array]]:
    """Yields precision and recall of the k highest scores per date, averaged over the dates.
    `heads`: see `list_heads`; `head_dates`: the date of each of its groups.

    Equal scores at the end of a list share its last places. Recall is averaged over the dates
    with a positive row.
    """
    positive, total = heads.sums(weights, sample.labels)
    dates = beginnings(head_dates[1:] != head_dates[:-1])
    sizes = np.diff([*dates, len(head_dates)])
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
            yield precision, np.where(any_happened > 0, _mean(per_date), np.nan)
            yield recall, _mean(found)


def _mean(values: Array) -> Array:
    """Returns the mean of each column's finite values; NaN where there are none."""
    known = np.isfinite(values)
    return np.asarray(np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0))

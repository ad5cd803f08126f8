"""Figures held against scikit-learn and against brute force, ties and weights included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from tutor_pipeline.judgement.scores import evaluation
from tutor_pipeline.judgement.scores.evaluation import (
    Metric,
    Prediction,
    Sample,
    bootstrap,
    calibration_bins,
    calibration_slope,
    evaluate,
    gain,
    precision_recall,
    ranking,
    rate,
)
from tutor_pipeline.judgement.scores.evaluation import figures as figures_of

TIED = st.integers(0, 6).map(lambda number: number / 6)
ROWS = st.lists(st.tuples(TIED, st.booleans(), st.integers(0, 4)), min_size=2, max_size=60)


def sample_of(labels, tutors=None, dates=None) -> Sample:
    labels = np.array(labels, dtype=bool)
    return Sample(
        np.arange(len(labels)) if tutors is None else np.array(tutors),
        np.zeros(len(labels), dtype=int) if dates is None else np.array(dates),
        labels,
    )


def figures(sample, scores, *, is_probability=False, replicates=0):
    prediction = Prediction("s", "1", np.array(scores, dtype=float), is_probability)
    return evaluate(sample, [prediction], replicates=replicates)["s"]


def is_close(ours, theirs) -> bool:
    return bool(np.isclose(ours, theirs, atol=1e-8))


@given(ROWS)
def test_as_scikit_learn_has_it_with_ties_and_weights(rows):
    scores, labels, weights = (np.array(column) for column in zip(*rows, strict=True))
    kept = weights > 0
    sums = ranking.ranked(scores).sums(weights[:, None].astype(float), labels)
    if not labels[kept].any() or labels[kept].all():
        return
    expected = {"y_true": labels, "y_score": scores, "sample_weight": weights}
    assert is_close(ranking.auc_of(*sums)[0], roc_auc_score(**expected))
    assert is_close(ranking.average_precision_of(*sums)[0], average_precision_score(**expected))


@given(ROWS)
def test_found_at_15_percent_is_the_best_of_all_thresholds_that_keep_to_it(rows):
    scores, labels, _ = (np.array(column) for column in zip(*rows, strict=True))
    found = figures(sample_of(labels), scores)[Metric.RECALL].value
    if not labels.any() or labels.all():
        assert found is None
        return
    reached = [0.0]
    for threshold in set(scores):
        flagged = scores >= threshold
        if flagged[~labels].mean() <= 0.15 + 1e-12:
            reached.append(flagged[labels].mean())
    assert is_close(found, max(reached))


@given(ROWS, st.integers(1, 4))
@settings(max_examples=50)
def test_a_tutor_drawn_twice_counts_as_two(rows, dates):
    scores, labels, weights = (np.array(column) for column in zip(*rows, strict=True))
    day = np.arange(len(rows)) % dates
    sample = sample_of(labels, dates=day)
    prepared = figures_of._prepare(sample, Prediction("s", "1", scores, False))
    figures_of._measure(prepared, sample, weights[:, None].astype(float))
    again = np.repeat(np.arange(len(rows)), weights)
    if not len(again):
        return
    whole = sample_of(labels[again], dates=day[again])
    for metric, found in figures(whole, scores[again]).items():
        ours = prepared.found[metric][0][0]
        assert found.value is None if np.isnan(ours) else is_close(found.value, ours), metric


def test_the_end_of_a_list_among_equals_is_shared():
    found = figures(sample_of([1, 0, 0, 0], dates=[0] * 4), [0.5] * 4)
    assert is_close(found[Metric.PRECISION_3].value, 0.25)
    assert is_close(found[Metric.RECALL_3].value, 0.75)
    assert is_close(found[Metric.PRECISION_5].value, 0.25)


def test_lists_are_per_date_and_averaged():
    sample = sample_of([1, 1, 1, 0, 0, 0, 0, 1], dates=[0, 0, 0, 0, 1, 1, 1, 1])
    found = figures(sample, [9, 8, 7, 6, 9, 8, 7, 6])
    assert is_close(found[Metric.PRECISION_3].value, (1 + 0) / 2)
    assert is_close(found[Metric.RECALL_3].value, (1 + 0) / 2)
    assert is_close(found[Metric.RECALL_5].value, 1.0)


def test_probabilities_are_measured_and_mere_scores_are_not():
    rng = np.random.default_rng(0)
    odds = rng.normal(-1, 1.5, 20_000)
    p = 1 / (1 + np.exp(-odds))
    sample = sample_of(rng.random(len(p)) < p)
    found = figures(sample, p, is_probability=True)
    assert is_close(found[Metric.BRIER].value, brier_score_loss(sample.labels, p))
    share = sample.labels.mean()
    assert is_close(found[Metric.BRIER_OF_CONSTANT].value, share * (1 - share))
    assert found[Metric.CALIBRATION_SLOPE].value == pytest.approx(1, abs=0.05)
    extreme = 1 / (1 + np.exp(-2 * odds))
    assert calibration_slope(sample, extreme, replicates=0).value == pytest.approx(0.5, abs=0.03)
    mere = figures(sample, p)
    assert not {Metric.BRIER, Metric.CALIBRATION_SLOPE, Metric.BRIER_OF_CONSTANT} & set(mere)


@pytest.mark.parametrize("happened", [False, True])
def test_where_it_happened_to_nobody_or_to_all_there_is_no_auc_and_no_error(happened):
    found = figures(sample_of([happened] * 5), [0.1, 0.2, 0.3, 0.4, 0.5], is_probability=True)
    for metric in (Metric.AUC, Metric.RECALL, Metric.CALIBRATION_SLOPE):
        assert found[metric] == evaluation.NOTHING
    assert evaluate(sample_of([]), [Prediction("s", "1", np.array([]), True)]) == {"s": {}}


def test_a_slope_without_a_finite_solution_is_none():
    parted = np.array([0.1, 0.2, 0.8, 0.9])
    assert calibration_slope(sample_of([0, 0, 1, 1]), parted).value is None
    assert calibration_slope(sample_of([0, 1, 0, 1]), np.full(4, 0.3)).value is None


def test_who_has_no_score_ranks_last():
    found = figures(sample_of([0, 1, 0]), [0.2, 0.1, np.nan])
    assert is_close(found[Metric.AUC].value, 0.5)


def test_copies_of_the_same_tutors_make_no_interval_narrower():
    rng = np.random.default_rng(3)
    labels = rng.random(150) < 0.3
    scores = labels + rng.normal(0, 1, 150)

    def width(copies, *, are_same):
        count = 150 * copies
        tutors = np.tile(np.arange(150), copies) if are_same else np.arange(count)
        found = figures(
            sample_of(np.tile(labels, copies), tutors, np.zeros(count, dtype=int)),
            np.tile(scores, copies),
            replicates=200,
        )[Metric.AUC]
        return found.upper - found.lower

    assert width(10, are_same=True) == pytest.approx(width(1, are_same=True), rel=1e-6)
    assert width(10, are_same=False) < 0.5 * width(1, are_same=True)


def test_a_paired_gain_is_narrower_than_its_parts_and_repeatable():
    rng = np.random.default_rng(4)
    labels = rng.random(600) < 0.2
    scores = labels + rng.normal(0, 1, 600)
    sample = sample_of(labels)
    better = scores + 0.3 * labels
    found = gain(sample, better, scores)
    alone = figures(sample, better, replicates=200)[Metric.AVERAGE_PRECISION]
    assert found.lower > 0
    assert found.upper - found.lower < alone.upper - alone.lower
    assert found == gain(sample, better, scores)
    assert gain(sample, scores, scores) == evaluation.Figure(0.0, 0.0, 0.0)


@pytest.mark.parametrize(("known", "has_interval"), [(6, True), (5, True), (4, False)])
def test_draws_without_a_value_are_left_out_until_they_are_more_than_half(known, has_interval):
    draws = np.full(10, np.nan)
    draws[:known] = 0.6
    found = bootstrap.figure_of(np.array([0.5, *draws]))
    assert found == evaluation.Figure(0.5, *[0.6 if has_interval else None] * 2)


def test_lift_is_over_the_baseline_and_the_baseline_has_none():
    rng = np.random.default_rng(5)
    labels = rng.random(400) < 0.2
    good = labels + rng.normal(0, 1, 400)
    predictions = [
        Prediction("good", "1", good, False),
        Prediction("base", "1", rng.normal(size=400), False),
    ]
    found = evaluate(sample_of(labels), predictions, baseline="base", replicates=50)
    ratio = (
        found["good"][Metric.AVERAGE_PRECISION].value
        / found["base"][Metric.AVERAGE_PRECISION].value
    )
    assert found["good"][Metric.LIFT].value == pytest.approx(ratio)
    assert Metric.LIFT not in found["base"]


@given(ROWS)
def test_bins_hold_every_row_once_and_never_part_equals(rows):
    forecast, labels, _ = (np.array(column) for column in zip(*rows, strict=True))
    bins = calibration_bins(sample_of(labels), forecast)
    assert sum(number for _, _, number in bins) == len(rows)
    assert sum(share * number for _, share, number in bins) == pytest.approx(labels.sum())
    assert len(bins) <= len(set(forecast))


@given(ROWS, st.integers(0, 3))
def test_rows_without_a_score_are_below_the_last_threshold_of_the_curve(rows, missing):
    scores, labels, _ = (np.array(column) for column in zip(*rows, strict=True))
    scores[:missing] = np.nan
    by_hand = []
    for threshold in [*sorted(set(scores[missing:]), reverse=True), None]:
        flagged = np.ones(len(rows), bool) if threshold is None else scores >= threshold
        if labels.any() and (threshold is not None or missing):
            by_hand.append((labels[flagged].sum() / labels.sum(), labels[flagged].mean()))
    assert precision_recall(sample_of(labels), scores, most=10_000) == [
        pytest.approx(each) for n, each in enumerate(by_hand) if not _adds_nothing(by_hand, n)
    ]


def _adds_nothing(points, n) -> bool:
    """Of points with one recall the curve shows the first."""
    return any(earlier[0] == points[n][0] for earlier in points[:n])


@given(ROWS)
def test_the_curve_ends_with_everybody_found(rows):
    scores, labels, _ = (np.array(column) for column in zip(*rows, strict=True))
    curve = precision_recall(sample_of(labels), scores)
    if not labels.any():
        assert curve == []
        return
    assert curve[-1][0] == 1.0
    assert [recall for recall, _ in curve] == sorted(recall for recall, _ in curve)


def test_the_rate_of_some_rows():
    sample = sample_of([1, 0, 0, 1], tutors=[0, 0, 1, 1])
    assert rate(sample, np.array([True, True, True, False])).value == pytest.approx(1 / 3)

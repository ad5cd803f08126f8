"""The learned forecast: frozen as JSON, the same for a tutor whoever else is scored, reasoned."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from tests.unit.scores.frames import made_up
from tutor_pipeline.scores import backtest, model
from tutor_pipeline.scores.score import Level, Status, Target

DAY = date(2026, 3, 2)


@pytest.fixture(scope="module")
def training():
    frames = made_up(300, 8, seed=11)
    plan = backtest.Plan(known_until=frames.known_until)
    return backtest.latest_training(frames.history, frames.departures, plan)


@pytest.fixture(scope="module")
def fitted(training):
    return model.fit(training.rows, training.labels, training.known_on)


@pytest.fixture(scope="module")
def others():
    (rows,) = made_up(400, 1, seed=12).history.values()
    return rows


def test_a_version_is_json_and_comes_back_equal(fitted, others):
    again = model.Model.from_json(fitted.to_json())
    assert again == fitted
    assert model.score(others, again, "1") == model.score(others, fitted, "1")


def test_what_it_learned_from_is_written_in_it(fitted, training):
    assert fitted.rows == len(training.rows)
    assert fitted.leavers == training.leavers > 0
    assert fitted.trained_from == date(2026, 1, 5)
    assert fitted.trained_until <= fitted.known_on


def test_the_order_of_the_training_rows_does_not_matter(fitted, training):
    shuffled = np.random.default_rng(0).permutation(len(training.rows))
    again = model.fit(
        [training.rows[n] for n in shuffled],
        [training.labels[n] for n in shuffled],
        training.known_on,
    )
    assert again.to_json() == fitted.to_json()


def test_a_score_does_not_depend_on_who_else_is_scored(fitted, others):
    together = model.score(others, fitted, "1")
    assert [model.score([row], fitted, "1")[0] for row in others[:50]] == together[:50]
    assert model.score(others[::-1], fitted, "1")[::-1] == together


def test_probabilities_are_as_frequent_as_they_say_and_rank(fitted, training):
    scores = [each.score for each in model.score(training.rows, fitted, "1")]
    assert np.mean(scores) == pytest.approx(np.mean(training.labels), rel=0.1)
    assert roc_auc_score(training.labels, scores) > 0.7


def test_levels_are_at_most_as_frequent_in_training_as_promised(fitted, training):
    levels = [each.level for each in model.score(training.rows, fitted, "1")]
    high, raised = levels.count(Level.HIGH), len(levels) - levels.count(Level.LOW)
    assert 0 < high <= model.HIGH_SHARE * len(levels)
    assert high < raised <= model.RAISED_SHARE * len(levels)


def test_every_raised_score_has_reasons_that_raise_it(fitted, others):
    scores = model.score(others, fitted, "7")
    assert {each.level for each in scores} == set(Level)
    for each in scores:
        assert (each.scorer, each.version, each.target, each.horizon_days) == (
            "model_departure",
            "7",
            Target.TUTOR_DEPARTURE,
            30,
        )
        added = [reason.contribution for reason in each.reasons]
        assert added == sorted(added, reverse=True)
        assert all(number > 0 for number in added)
        assert len(added) <= 5
        assert each.reasons or each.level is Level.LOW


def test_a_reason_says_what_was_seen_and_what_is_usual(fitted, others):
    median = {term.column: term.median for term in fitted.terms}
    row = {**others[0], **median, "reschedule_rate_30d": 0.6, "sessions_30d": 20}
    (score,) = model.score([row], fitted, "1")
    reason = next(each for each in score.reasons if each.code == "reschedule_rate_30d")
    assert (reason.value, reason.n) == (0.6, 20)
    assert reason.reference == median["reschedule_rate_30d"]
    assert reason.label == "share of sessions rescheduled (30 days) higher than usual"


def test_the_same_rate_over_more_sessions_says_more(fitted, others):
    row = {**others[0], "reschedule_rate_30d": 0.6}

    def added(sessions):
        (score,) = model.score([{**row, "sessions_30d": sessions}], fitted, "1")
        return next(
            each.contribution for each in score.reasons if each.code == "reschedule_rate_30d"
        )

    assert 0 < added(2) < added(40)


def test_null_is_the_median_and_nothing_at_all_is_too_little(fitted, others):
    median = {term.column: term.median for term in fitted.terms}
    usual, unknown, nothing = model.score(
        [
            {**others[0], **median},
            {**others[0], **median, "avg_rating_90d": None, "late_rate_30d": None},
            {**others[0], **dict.fromkeys(model.READS)},
        ],
        fitted,
        "1",
    )
    assert usual.score == unknown.score
    assert (nothing.status, nothing.score, nothing.level) == (
        Status.INSUFFICIENT_DATA,
        None,
        None,
    )
    assert nothing.reasons == ()


def test_numbers_as_postgresql_gives_them(fitted, others):
    exact = {
        name: Decimal(repr(value)) if isinstance(value, float) else value
        for name, value in others[0].items()
    }
    assert model.score([exact], fitted, "1") == model.score(others[:1], fitted, "1")


def test_no_coefficient_goes_against_its_direction(fitted):
    risks = {feature.column: feature.risk for feature in model.FEATURES}
    assert all(term.coefficient * risks[term.column] >= 0 for term in fitted.terms)
    assert any(term.coefficient for term in fitted.terms)


def test_of_noise_nothing_is_learned_that_goes_against_its_direction(training):
    rng = np.random.default_rng(1)
    fitted = model.fit(training.rows, rng.random(len(training.rows)) < 0.1, training.known_on)
    risks = {feature.column: feature.risk for feature in model.FEATURES}
    assert all(term.coefficient * risks[term.column] >= 0 for term in fitted.terms)


@pytest.mark.parametrize("left", [False, True])
def test_of_one_kind_of_tutors_nothing_can_be_learned(training, left):
    with pytest.raises(ValueError, match="nothing to learn"):
        model.fit(training.rows, [left] * len(training.rows), DAY)


@given(st.integers(0, 399), st.data())
@settings(max_examples=60, deadline=None)
def test_more_of_what_is_bad_never_lowers_the_challenger(challenger, others, at, data):
    feature = data.draw(st.sampled_from(model.FEATURES))
    row = others[at]
    if row[feature.column] is None:
        return
    more = {**row, feature.column: row[feature.column] + feature.risk * data.draw(st.floats(0, 1))}
    before, after = challenger([row, more])
    assert after >= before


@pytest.fixture(scope="module")
def challenger(training):
    return model.fit_challenger(training.rows, training.labels)


def test_a_constant_model_calls_nobody_high(fitted, others):
    flat = replace(
        fitted,
        terms=tuple(replace(term, coefficient=0.0) for term in fitted.terms),
        medium_above=0.5,
        high_above=0.5,
        intercept=0.0,
    )
    assert {each.level for each in model.score(others, flat, "1")} == {Level.LOW}

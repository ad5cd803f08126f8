"""The back-test, and that it would notice a leak: every check of leakage is applied to what is
honest, and to something planted that it must catch."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.scores.frames import FIRST, made_up
from tutor_pipeline.scores import backtest, model, promotion
from tutor_pipeline.scores.backtest import Fold, Plan, Question, Scorer, folds_of
from tutor_pipeline.scores.evaluation import Metric
from tutor_pipeline.scores.score import Level

DAY = timedelta(days=1)


class LeakFoundError(AssertionError):
    """A check of leakage found one."""


@pytest.fixture(scope="module")
def frames():
    return made_up(400, 16, seed=5)


@pytest.fixture(scope="module")
def plan(frames):
    return Plan(known_until=frames.known_until, replicates=60)


def by(name, value, **options) -> Scorer:
    """A scorer that says `value(row)`."""
    return Scorer(
        name, "1", lambda training: lambda rows: [(value(row), None) for row in rows], **options
    )


HONEST = by("missed", lambda row: row["no_show_rate_30d"])


@pytest.fixture(scope="module")
def result(frames, plan):
    def levelled(rows):
        return [
            (row["tutor_reschedules_30d"], Level.HIGH if row["tutor_reschedules_30d"] > 3
             else Level.LOW)
            for row in rows
        ]  # fmt: skip

    scorers = [
        Scorer("signals_v1", "1", lambda training: levelled),
        HONEST,
        *backtest.learned(),
        backtest.oracle(frames.burnout),
    ]
    return backtest.run(frames.history, frames.departures, scorers, plan, state=frames.state)


def answer(result, question=Question.DEPARTURE):
    return next(each for each in result.answers if each.question is question)


def auc(result, name, question=Question.DEPARTURE):
    tested = next(each for each in answer(result, question).tested if each.scorer == name)
    return tested.figures[Metric.AUC]


# Leakage


def check_shuffled(frames, plan, build, scorers):
    """With departures dealt out at random nobody does better than chance, over several deals.
    `build` makes the rows from the history and the departures."""
    tutors = [row["tutor_id"] for row in frames.history[FIRST]]
    days = list(frames.departures.values())
    found = {scorer.name: [] for scorer in scorers}
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(tutors))
        dealt = {tutors[n]: day for n, day in zip(order, days, strict=False)}
        tested = backtest.run(
            build(frames.history, dealt), dealt, scorers, replace(plan, replicates=0)
        )
        for name, values in found.items():
            values.append(auc(tested, name).value)
    for name, values in found.items():
        error = np.std(values, ddof=1) / np.sqrt(len(values))
        if not abs(np.mean(values) - 0.5) <= 3 * error:
            raise LeakFoundError(f"{name}: {np.mean(values):.3f} ± {error:.3f}")


def honest_rows(history, departures):
    return history


def rows_that_know(history, departures):
    """A feature that was filled in when the tutor left, and lets it show before."""
    return {
        day: [
            {**row, "no_show_rate_30d": 1.0 if row["tutor_id"] in departures else 0.0}
            for row in rows
        ]
        for day, rows in history.items()
    }


def test_shuffled_departures_are_foretold_by_nobody(frames, plan):
    check_shuffled(frames, plan, honest_rows, [HONEST, *backtest.learned()])


@pytest.mark.parametrize("scorers", [[HONEST], backtest.learned()[:1]])
def test_a_feature_that_knows_the_future_is_caught(frames, plan, scorers):
    with pytest.raises(LeakFoundError):
        check_shuffled(frames, plan, rows_that_know, scorers)


def check_embargo(folds, plan):
    """No label that is learned from was still open on the first day of the test."""
    if not folds:
        raise LeakFoundError("nothing to check")
    for fold in folds:
        if any(plan.matures_on(day) >= fold.test[0] for day in fold.train):
            raise LeakFoundError(f"{max(fold.train)} matures after {fold.test[0]}")


@given(st.integers(6, 60), st.integers(1, 14), st.integers(7, 60), st.integers(2, 5))
def test_training_never_sees_a_label_that_matures_in_the_test(number, step, horizon, blocks):
    days = [FIRST + n * step * DAY for n in range(number)]
    plan = Plan(days[-1] + horizon * DAY, horizon_days=horizon, fold_count=blocks)
    folds = folds_of(days, plan)
    if not folds:
        return
    check_embargo(folds, plan)
    tested = [day for fold in folds for day in fold.test]
    assert tested == sorted(set(tested))
    assert len(folds) == blocks


def test_training_up_to_the_test_is_caught(frames, plan):
    folds = folds_of(list(frames.history), plan)
    check_embargo(folds, plan)
    days = sorted(frames.history)
    greedy = [Fold(tuple(day for day in days if day < fold.test[0]), fold.test) for fold in folds]
    with pytest.raises(LeakFoundError):
        check_embargo(greedy, plan)


def check_training(frames, plan, run=backtest.run):
    """What a scorer is really given to learn from was known before its first test day."""
    given = []

    def spy(training):
        def predict(rows):
            given.append((training, rows[0]["as_of_date"]))
            return [(0.0, None)] * len(rows)

        return predict

    run(frames.history, frames.departures, [Scorer("spy", "1", spy, is_learned=True)], plan)
    if not given:
        raise LeakFoundError("nothing to check")
    for training, day in given:
        newest = max(row["as_of_date"] for row in training.rows)
        if not plan.matures_on(newest) <= training.known_on < day:
            raise LeakFoundError(f"{newest} is learned from on {day}")


def test_what_a_scorer_is_given_was_known(frames, plan, monkeypatch):
    check_training(frames, plan)
    whole = tuple(sorted(frames.history))
    honest = folds_of

    def greedy(days, plan):
        return [replace(fold, train=whole) for fold in honest(days, plan)]

    monkeypatch.setattr(backtest, "folds_of", greedy)
    with pytest.raises(LeakFoundError):
        check_training(frames, plan)


def check_future_is_unseen(frames, plan, scorer):
    """The scores of a day are the same when all later days are other ones."""
    fitted = scorer.prepare(backtest.latest_training(frames.history, frames.departures, plan))
    days = sorted(frames.history)
    first = fitted(frames.history[days[3]])
    for day in days[4:]:
        fitted([{**row, "no_show_rate_30d": 0.9} for row in frames.history[day]])
    if fitted(frames.history[days[3]]) != first:
        raise LeakFoundError(scorer.name)


def test_scores_of_a_day_do_not_change_with_later_days(frames, plan):
    for scorer in [HONEST, *backtest.learned()]:
        check_future_is_unseen(frames, plan, scorer)

    def that_remembers(training):
        seen = []

        def predict(rows):
            seen.extend(row["no_show_rate_30d"] or 0.0 for row in rows)
            return [((row["no_show_rate_30d"] or 0.0) - max(seen), None) for row in rows]

        return predict

    with pytest.raises(LeakFoundError):
        check_future_is_unseen(frames, plan, Scorer("remembers", "1", that_remembers))


def check_nobody_gone_is_scored(frames, plan, run=backtest.run):
    """Nobody is scored who has left by the day on which the row is used."""
    scored = []

    def predict(rows):
        scored.extend((row["tutor_id"], row["as_of_date"]) for row in rows)
        return [(0.0, None)] * len(rows)

    run(frames.history, frames.departures, [Scorer("spy", "1", lambda training: predict)], plan)
    for tutor, day in scored:
        if tutor in frames.departures and frames.departures[tutor] <= plan.used_on(day):
            raise LeakFoundError(f"{tutor} was gone on {day}")
    if not scored:
        raise LeakFoundError("nothing to check")


def test_nobody_already_gone_is_scored(frames, plan, monkeypatch):
    check_nobody_gone_is_scored(frames, plan)
    monkeypatch.setattr(backtest, "_present", lambda history, departures, plan: (history, 0))
    with pytest.raises(LeakFoundError):
        check_nobody_gone_is_scored(frames, plan)


def test_better_than_who_sees_the_hidden_state_is_suspicious(frames, plan):
    cheat = by("cheat", lambda row: float(row["tutor_id"] in frames.departures))
    scorers = [cheat, HONEST, backtest.oracle(frames.burnout)]
    found = backtest.run(frames.history, frames.departures, scorers, plan)
    (note,) = found.notes
    assert note.startswith("Suspicious: cheat does better on departure")


# What it says


def test_the_learned_beat_chance_and_nobody_the_ceiling(result):
    assert auc(result, model.SCORER).lower > 0.6
    for question in Question:
        best = auc(result, "oracle", question)
        for tested in answer(result, question).tested:
            assert tested.figures[Metric.AUC].lower <= best.upper
    assert auc(result, "oracle", Question.STATE).value == 1.0
    assert result.notes == ()


def test_rows_of_the_metrics_table(result, plan):
    rows = result.metric_rows()
    keys = {(row["scorer"], row["target"], row["metric"]) for row in rows}
    assert len(keys) == len(rows)
    assert ("signals_v1", "state", "observed_rate_high") in keys
    assert (model.SCORER, "departure", "calibration_slope") in keys
    # A forecast of departures is none of the state.
    assert (model.SCORER, "state", "calibration_slope") not in keys
    departure = next(row for row in rows if row["target"] == "departure")
    sample = answer(result).sample
    assert departure["horizon_days"] == plan.horizon_days
    assert (departure["rows"], departure["positives"], departure["leavers"]) == (
        len(sample),
        sample.positives,
        sample.leavers,
    )
    for row in rows:
        assert row["lower"] is None or row["lower"] <= row["upper"]


def test_every_row_is_tested_or_counted_as_left_out(frames, result):
    everything = sum(map(len, frames.history.values()))
    assert set(result.left_out) == {"already_gone", "only_learned_from"}
    assert result.rows + sum(result.left_out.values()) == everything


def test_the_model_can_be_put_to_the_decision(result):
    folds = result.folds(model.SCORER, "signals_v1")
    assert len(folds) == 3
    assert sum(len(fold.sample) for fold in folds) == len(answer(result).sample)
    found = promotion.decide(folds, 49, "signals_v1", replicates=20)
    assert not found.is_promoted
    assert result.folds("nobody", "signals_v1") == []


def test_the_same_back_test_twice_is_the_same(frames, plan, result):
    again = backtest.run(frames.history, frames.departures, [HONEST], plan, state=frames.state)
    assert auc(again, "missed").value is not None
    fewer = {(row["metric"], row["target"]): row for row in again.metric_rows()}
    for row in result.metric_rows():
        if row["scorer"] == "missed" and row["metric"] == "auc":
            assert fewer["auc", row["target"]] == row


def tiny(departed_on, known_until, days=(FIRST,)):
    history = {
        day: [{"tutor_id": name, "as_of_date": day, "x": 1.0} for name in ("T1", "T2")]
        for day in days
    }
    return backtest.run(
        history,
        {"T1": departed_on} if departed_on else {},
        [by("x", lambda row: row["x"])],
        Plan(known_until=known_until, replicates=5),
    )


@pytest.mark.parametrize(
    ("after", "leavers", "rows"),
    [(0, 0, 1), (1, 0, 1), (2, 1, 2), (31, 1, 2), (32, 0, 2)],
)
def test_the_window_opens_after_the_row_is_used_and_lasts_30_days(after, leavers, rows):
    found = tiny(FIRST + after * DAY, FIRST + 60 * DAY)
    assert (answer(found).sample.leavers, len(answer(found).sample)) == (leavers, rows)
    assert found.left_out.get("already_gone", 0) == 2 - rows


def test_only_windows_that_have_passed_count():
    assert answer(tiny(None, FIRST + 31 * DAY)).sample.positives == 0
    found = tiny(None, FIRST + 30 * DAY)
    assert found.answers == ()
    assert found.left_out == {"departure_not_yet_known": 2}
    assert "No day has an outcome that is known" in found.notes[0]


def test_a_short_history_tests_the_rules_and_says_why_nothing_was_learned():
    frames = made_up(60, 3, seed=2)
    plan = Plan(known_until=frames.known_until, replicates=5)
    found = backtest.run(
        frames.history, frames.departures, [HONEST, *backtest.learned()], plan, state=frames.state
    )
    assert {tested.scorer for tested in answer(found).tested} == {"missed"}
    assert found.dates == 3
    assert "Not tested: model_departure, challenger_boosting" in found.notes[0]


def test_wrong_uses_are_refused(frames, plan):
    with pytest.raises(ValueError, match="share a name"):
        backtest.run(frames.history, {}, [HONEST, HONEST], plan)
    with pytest.raises(ValueError, match="nothing to test"):
        backtest.run({}, {}, [HONEST], plan)
    short = Scorer("short", "1", lambda training: lambda rows: [])
    with pytest.raises(ValueError, match="short gave 0 scores"):
        backtest.run(frames.history, {}, [short], plan)


def test_progress_counts_the_days(frames, plan):
    steps = []
    backtest.run(
        frames.history,
        frames.departures,
        [HONEST],
        plan,
        progress=lambda step, done, total: steps.append((done, total)),
    )
    assert steps == [(n + 1, len(steps)) for n in range(len(steps))]

"""The back-test, and that it would notice a leak: every check of leakage is applied to what is
honest, and to something planted that it must catch."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.judgement.scores.frames import FIRST, made_up, weeks_of
from tutor_pipeline.judgement.scores import backtest
from tutor_pipeline.judgement.scores.backtest import (
    CHALLENGER,
    Fold,
    Plan,
    Question,
    Scorer,
    folds_of,
    replay,
)
from tutor_pipeline.judgement.scores.departure.forecast import ASKED_SILENCE_DAYS
from tutor_pipeline.judgement.scores.departure.tutors import TUTORS
from tutor_pipeline.judgement.scores.evaluation import Metric
from tutor_pipeline.judgement.scores.score import Level

pytestmark = pytest.mark.slow

SCORER, PRIORS = TUTORS.scorer, TUTORS.priors
DAY = timedelta(days=1)
YEARLY = 0.25


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


def forecasts(history) -> list[Scorer]:
    """departure_v1, the same with nothing learned, and what departures alone teach."""
    return backtest.forecasts(TUTORS, weeks_of(history), YEARLY)


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
        *forecasts(frames.history),
        backtest.oracle(frames.burnout),
    ]
    return backtest.run(frames.history, frames.departures, scorers, plan, state=frames.state)


def answer(result, question=Question.DEPARTURE):
    return next(each for each in result.answers if each.question is question)


def auc(result, name, question=Question.DEPARTURE):
    tested = next(each for each in answer(result, question).tested if each.scorer == name)
    return tested.figures[Metric.AUC]


# Leakage


def dealt(history, departures, seed):
    """Departures of other tutors: their days, and the silence that follows. What else is known of
    a tutor stays, so nothing foretells who leaves.
    """
    tutors = [row["tutor_id"] for row in history[FIRST]]
    order = np.random.default_rng(seed).permutation(len(tutors))
    fates = {tutors[n]: day for n, day in zip(order, departures.values(), strict=False)}

    def silent(row):
        gone = (row["as_of_date"] - fates.get(row["tutor_id"], row["as_of_date"] + DAY)).days + 1
        still = departures.get(row["tutor_id"], row["as_of_date"] + DAY) > row["as_of_date"]
        return float(gone) if gone > 0 else row["days_since_last_session"] if still else 1.0

    rows = {
        day: [row | {"days_since_last_session": silent(row)} for row in rows]
        for day, rows in history.items()
    }
    return rows, fates


def check_shuffled(frames, plan, build, scorers):
    """With departures dealt out at random nobody does better than chance, over several deals.
    `build` makes the rows from the history and the departures, `scorers` who is asked from the
    rows."""
    found = {}
    for seed in range(6):
        history, fates = dealt(frames.history, frames.departures, seed)
        rows = build(history, fates)
        tested = backtest.run(rows, fates, scorers(rows), replace(plan, replicates=0))
        for each in answer(tested).tested:
            found.setdefault(each.scorer, []).append(each.figures[Metric.AUC].value)
    for name, values in found.items():
        error = np.std(values, ddof=1) / np.sqrt(len(values))
        if not abs(np.mean(values) - 0.5) <= 3 * error:
            raise LeakFoundError(f"{name}: {np.mean(values):.3f} ± {error:.3f}")
    return found.keys()


def honest_rows(history, departures):
    return history


def rows_that_know(history, departures):
    """Features that were filled in when the tutor left, and let it show before."""
    return {
        day: [
            row
            | {
                "no_show_rate_30d": 1.0 if row["tutor_id"] in departures else 0.0,
                "reply_hours_14d": 9.0 if row["tutor_id"] in departures else 2.0,
            }
            for row in rows
        ]
        for day, rows in history.items()
    }


def test_shuffled_departures_are_foretold_by_nobody(frames, plan):
    asked = check_shuffled(frames, plan, honest_rows, lambda rows: [HONEST, *forecasts(rows)])
    assert asked == {"missed", SCORER, PRIORS, CHALLENGER}


@pytest.mark.parametrize("name", ["missed", SCORER, CHALLENGER])
def test_a_feature_that_knows_the_future_is_caught(frames, plan, name):
    def one(rows):
        return [each for each in (HONEST, *forecasts(rows)) if each.name == name]

    with pytest.raises(LeakFoundError, match=name):
        check_shuffled(frames, plan, rows_that_know, one)


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

    monkeypatch.setattr(replay, "folds_of", greedy)
    with pytest.raises(LeakFoundError):
        check_training(frames, plan)


def changed(history, days):
    """The same history, but for what was so on some days."""
    return {
        day: [row | {"no_show_rate_30d": 2.0, "reply_hours_14d": 40.0} for row in rows]
        if day in days
        else rows
        for day, rows in history.items()
    }


def check_future_is_unseen(frames, plan, scorer):
    """The scores of a day are the same when all later days are other ones. `scorer` makes one from
    the history."""
    days = sorted(frames.history)
    given, said = [], []
    for history in (frames.history, changed(frames.history, set(days[-3:]))):

        def spy(training, history=history):
            predict = scorer(history).prepare(training)

            def keep(rows):
                found = predict(rows)
                given.append(rows[0]["as_of_date"])
                if rows[0]["as_of_date"] not in days[-3:]:
                    said.append((rows[0]["as_of_date"], found))
                return found

            return keep

        backtest.run(history, frames.departures, [Scorer("spy", "1", spy)], plan)
    assert set(days[-3:]) < set(given)
    if said[: len(said) // 2] != said[len(said) // 2 :]:
        raise LeakFoundError(scorer(frames.history).name)


@pytest.mark.parametrize("place", range(4))
def test_scores_of_a_day_do_not_change_with_later_days(frames, plan, place):
    check_future_is_unseen(frames, plan, lambda history: (HONEST, *forecasts(history))[place])


def test_who_looks_at_all_days_is_caught(frames, plan):
    def that_looks_ahead(history):
        most = max(row["no_show_rate_30d"] or 0.0 for rows in history.values() for row in rows)
        return by("ahead", lambda row: (row["no_show_rate_30d"] or 0.0) - most)

    with pytest.raises(LeakFoundError, match="ahead"):
        check_future_is_unseen(frames, plan, that_looks_ahead)


def check_nobody_long_silent_is_scored(frames, plan):
    """Nobody is scored of whom the question is not any more whether they leave."""
    scored = []

    def predict(rows):
        scored.extend(rows)
        return [(0.0, None)] * len(rows)

    backtest.run(
        frames.history, frames.departures, [Scorer("spy", "1", lambda training: predict)], plan
    )
    for row in scored:
        silent = row["days_since_last_session"]
        if silent is None or silent > ASKED_SILENCE_DAYS:
            raise LeakFoundError(f"{row['tutor_id']} was long gone on {row['as_of_date']}")
    if not scored:
        raise LeakFoundError("nothing to check")


def test_nobody_long_silent_is_scored(frames, plan, monkeypatch):
    check_nobody_long_silent_is_scored(frames, plan)
    monkeypatch.setattr(replay, "_present", lambda history: (history, 0))
    with pytest.raises(LeakFoundError):
        check_nobody_long_silent_is_scored(frames, plan)


def test_better_than_who_sees_the_hidden_state_is_suspicious(frames, plan):
    cheat = by("cheat", lambda row: float(row["tutor_id"] in frames.departures))
    scorers = [cheat, HONEST, backtest.oracle(frames.burnout)]
    found = backtest.run(frames.history, frames.departures, scorers, plan)
    (note,) = found.notes
    assert note.startswith("Suspicious: cheat does better on departure")


# What it says


def test_the_learned_beat_chance_and_nobody_the_ceiling(result):
    for name in (SCORER, PRIORS, CHALLENGER):
        assert auc(result, name).lower > 0.6
    for question in (Question.STATE, Question.DEPARTURE):
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
    assert (SCORER, "departure", "calibration_slope") in keys
    # A forecast of departures is none of the state; without departures it is no percentage.
    assert (SCORER, "state", "calibration_slope") not in keys
    assert (PRIORS, "departure", "calibration_slope") not in keys
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
    assert set(result.left_out) == {"silent_too_long", "only_learned_from", "state_unknown"}
    asked = {
        question: len(answer(result, question).sample)
        for question in (Question.STATE, Question.DEPARTURE)
    }
    left_out = result.left_out
    assert result.rows + left_out["silent_too_long"] + left_out["only_learned_from"] == everything
    assert asked[Question.DEPARTURE] == result.rows
    # Who has left has no state any more.
    assert asked[Question.STATE] + left_out["state_unknown"] == result.rows


def test_what_learning_won_is_told(result):
    found = result.comparison(TUTORS)
    assert found.keys() == {Metric.AUC, Metric.AVERAGE_PRECISION}
    for name, figures in found.items():
        assert figures.keys() == {SCORER, PRIORS, CHALLENGER}
        for scorer, figure in figures.items():
            tested = next(each for each in answer(result).tested if each.scorer == scorer)
            assert figure["value"] == tested.figures[name].value


def test_where_no_forecast_was_tested_nothing_is_compared(frames, plan):
    found = backtest.run(frames.history, frames.departures, [HONEST], plan)
    assert found.comparison(TUTORS) == {}
    assert tiny(None, FIRST + 30 * DAY).comparison(TUTORS) == {}


def test_departures_move_the_forecast_and_not_the_one_that_learns_nothing(frames, plan):
    """The same rows, tested once with the real departures and once without any."""

    def said(departures):
        found = backtest.run(
            frames.history, departures, forecasts(frames.history)[:2], plan, state=frames.state
        )
        return answer(found, Question.STATE).predictions

    taught, untaught = said(frames.departures), said({})
    assert np.array_equal(taught[PRIORS].scores, untaught[PRIORS].scores)
    assert not np.array_equal(taught[SCORER].scores, untaught[SCORER].scores)


def test_the_same_back_test_twice_is_the_same(frames, plan, result):
    again = backtest.run(frames.history, frames.departures, [HONEST], plan, state=frames.state)
    assert auc(again, "missed").value is not None
    fewer = {(row["metric"], row["target"]): row for row in again.metric_rows()}
    for row in result.metric_rows():
        if row["scorer"] == "missed" and row["metric"] == "auc":
            assert fewer["auc", row["target"]] == row


def tiny(departed_on, known_until, days=(FIRST,), silent=1):
    history = {
        day: [
            {"tutor_id": name, "as_of_date": day, "x": 1.0, "days_since_last_session": since}
            for name, since in (("T1", silent), ("T2", 1))
        ]
        for day in days
    }
    return backtest.run(
        history,
        {"T1": departed_on} if departed_on else {},
        [by("x", lambda row: row["x"])],
        Plan(known_until=known_until, replicates=5),
    )


@pytest.mark.parametrize(
    ("after", "leavers"), [(-44, 1), (0, 1), (1, 1), (2, 1), (30, 1), (31, 1), (32, 0)]
)
def test_who_completes_no_session_after_settling_and_30_days_has_left(after, leavers):
    """The day after the last session, counted from the row's: also one that has passed."""
    found = tiny(FIRST + after * DAY, FIRST + 60 * DAY)
    assert (answer(found).sample.leavers, len(answer(found).sample)) == (leavers, 2)
    assert found.left_out == {}


@pytest.mark.parametrize(("silent", "rows"), [(45, 2), (46, 1), (None, 1)])
def test_nobody_is_asked_about_after_45_days_of_silence(silent, rows):
    found = tiny(FIRST - 44 * DAY, FIRST + 60 * DAY, silent=silent)
    assert len(answer(found).sample) == rows
    assert found.left_out.get("silent_too_long", 0) == 2 - rows


def test_where_all_are_long_silent_there_is_nothing_to_test():
    with pytest.raises(ValueError, match="nothing to test"):
        backtest.run(
            {FIRST: [{"tutor_id": "T1", "as_of_date": FIRST, "days_since_last_session": 46}]},
            {},
            [],
            Plan(known_until=FIRST + 60 * DAY),
        )


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
        frames.history,
        frames.departures,
        [HONEST, *forecasts(frames.history)],
        plan,
        state=frames.state,
    )
    assert {tested.scorer for tested in answer(found).tested} == {"missed", SCORER, PRIORS}
    assert found.dates == 3
    assert found.notes[0].startswith(f"Not tested: {CHALLENGER}. Fewer than 10 tutors had left")
    # Nothing has matured: what is learned is what it was before.
    said = answer(found, Question.STATE).predictions
    assert np.array_equal(said[SCORER].scores, said[PRIORS].scores)


def test_who_has_no_hidden_state_any_more_is_above_all_others_for_the_ceiling():
    def row(tutor):
        return {"tutor_id": tutor, "as_of_date": FIRST}

    predict = backtest.oracle({("T1", FIRST): 1.0, ("T2", FIRST): 0.2}).prepare(None)
    there, well, gone = (score for score, _ in predict([row("T1"), row("T2"), row("T3")]))
    assert gone > there > well


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

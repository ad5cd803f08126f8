"""The figures of judged platforms, by hand, and that the truth decides nothing but the ceiling."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest

from tutor_pipeline.judgement.scores import known_truth
from tutor_pipeline.judgement.scores.departure import outcomes
from tutor_pipeline.judgement.scores.departure.tutors import TUTORS
from tutor_pipeline.judgement.scores.known_truth import (
    Judged,
    Platform,
    auc,
    figures,
    first_right,
    hits_at,
)

START = date(2026, 1, 1)


def judged(scores, happened, day=None, high=None):
    size = len(scores)
    said = {
        "day": np.zeros(size, dtype=int) if day is None else np.array(day),
        "happened": np.array(happened, dtype=bool),
        "high_priors": np.zeros(size, dtype=bool) if high is None else np.array(high),
        "high_learned": np.zeros(size, dtype=bool),
        "chance": np.full(size, 0.1),
        **{name: np.array(scores, dtype=float) for name in ("priors", "learned", "ceiling")},
    }
    return Judged(size, 2, said, said | {"alone": said["priors"]})


def test_found_are_those_above_the_threshold_that_15_percent_of_the_others_exceed():
    others = list(range(20))  # 3 of them above 16
    assert hits_at(np.array([*others, 17, 16.5, 16, 3]), np.array([0] * 20 + [1] * 4) > 0) == 2
    assert hits_at(np.array([1.0, 2.0]), np.array([True, True])) is None
    assert hits_at(np.array([1.0, np.nan]), np.array([True, False])) is None


def test_each_platform_flags_its_own_and_those_found_are_added_up():
    low, high = np.arange(20.0), 100 + np.arange(20.0)
    one = judged([*low, 19, 19, 19], [0] * 20 + [1] * 3)
    other = judged([*high, 101, 101, 119], [0] * 20 + [1] * 3)
    assert figures([one, other])["found_priors"] == pytest.approx(4 / 6)
    # Too few to tell.
    assert figures([one])["found_priors"] is None


def test_the_first_eight_are_held_against_what_could_be_found():
    scores = [*range(20), *range(20)]
    happened = [0] * 18 + [1, 1] + [1] + [0] * 19
    days = [0] * 20 + [1] * 20
    assert first_right(judged(scores, happened, days), "priors") == pytest.approx((1 + 0) / 2)
    assert first_right(judged(scores, [0] * 40, days), "priors") is None


def test_high_is_counted_with_how_many_are_right():
    found = figures([judged([3, 2, 1, 0], [1, 0, 1, 0], high=[1, 1, 0, 0])])
    assert (found["high_priors"], found["high_right_priors"]) == (2, 1)


def test_auc_counts_ties_half():
    assert auc(np.array([1, 1, 0]), np.array([True, False, False])) == pytest.approx(0.75)
    assert auc(np.array([1, 0]), np.array([True, True])) is None


def platform(seed: int, at_risk: dict[tuple[str, date], bool]) -> Platform:
    """Sixty tutors over 400 days; some leave, and teach less before."""
    rng = np.random.default_rng(seed)
    tutors = [f"T{n:02}" for n in range(60)]
    weeks = []
    departures = {f"T{n:02}": START + timedelta(days=200 + 3 * n) for n in range(12)}
    for age in range(90, 400, 7):
        day = START + timedelta(days=age)
        columns = {name: np.zeros(60) for name in TUTORS.reads}
        columns["days_seen"] += 300
        going = np.array(
            [0 <= (departures.get(each, day - timedelta(9)) - day).days <= 30 for each in tutors]
        )
        for name, days in (("7d", 7), ("14d", 14), ("28d", 28)):
            columns[f"completed_{name}"] = rng.poisson(np.where(going, 0.1, 0.5) * days)
        for name in ("before_14d", "before_28d"):
            columns[f"completed_{name}"] = rng.poisson(28, 60)
        columns["days_since_completed"] = rng.integers(0, 3, 60)
        floats = {name: np.asarray(values, dtype=float) for name, values in columns.items()}
        weeks.append(outcomes.standard(TUTORS, outcomes.Week(day, tutors, floats)))
    return Platform(weeks, at_risk, departures, START)


@pytest.mark.slow
def test_the_truth_decides_nothing_of_what_is_said():
    days = [START + timedelta(days=age) for age in range(90, 400, 7)]
    tutors = [f"T{n:02}" for n in range(60)]
    one = {(tutor, day): tutor < "T06" for tutor in tutors for day in days}
    other = {key: not value for key, value in one.items()}
    first, second = (known_truth.judge(platform(1, truth), 0.25) for truth in (one, other))
    for name in ("priors", "learned", "high_priors", "high_learned", "chance"):
        assert (first.state[name] == second.state[name]).all()
    assert (first.state["ceiling"] != second.state["ceiling"]).any()
    assert first.departures > 0
    assert first.departure["day"].max() <= known_truth.DEPARTURES_UNTIL


def test_a_platform_without_weeks_to_judge_is_refused():
    empty = Platform([], {}, {}, START)
    with pytest.raises(ValueError, match="no weeks"):
        known_truth.judge(empty, 0.25)

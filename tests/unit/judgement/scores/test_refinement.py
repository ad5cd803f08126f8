"""Weights are refined where outcomes show that others are better, and nowhere else."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from tutor_pipeline.judgement.scores import refinement
from tutor_pipeline.judgement.scores.churn_weights import Levels, Weights
from tutor_pipeline.judgement.scores.refinement import MIN_CHURN_EVENTS, READS, Decision, refine
from tutor_pipeline.judgement.scores.storage.churn_weights import add, current, seed

pytestmark = pytest.mark.slow

AT = datetime(2026, 3, 1, tzinfo=UTC)
FIRST_WEEK = date(2025, 3, 2)
CURRENT = Weights(
    1,
    {
        "first_session_satisfaction": 0.25,
        "avg_session_score": 0.20,
        "sessions_completed": 0.15,
        "engagement_trend": 0.15,
        "tutor_consistency": 0.10,
        "scheduling_issues": 0.10,
        "price_sensitivity": 0.05,
    },
    AT,
    "",
    Levels(0.33, 0.66),
)
OTHERS = {
    "first_session_satisfaction": 0.0,
    "avg_session_score": 0.10,
    "sessions_completed": 0.0,
    "engagement_trend": 0.10,
    "tutor_consistency": 0.0,
    "scheduling_issues": 0.70,
    "price_sensitivity": 0.10,
}


def platform(
    seed: int,
    true: Mapping[str, float] | None,
    *,
    students: int = 600,
    weeks: int = 40,
    slope: float = 8.0,
    unknown: float = 0.1,
) -> list[dict[str, Any]]:
    """Students' weekly rows until each leaves, at a hazard that `true` weights say (None: by
    chance alone). Who left is replaced by another; who left after the last week is not known of.
    """
    rng = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for place in range(students):
        name, life = 0, []
        risks = draw(rng, unknown)
        for week in range(weeks + 5):
            day = FIRST_WEEK + timedelta(weeks=week)
            if week < weeks:
                life.append(row_of(f"{place}-{name}", day, risks))
            if rng.random() < hazard(risks, true, slope):
                rows += labelled(life, day + timedelta(days=rng.randint(1, 7)))
                name, life, risks = name + 1, [], draw(rng, unknown)
        rows += labelled(life, None)
    return rows


def draw(rng: random.Random, unknown: float) -> dict[str, float | None]:
    return {
        name: None if rng.random() < unknown else rng.betavariate(1.5, 3)
        for name in CURRENT.weights
    }


def hazard(risks: Mapping[str, float | None], true: Mapping[str, float] | None, slope: float):
    if true is None:
        return 0.01
    known = [name for name, risk in risks.items() if risk is not None and true[name] > 0]
    if not known:
        return 0.01
    total = sum(true[name] for name in known)
    return expit(-7.3 + slope * sum(true[name] / total * risks[name] for name in known))


def row_of(student: str, day: date, risks: Mapping[str, float | None]) -> dict[str, Any]:
    """Metrics of which the factors' risks are these."""

    def of(name: str, metric: Any) -> Any:
        return None if risks[name] is None else metric(risks[name])

    return {
        "student_id": student,
        "as_of_date": day,
        "first_session_satisfaction": of("first_session_satisfaction", lambda r: 10 - 10 * r),
        "avg_session_score_90d": of("avg_session_score", lambda r: 10 - 10 * r),
        "sessions_completed_all": of("sessions_completed", lambda r: 20 - 20 * r),
        "engagement_fall_30d": of("engagement_trend", lambda r: 10 * r),
        "distinct_tutors_all": of("tutor_consistency", lambda r: 2 + r / 0.15),
        "scheduling_issue_rate_90d": of("scheduling_issues", lambda r: r),
        "discount_share_90d": of("price_sensitivity", lambda r: r),
    } | dict.fromkeys(
        (
            "sessions_all",
            "sessions_90d",
            "scored_sessions_90d",
            "avg_engagement_30d_n",
            "discount_share_90d_n",
        ),
        9,
    )


def labelled(life: Iterable[dict[str, Any]], left: date | None) -> list[dict[str, Any]]:
    return [
        row
        | {
            "has_churned": left is not None
            and row["as_of_date"] < left <= row["as_of_date"] + timedelta(days=30)
        }
        for row in life
    ]


def leavers(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    return {row["student_id"] for row in rows if row["has_churned"]}


@pytest.fixture(scope="module")
def others_are_true() -> list[dict[str, Any]]:
    return platform(1, OTHERS)


@pytest.fixture(scope="module")
def decision(others_are_true) -> Decision:
    return refine(others_are_true, CURRENT)


def test_other_weights_are_accepted_where_they_are_true(others_are_true, decision):
    assert others_are_true[0].keys() == set(READS)
    assert decision.accepted, decision
    assert decision.churn_events == len(leavers(others_are_true)) >= MIN_CHURN_EVENTS
    assert decision.rows == len(others_are_true)
    assert decision.weights is not None
    assert decision.gain_lower_bound > 0
    assert decision.metric_after < decision.metric_before - decision.gain_lower_bound
    # Most of the way there, from 0.10.
    assert decision.weights["scheduling_issues"] > 0.4
    assert max(decision.weights, key=decision.weights.get) == "scheduling_issues"


def test_weights_are_whole_and_add_up(decision):
    weights = decision.weights
    assert weights.keys() == CURRENT.weights.keys()
    assert all(0 <= weight <= 1 for weight in weights.values())
    assert abs(sum(weights.values()) - 1) < 1e-9
    assert all(weight == round(weight, 6) for weight in weights.values())


def test_the_same_rows_in_any_order_give_the_same_decision(others_are_true, decision):
    shuffled = random.Random(3).sample(others_are_true, len(others_are_true))
    assert refine(shuffled, CURRENT) == decision


def test_weights_that_are_true_already_stay():
    decision = refine(platform(2, CURRENT.weights, slope=8), CURRENT)
    assert decision.churn_events >= MIN_CHURN_EVENTS
    assert not decision.accepted, decision
    assert decision.gain_lower_bound <= 0
    assert decision.weights is not None  # what was refused is recorded
    assert "may be chance" in decision.reason


def test_outcomes_by_chance_teach_nothing():
    decision = refine(platform(3, None, students=300), CURRENT)
    assert decision.churn_events >= MIN_CHURN_EVENTS
    assert not decision.accepted, decision


@pytest.mark.long
@pytest.mark.parametrize("true", [CURRENT.weights, None], ids=["current", "chance"])
def test_wrongly_accepted_at_most_about_one_time_in_twenty(true):
    wrong = [refine(platform(seed, true, students=250), CURRENT).accepted for seed in range(40)]
    assert sum(wrong) <= 5  # 40 draws at 5 %: 6 or more has a chance of 1.4 %


@pytest.mark.long
def test_rightly_accepted_nearly_always():
    right = [refine(platform(seed, OTHERS), CURRENT).accepted for seed in range(20)]
    assert sum(right) >= 19


def test_events_are_students_and_99_are_too_few(others_are_true):
    names = sorted(leavers(others_are_true))

    def with_events(number: int) -> list[dict[str, Any]]:
        # Each of the rest stays: more weeks of one leaver would be more rows, not more events.
        gone = set(names[number:])
        return [row for row in others_are_true if row["student_id"] not in gone]

    decision = refine(with_events(MIN_CHURN_EVENTS - 1), CURRENT)
    assert (decision.accepted, decision.weights) == (False, None)
    assert decision.churn_events == 99
    assert decision.metric_before is decision.metric_after is decision.gain_lower_bound is None
    assert decision.reason == "99 students left, at least 100 are needed"
    assert "100 are needed" not in refine(with_events(MIN_CHURN_EVENTS), CURRENT).reason


def test_nothing_can_be_held_out_of_a_few_weeks():
    rows = platform(4, OTHERS, students=4000, weeks=4)
    decision = refine(rows, CURRENT)
    assert decision.churn_events >= MIN_CHURN_EVENTS
    assert not decision.accepted
    assert "too few" in decision.reason
    assert refine([], CURRENT).churn_events == 0


def test_training_outcomes_are_known_before_the_first_held_out_row(others_are_true):
    folds = list(refinement._folds(refinement._gather(others_are_true, CURRENT)))
    assert len(folds) == 3
    held_out = [set(test.dates) for _, test in folds]
    assert not held_out[0] & held_out[1]
    for train, test in folds:
        assert max(train.dates) + 30 < min(test.dates)


def test_rows_that_the_weights_cannot_score_are_left_out(others_are_true):
    blank = {
        name: None if value is None or isinstance(value, float) else value
        for name, value in others_are_true[0].items()
    } | {"sessions_all": 0, "has_churned": True}
    rows = others_are_true[:100]
    assert refine([*rows, blank], CURRENT).rows == 100


def test_a_students_many_rows_are_not_many_observations():
    students = np.repeat(np.arange(50), 10)
    gain = np.repeat(np.random.default_rng(0).normal(0.1, 1, 50), 10)
    lower = refinement._lower_bound(gain, students)
    alone = gain[::10]
    assert lower == pytest.approx(alone.mean() - 1.64 * alone.std(ddof=1) / np.sqrt(50), abs=1e-12)
    assert lower < refinement._lower_bound(gain, np.arange(500))


@pytest.fixture
def weights_warehouse(warehouse):
    yield warehouse
    with warehouse.connect() as database:
        database.execute("truncate {ops}.churn_algorithm_weights, {ops}.churn_weight_levels")


def test_a_version_is_added_whole_and_the_old_one_stays(weights_warehouse):
    warehouse = weights_warehouse
    with warehouse.connect() as database:
        seed(database, AT)
        first = current(database)
        second = add(
            database,
            OTHERS,
            Levels(0.1, 0.2),
            replaces=first,
            at=AT + timedelta(days=1),
            notes="fitted",
        )
    with warehouse.connect() as database:
        found = current(database)
        assert found == second
        assert (found.version, found.weights, found.notes) == (2, OTHERS, "fitted")
        assert found.levels == Levels(0.1, 0.2)
        assert first.levels == Levels(0.33, 0.66)
        counts = database.execute(
            "select version, count(*) from {ops}.churn_algorithm_weights"
            " group by version order by version"
        ).fetchall()
        assert [tuple(row) for row in counts] == [(1, 7), (2, 7)]


@pytest.mark.parametrize("weights", [{"one": 0.5}, {"one": 1.5, "two": -0.5}])
def test_what_does_not_add_up_is_refused_at_once(weights_warehouse, weights):
    warehouse = weights_warehouse
    with warehouse.connect() as database:
        seed(database, AT)
        first = current(database)
        with pytest.raises(psycopg.errors.IntegrityError):
            add(database, weights, first.levels, replaces=first, at=AT, notes="")
        assert current(database) == first


def test_of_two_that_replace_the_same_version_one_is_refused(weights_warehouse):
    warehouse = weights_warehouse
    with warehouse.connect() as database:
        seed(database, AT)
        first = current(database)
        second = add(database, OTHERS, first.levels, replaces=first, at=AT, notes="")
        for others in (CURRENT.weights, {"another": 1.0}):
            with pytest.raises(psycopg.errors.IntegrityError):
                add(database, others, first.levels, replaces=first, at=AT, notes="")
        assert current(database) == second


def test_what_was_learned_before_levels_belonged_to_versions_is_not_in_force(weights_warehouse):
    """One by hand is, with the first version's levels; the next is numbered after all of them."""
    warehouse = weights_warehouse
    with warehouse.connect() as database:
        seed(database, AT)
        for version, notes in ((2, "by hand"), (3, "refined: on held-out rows")):
            for factor, weight in OTHERS.items():
                database.execute(
                    "insert into {ops}.churn_algorithm_weights values (%s, %s, %s, %s, %s)",
                    (version, factor, weight, AT, notes),
                )
        found = current(database)
        assert (found.version, found.levels) == (2, Levels(0.33, 0.66))
        fourth = add(database, OTHERS, Levels(0.1, 0.2), replaces=found, at=AT, notes="refined:")
        assert fourth.version == 4
        assert current(database) == fourth


def test_a_factor_without_variance_keeps_its_weight(others_are_true):
    """Known and the same of everybody, or known of nobody."""
    rows = [
        {**row, "distinct_tutors_all": 4, "discount_share_90d": None, "discount_share_90d_n": 0}
        for row in others_are_true
    ]
    found = refine(rows, CURRENT)
    assert found.accepted
    for factor in ("tutor_consistency", "price_sensitivity"):
        assert found.weights[factor] == CURRENT.weights[factor]
        assert factor in found.reason
    assert sum(found.weights.values()) == pytest.approx(1, abs=1e-9)
    assert found.weights["scheduling_issues"] > CURRENT.weights["scheduling_issues"]


def test_levels_of_fitted_weights_call_as_many_at_risk(others_are_true, decision):
    """The cut-offs of the version before would call other shares so."""
    data = refinement._gather(others_are_true, CURRENT)
    fitted = np.array([decision.weights[name] for name in data.factors])
    before, after = (refinement._scores(data, each)[0] for each in (data.start, fitted))
    for level in ("medium_from", "high_from"):
        was = (before >= getattr(CURRENT.levels, level)).sum()
        now = (after.round(6) >= getattr(decision.levels, level)).sum()
        assert now == pytest.approx(was, abs=max(3, 0.02 * len(after)))
    assert decision.levels.medium_from <= decision.levels.high_from
    assert decision.levels != CURRENT.levels


def test_a_version_that_silences_everybody_is_refused(others_are_true):
    """Nobody reaches Medium under the weights in force, so nobody would under the fitted ones."""
    found = refine(others_are_true, replace(CURRENT, levels=Levels(0.99, 0.999)))
    assert not found.accepted
    assert found.gain_lower_bound > 0
    assert "nobody would be at Medium or High" in found.reason


_SHARES = st.lists(st.integers(0, 100).map(lambda n: n / 100), min_size=1, max_size=40)


@given(_SHARES, st.data(), st.integers(1, 99), st.integers(1, 99))
def test_levels_carried_over_are_in_order_and_reached_as_before(before, data, first, second):
    after = data.draw(st.permutations(before)) if data.draw(st.booleans()) else before[::-1]
    levels = Levels(*(each / 100 for each in sorted((first, second))))
    found = refinement.carried_over(levels, np.array(before), np.array(after))
    assert 0 < found.medium_from <= found.high_from
    # The same scores in another order: the same number of rows.
    for level in ("medium_from", "high_from"):
        was = (np.array(before) >= getattr(levels, level)).sum()
        assert (np.array(after) >= getattr(found, level)).sum() == was


@given(_SHARES, _SHARES.filter(lambda shares: len(shares) > 1))
def test_a_level_that_nobody_reached_is_reached_by_nobody(before, after):
    size = min(len(before), len(after))
    levels = refinement.carried_over(
        Levels(1.5, 2.0), np.array(before[:size]), np.array(after[:size])
    )
    assert levels.medium_from > max(after[:size])


def test_equal_scores_of_everybody_put_nobody_at_high():
    before = np.array([0.7] + [0.4] * 9 + [0.1] * 90)
    found = refinement.carried_over(Levels(0.33, 0.66), before, np.full(100, 0.5))
    assert not (np.full(100, 0.5) >= found.high_from).any()
    assert not (np.full(100, 0.5) >= found.medium_from).any()


def test_of_a_tie_at_the_top_fewer_are_at_high_rather_than_many_more():
    before = np.array([0.7] + [0.1] * 99)
    after = np.array([0.9] * 5 + [0.1] * 95)
    found = refinement.carried_over(Levels(0.33, 0.66), before, after)
    assert (after >= found.high_from).sum() == 0

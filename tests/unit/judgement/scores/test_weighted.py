"""weighted_v1: each factor by hand, NULLs whose weight is shared out, levels, whose students."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutor_pipeline.judgement.scores.churn_weights import Levels, Weights
from tutor_pipeline.judgement.scores.score import Level, Status, Target
from tutor_pipeline.judgement.scores.weighted import (
    FACTORS,
    READS,
    TutorStudents,
    at_risk_by_tutor,
    score,
)

FIRST = Weights(
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
    datetime(2026, 3, 1, tzinfo=UTC),
    "",
    Levels(0.33, 0.66),
)


def student(**values: Any) -> dict[str, Any]:
    """A student without any risk."""
    return {
        "student_id": "p1",
        "status": "active",
        "is_churn_inferred": False,
        "tutor_ids": ["t1"],
        "first_session_satisfaction": 10.0,
        "sessions_all": 30,
        "sessions_completed_all": 20,
        "avg_session_score_90d": 10.0,
        "scored_sessions_90d": 8,
        "distinct_tutors_all": 2,
        "engagement_fall_30d": 0.0,
        "avg_engagement_30d_n": 4,
        "scheduling_issue_rate_90d": 0.0,
        "sessions_90d": 12,
        "discount_share_90d": 0.0,
        "discount_share_90d_n": 12,
    } | values


def only(row: dict[str, Any], weights: Weights = FIRST) -> Any:
    (found,) = score([row], weights)
    return found


def of(**weights: float) -> Weights:
    return Weights(2, weights, FIRST.effective_from, "", FIRST.levels)


def test_it_reads_what_it_says():
    assert set(READS) == set(student())
    assert set(FACTORS) == set(FIRST.weights)


def test_who_is_at_no_risk():
    found = only(student())
    assert (found.subject_id, found.scorer, found.version) == ("p1", "weighted_v1", "1")
    assert (found.target, found.horizon_days) == (Target.STUDENT_CHURN, 30)
    assert (found.score, found.level, found.status) == (0, Level.LOW, Status.OK)
    assert found.is_probability is False
    assert found.reasons == ()


@pytest.mark.parametrize(
    ("factor", "values", "risk"),
    [
        ("first_session_satisfaction", {"first_session_satisfaction": 4}, 0.6),
        ("first_session_satisfaction", {"first_session_satisfaction": 0}, 1),
        ("sessions_completed", {"sessions_completed_all": 5}, 0.75),
        ("sessions_completed", {"sessions_completed_all": 0}, 1),
        ("sessions_completed", {"sessions_completed_all": 21}, 0),
        ("avg_session_score", {"avg_session_score_90d": 7.5}, 0.25),
        ("tutor_consistency", {"distinct_tutors_all": 1}, 0),
        ("tutor_consistency", {"distinct_tutors_all": 3}, 0.15),
        ("tutor_consistency", {"distinct_tutors_all": 8}, 0.9),
        ("tutor_consistency", {"distinct_tutors_all": 9}, 1),
        ("engagement_trend", {"engagement_fall_30d": 2.5}, 0.25),
        ("engagement_trend", {"engagement_fall_30d": -3}, 0),
        ("scheduling_issues", {"scheduling_issue_rate_90d": 0.4}, 0.4),
        ("price_sensitivity", {"discount_share_90d": 0.3}, 0.3),
    ],
)
def test_each_factor(factor, values, risk):
    found = only(student(**values))
    assert found.score == pytest.approx(FIRST.weights[factor] * risk, abs=1e-9)
    assert only(student(**values), of(**{factor: 1.0})).score == risk
    if risk:
        (reason,) = found.reasons
        assert (reason.code, reason.value) == (factor, next(iter(values.values())))
        assert reason.contribution == pytest.approx(found.score)
    else:
        assert found.reasons == ()


def test_the_reasons_come_largest_first_with_what_they_rest_on():
    found = only(
        student(first_session_satisfaction=4, avg_session_score_90d=5, distinct_tutors_all=4)
    )
    assert found.score == pytest.approx(0.25 * 0.6 + 0.20 * 0.5 + 0.10 * 0.3)
    assert [
        (reason.code, reason.value, reason.reference, reason.n, reason.contribution)
        for reason in found.reasons
    ] == [
        ("first_session_satisfaction", 4, 10, 1, 0.15),
        ("avg_session_score", 5, 10, 8, 0.1),
        ("tutor_consistency", 4, 2, 30, 0.03),
    ]


def test_the_weight_of_what_is_unknown_is_shared_out_and_shown():
    found = only(student(first_session_satisfaction=None, avg_session_score_90d=4))
    assert found.score == pytest.approx(0.20 * 0.6 / 0.75)
    known, unknown = found.reasons
    assert known.contribution == pytest.approx(0.16)
    assert (unknown.code, unknown.value, unknown.n) == ("first_session_satisfaction", None, 0)
    assert unknown.contribution == 0
    assert unknown.label == "Satisfaction with the first session: unknown, its weight is shared out"
    # What weighs nothing has no weight to share out.
    weights = of(avg_session_score=1.0, first_session_satisfaction=0.0)
    found = only(student(first_session_satisfaction=None, avg_session_score_90d=4), weights)
    assert [reason.code for reason in found.reasons] == ["avg_session_score"]


def test_without_a_session_nothing_is_known():
    nothing = {
        name: None if isinstance(value, float) else 0
        for name, value in student().items()
        if name not in ("student_id", "status", "is_churn_inferred", "tutor_ids")
    }
    found = only(student(**nothing))
    assert (found.score, found.level, found.status) == (None, None, Status.INSUFFICIENT_DATA)
    assert {reason.code for reason in found.reasons} == set(FACTORS)
    # Nor where only what weighs nothing is known.
    weights = of(first_session_satisfaction=1.0, avg_session_score=0.0)
    assert only(student(first_session_satisfaction=None), weights).status is (
        Status.INSUFFICIENT_DATA
    )


@pytest.mark.parametrize(
    ("share", "level"),
    [
        (0.329999, Level.LOW),
        (0.33, Level.MEDIUM),
        (0.659999, Level.MEDIUM),
        (0.66, Level.HIGH),
        (1 - 0.34, Level.HIGH),
        (1, Level.HIGH),
    ],
)
def test_levels(share, level):
    weights = of(price_sensitivity=1.0)
    assert only(student(discount_share_90d=share), weights).level is level


def test_levels_are_those_of_the_version():
    weights = replace(of(price_sensitivity=1.0), levels=Levels(0.05, 0.1))
    found = [only(student(discount_share_90d=share), weights).level for share in (0.049, 0.05, 0.1)]
    assert found == [Level.LOW, Level.MEDIUM, Level.HIGH]


def test_who_has_left_is_not_scored():
    assert score([student(status="churned")], FIRST) == []
    assert score([student(status=None, is_churn_inferred=True)], FIRST) == []
    assert len(score([student(status="paused"), student(status=None)], FIRST)) == 2


def test_a_factor_that_there_is_not():
    with pytest.raises(ValueError, match="unknown factors: luck"):
        score([], of(luck=1.0))


def test_whose_students_are_at_high_risk():
    weights = of(price_sensitivity=1.0)
    rows = [
        student(
            student_id=name,
            discount_share_90d=share,
            tutor_ids=tutors,
            status=status,
            is_churn_inferred=status is None,
        )
        for name, share, tutors, status in [
            ("a", 0.7, ["t2", "t1"], "active"),
            ("b", 0.9, ["t1"], "active"),
            ("c", 0.7, ["t1"], "paused"),
            ("d", 0.5, ["t1", "t3"], "active"),
            ("e", 0.9, ["t1", "t4"], "churned"),
            ("f", None, ["t1"], "active"),
            ("g", 0.9, [], "active"),
            ("h", 0.9, ["t1", "t4"], None),  # gone for long
        ]
    ]
    assert at_risk_by_tutor(score(rows, weights), rows) == [
        TutorStudents("t1", 5, 3, ["b", "a", "c"]),
        TutorStudents("t2", 1, 1, ["a"]),
        TutorStudents("t3", 1, 0, []),
    ]


def test_a_tutors_students_count_whether_or_not_they_are_scored():
    """Who has long been silent is not asked about, and nobody's student at risk."""
    rows = [student(student_id=name) for name in ("a", "b")]
    (scored,) = score([student(student_id="a", discount_share_90d=1.0)], of(price_sensitivity=1.0))
    assert at_risk_by_tutor([scored], rows) == [TutorStudents("t1", 2, 1, ["a"])]
    assert at_risk_by_tutor([], rows) == [TutorStudents("t1", 2, 0, [])]


@st.composite
def any_student(draw):
    def maybe(values):
        return draw(st.none() | values)

    share, ten = st.floats(0, 1), st.floats(0, 10)
    return student(
        first_session_satisfaction=maybe(ten),
        sessions_all=draw(st.integers(0, 50)),
        sessions_completed_all=draw(st.integers(0, 50)),
        avg_session_score_90d=maybe(ten),
        distinct_tutors_all=draw(st.integers(0, 20)),
        engagement_fall_30d=maybe(st.floats(-10, 10)),
        scheduling_issue_rate_90d=maybe(share),
        discount_share_90d=maybe(share),
    )


@given(any_student(), st.floats(0, 1e-12))
def test_a_score_is_the_sum_of_its_reasons_and_always_the_same(row, noise):
    found = only(row)
    assert score([row], FIRST) == [found]
    contributions = [reason.contribution for reason in found.reasons]
    assert contributions == sorted(contributions, reverse=True)
    if found.score is None:
        assert not any(contributions)
    else:
        assert 0 <= found.score <= 1
        assert found.score == pytest.approx(sum(contributions), abs=1e-5)
        assert found.level is Level.LOW or any(contributions)
    # In which order floats were summed does not show.
    exact = {
        name: round(value, 6) + 0.0 if isinstance(value, float) else value
        for name, value in row.items()
    }
    nudged = {
        name: value + noise if isinstance(value, float) else value for name, value in exact.items()
    }
    assert only(nudged) == only(exact)

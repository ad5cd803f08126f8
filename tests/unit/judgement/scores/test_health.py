"""health_v1 and student_health_v1: by hand, where data is missing, and the laws that hold."""

import json
import pickle
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutor_pipeline.judgement.scores import health
from tutor_pipeline.judgement.scores.health import (
    BURNOUT,
    FIRST_SESSIONS,
    HEALTH,
    MINIMUM,
    NOTHING_USUAL,
    READS,
    STAR,
    STUDENT_HEALTH,
    STUDENT_READS,
    Usual,
    assess_students,
    fit,
    star_evidence,
)
from tutor_pipeline.judgement.scores.score import Level, Status, Target

STEADY = {
    "tutor_id": "T1",
    "sessions_60d": 24,
    "sessions_90d": 36,
    "sessions_taught_14d": 5,
    "sessions_taught_30d": 12,
    "sessions_completed_14d": 4,
    "sessions_completed_30d": 10,
    "days_since_last_session": 3,
    "session_completion_rate": 0.83,
    "cancellation_rate": 0.0,
    "no_show_rate": 0.0,
    "reschedule_rate_30d": 0.08,
    "late_rate_30d": 0.0,
    "late_count_30d_n": 10,
    "avg_rating": 4.2,
    "avg_rating_30d_n": 6,
    "rating_trend": None,
    "avg_rating_7d_n": 1,
    "rating_volatility": 0.5,
    "score_change_14d": 0.1,
    "score_change_14d_n": 4,
    "overall_score": 7.8,
    "overall_score_n": 30,
    "student_retention_rate": 0.7,
    "unique_students_30d": 6,
    "utilization_rate": 0.5,
    "avg_response_time_hours": 2.5,
    "available_hours_this_week": 8.0,
    "available_hours_next_week": 8.0,
    "first_session_count_90d": 6,
    "first_session_avg_rating_90d": 3.9,
    "first_session_avg_rating_90d_n": 4,
    "first_session_convert_rate_90d": 0.75,
    "first_session_convert_rate_90d_n": 4,
    "first_session_avg_score_90d": 7.2,
    "first_session_avg_score_90d_n": 6,
}
TIRED = {
    **STEADY,
    "sessions_taught_14d": 1,
    "sessions_completed_14d": 0,
    "days_since_last_session": 18,
    "cancellation_rate": 0.25,
    "no_show_rate": 0.2,
    "reschedule_rate_30d": 0.4,
    "late_rate_30d": 0.5,
    "avg_rating": 3.1,
    "rating_trend": -0.9,
    "avg_rating_7d_n": 3,
    "rating_volatility": 1.3,
    "score_change_14d": -2.6,
    "utilization_rate": 1.1,
    "avg_response_time_hours": 14.0,
    "available_hours_next_week": 3.0,
}
STUDENT = {
    "student_id": "P1",
    "status": "active",
    "is_churn_inferred": False,
    "usual_gap_days": 7.0,
    "sessions_completed_all": 20,
    "sessions_completed_30d": 4,
    "sessions_90d": 15,
    "days_since_last_session": 3,
    "scheduling_issue_rate_90d": 0.1,
    "avg_session_score_90d": 8.0,
    "scored_sessions_90d": 12,
    "avg_engagement_30d": 7.0,
    "avg_engagement_30d_n": 3,
    "engagement_fall_30d": 0.2,
    "first_session_satisfaction": 8.0,
}
OUTPUTS = (
    "health_score",
    "burnout_risk_14d",
    "burnout_risk_30d",
    "session_velocity",
    "first_session_success",
)


def assess(rows, usual=NOTHING_USUAL):
    return health.assess(rows, usual)


def of(**changes):
    return assess([{**STEADY, **changes}])[0]


def student_of(churn=0.2, **changes):
    return assess_students([{**STUDENT, **changes}], {"P1": churn})[0]


def scores_of(assessed):
    return {(score.target, score.horizon_days): score for score in assessed.scores}


def test_the_rows_of_these_tests_are_what_is_read():
    assert set(STEADY) == {"tutor_id", *READS}
    assert set(STUDENT) == {"student_id", *STUDENT_READS}


@pytest.mark.parametrize("parts", [BURNOUT, HEALTH, FIRST_SESSIONS, STUDENT_HEALTH])
def test_the_weights_are_shares_of_one(parts):
    assert sum(part.weight for part in parts) == pytest.approx(1)
    assert all((part.prior > 0) == (part.n is not None) for part in parts)


def test_a_steady_ordinary_tutor():
    steady = of()
    assert steady.burnout_risk_30d < 0.2
    assert 60 < steady.health_score < 80
    scores = scores_of(steady)
    assert scores[Target.TUTOR_BURNOUT, 30].level == Level.LOW
    assert [(*key, score.version, score.is_probability) for key, score in scores.items()] == [
        (Target.TUTOR_BURNOUT, 14, "2", False),
        (Target.TUTOR_BURNOUT, 30, "2", False),
        (Target.SESSION_VELOCITY, 7, "2", False),
        (Target.FIRST_SESSION_SUCCESS, 30, "2", False),
        (Target.HEALTH, 0, "2", False),
    ]
    assert {(score.scorer, score.subject_id) for score in steady.scores} == {("health_v1", "T1")}


def test_a_tired_tutor():
    tired = assess([TIRED])[0]
    assert tired.burnout_risk_30d > 0.7
    assert tired.health_score < 60
    score = scores_of(tired)[Target.TUTOR_BURNOUT, 30]
    assert score.level == Level.HIGH
    missed = next(reason for reason in score.reasons if reason.code == "no_shows")
    assert (missed.label, missed.value, missed.reference, missed.n) == (
        "Sessions the tutor missed: 20.0%",
        0.2,
        0.02,
        12,
    )


def test_burnout_by_hand():
    # Nothing but sessions is known: of 0.42 of the weight, 0.18 + 0.08 speak of activity.
    known = {
        "tutor_id": "T1",
        "sessions_90d": 90,
        "sessions_taught_14d": 0,
        "days_since_last_session": 20,
        "cancellation_rate": 0.0,
        "no_show_rate": 0.0,
    }
    found = assess([dict.fromkeys(READS) | known])[0]
    falling = (0.85 - 30 / 120) / (0.85 - 0.2)  # no session of 90, and 30 usual ones besides
    mean = (0.18 * falling + 0.08 * 0.5) / 0.42
    assert found.burnout_risk_30d == pytest.approx(1 - 2.718281828459045 ** (-5 * mean), abs=1e-6)
    assert found.burnout_risk_14d == pytest.approx(
        1 - 2.718281828459045 ** (-5 * mean * 14 / 30), abs=1e-6
    )
    reasons = scores_of(found)[Target.TUTOR_BURNOUT, 30].reasons
    assert [(reason.code, reason.n) for reason in reasons[:2]] == [
        ("falling_activity", 90),
        ("absence", None),
    ]
    unknown = [reason for reason in reasons if reason.value is None]
    assert len(unknown) == len(BURNOUT) - 4
    assert all("its weight is shared out" in reason.label for reason in unknown)


def test_health_by_hand():
    known = {
        "tutor_id": "T1",
        "sessions_90d": 40,
        "sessions_taught_30d": 10,
        "session_completion_rate": 0.65,
        "no_show_rate": 0.1,
        "days_since_last_session": 7,
        "avg_rating": 4.4,
        "avg_rating_30d_n": 5,
    }
    found = assess([dict.fromkeys(READS) | known])[0]
    rating = ((4.4 + 4.1) / 2 - 3) / 1.8  # five ratings, and five usual ones
    completion = ((0.65 + 0.85) / 2 - 0.5) / 0.45
    no_shows = 1 - (0.1 + 0.01) / 2 / 0.15
    points = 0.22 * rating + 0.12 * completion + 0.10 * no_shows + 0.05
    assert found.health_score == pytest.approx(100 * points / 0.49, abs=1e-6)
    top = scores_of(found)[Target.HEALTH, 0].reasons[0]
    assert top.label == "Rating: 4.4 (31 of 45 points)"


def test_velocity_is_the_mean_of_two_paces():
    found = of(sessions_completed_14d=4, sessions_completed_30d=15)
    assert found.session_velocity == pytest.approx((4 / 2 + 15 * 7 / 30) / 2)
    assert of(sessions_completed_14d=0, sessions_completed_30d=0).session_velocity == 0
    assert of(sessions_completed_14d=None).session_velocity is None


def test_first_session_success_by_hand():
    found = of(
        first_session_convert_rate_90d=0.5,
        first_session_convert_rate_90d_n=5,
        first_session_avg_rating_90d=3.0,
        first_session_avg_rating_90d_n=5,
        first_session_avg_score_90d=None,
    )
    expected = (0.5 * 0.55 + 0.3 * (3.4 - 1) / 4) / 0.8
    assert found.first_session_success == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "outputs"),
    [
        ({"sessions_90d": 4}, {"health_score", "burnout_risk_14d", "burnout_risk_30d"}),
        ({"sessions_90d": None}, {"health_score", "burnout_risk_14d", "burnout_risk_30d"}),
        ({"sessions_90d": 5}, set()),
        ({"first_session_count_90d": 2}, {"first_session_success"}),
        ({"first_session_count_90d": 3}, set()),
        (
            {
                "first_session_convert_rate_90d": None,
                "first_session_avg_rating_90d": None,
            },
            {"first_session_success"},
        ),
    ],
)
def test_too_little_known(changes, outputs):
    found = of(**changes)
    assert {name for name in OUTPUTS if getattr(found, name) is None} == outputs
    for score in found.scores:
        assert (score.status == Status.INSUFFICIENT_DATA) == (score.score is None)
        if score.score is None:
            assert score.level is None
            assert score.reasons[0].label.startswith("Too little to tell")


def test_a_row_without_anything():
    found = assess([dict.fromkeys(READS) | {"tutor_id": "T9"}])[0]
    assert [getattr(found, name) for name in OUTPUTS] == [None] * 5


@pytest.mark.parametrize("part", BURNOUT, ids=lambda part: part.code)
def test_what_is_missing_gives_its_weight_to_the_rest(part):
    """Without one part, the others still weigh in their proportions."""
    missing = {
        "activity_ratio": "sessions_taught_14d",
        "offered_hours_ratio": "available_hours_next_week",
    }.get(part.metric, part.metric)
    whole = scores_of(assess([TIRED])[0])[Target.TUTOR_BURNOUT, 30]
    less = scores_of(assess([{**TIRED, missing: None}])[0])[Target.TUTOR_BURNOUT, 30]
    by_code = {reason.code: reason.contribution for reason in whole.reasons}
    left = {reason.code: reason.contribution for reason in less.reasons}
    assert left.pop(part.code) == 0
    factors = {left[code] / by_code[code] for code in left}
    assert max(factors) == pytest.approx(min(factors), rel=1e-4)


def test_ratios_are_unknown_without_what_they_divide_by():
    values = of(
        sessions_90d=5,
        sessions_60d=5,
        sessions_taught_30d=5,
        sessions_taught_14d=5,
        available_hours_this_week=0.0,
    ).values
    assert (values["activity_ratio"], values["offered_hours_ratio"]) == (None, None)


@pytest.mark.parametrize(
    ("sessions", "ratio"),
    [
        ((5, 12, 24, 36), 5 * 76 / (31 * 14)),
        # There for 60 days, and for 30: what lies before does not make the pace before look slow.
        ((5, 25, 50, 50), 5 * 46 / (45 * 14)),
        ((5, 25, 25, 25), 5 * 16 / (20 * 14)),
        ((0, 0, 0, 12), 0.0),
    ],
)
def test_the_pace_before_is_of_the_days_that_there_were(sessions, ratio):
    names = ("sessions_taught_14d", "sessions_taught_30d", "sessions_60d", "sessions_90d")
    values = of(**dict(zip(names, sessions, strict=True))).values
    assert values["activity_ratio"] == pytest.approx(ratio)


RATES = st.none() | st.floats(0, 1)
COUNTS = st.none() | st.integers(0, 200)


def _anything(name):
    if name.startswith(("sessions", "first_session_count")) or name.endswith(("_n", "_30d_n")):
        return COUNTS
    if name in ("rating_trend", "score_change_14d"):
        return st.none() | st.floats(-5, 5)
    if name.endswith("rate") or "_rate_" in name:
        return RATES
    return st.none() | st.floats(0, 60)


ROWS = st.fixed_dictionaries({name: _anything(name) for name in READS})


@given(row=ROWS)
def test_every_output_keeps_its_bounds_and_its_reasons_add_up(row):
    found = assess([{**row, "tutor_id": "T1"}])[0]
    if found.burnout_risk_30d is not None:
        assert 0 <= found.burnout_risk_14d <= found.burnout_risk_30d <= 1
    if found.health_score is not None:
        assert 0 <= found.health_score <= 100
    if found.first_session_success is not None:
        assert 0 <= found.first_session_success <= 1
    assert found.session_velocity is None or found.session_velocity >= 0
    for score in found.scores:
        contributions = [reason.contribution for reason in score.reasons]
        assert contributions == sorted(contributions, reverse=True)
        assert min(contributions, default=0) >= 0
        if score.score is not None:
            assert sum(contributions) == pytest.approx(score.score, abs=1e-4)
        if score.level in (Level.MEDIUM, Level.HIGH):
            assert contributions[0] > 0


WORSE = {
    "days_since_last_session": 1,
    "reschedule_rate_30d": 1,
    "cancellation_rate": 1,
    "no_show_rate": 1,
    "late_rate_30d": 1,
    "rating_trend": -1,
    "score_change_14d": -1,
    "avg_rating": -1,
    "rating_volatility": 1,
    "utilization_rate": 1,
    "avg_response_time_hours": 1,
    "available_hours_next_week": -1,
    "sessions_taught_14d": -1,
}


@given(
    row=ROWS,
    known=st.fixed_dictionaries({name: st.integers(0, 40) for name in WORSE}),
    sessions=st.integers(41, 200),
    name=st.sampled_from(sorted(WORSE)),
    by=st.integers(1, 10),
)
def test_worse_never_lowers_burnout(row, known, sessions, name, by):
    before = {**row, **known, "tutor_id": "T1", "sessions_90d": sessions}
    before[name] /= 10
    after = {**before, name: before[name] + by * WORSE[name] / 10}
    one, other = assess([before, after])
    assert other.burnout_risk_30d >= one.burnout_risk_30d
    assert other.burnout_risk_14d >= one.burnout_risk_14d


@pytest.mark.parametrize(("name", "direction"), WORSE.items())
def test_each_part_counts(name, direction):
    """From a steady tutor, the worst of each thing alone does raise burnout."""
    worst = {"rating_trend": -1.5, "score_change_14d": -4, "avg_rating": 2.0}.get(
        name, 60 if direction > 0 and "rate" not in name else max(direction, 0)
    )
    base = {"rating_trend": 0.0} if name == "rating_trend" else {}
    enough = {"avg_rating_7d_n": 5}
    assert of(**{name: worst}, **enough).burnout_risk_30d > of(**base, **enough).burnout_risk_30d


def test_few_observations_say_little():
    few = of(sessions_taught_30d=2, no_show_rate=0.5)
    many = of(sessions_taught_30d=100, no_show_rate=0.5)
    assert of().burnout_risk_30d < few.burnout_risk_30d < many.burnout_risk_30d


def test_the_same_rows_give_the_same_bytes():
    rows = [{**TIRED, "tutor_id": "T2"}, STEADY]
    once = assess(rows)
    decimals = [
        {
            name: Decimal(str(value)) if isinstance(value, float) else value
            for name, value in reversed(row.items())
        }
        for row in rows
    ]
    assert pickle.dumps(assess(decimals)) == pickle.dumps(once)
    assert assess(rows[::-1])[::-1] == once
    # Floats that were summed in another order differ in digits that decide nothing.
    assert of(avg_rating=4.2 + 1e-12).scores == of().scores
    assert of(avg_rating=4.3).scores[0].input_hash != of().scores[0].input_hash


# What is usual on the platform


def row(name, **changes):
    return {**STEADY, "tutor_id": name, **changes}


def platform(tutors=40, **changes):
    return [row(f"T{number}", **changes) for number in range(tutors)]


HALVED = {"sessions_taught_14d": 3, "sessions_60d": 30, "sessions_90d": 40}
"""A pace of 3 in 14 days after 37 in 76: 0.44 of what it was."""


def test_what_all_tutors_changed_by_is_the_median_drawn_towards_no_change():
    usual = fit(platform(score_change_14d=-0.9, available_hours_next_week=4.0, **HALVED))
    activity = 3 * 76 / (37 * 14)
    assert usual.common == {
        "activity_ratio": pytest.approx(activity ** (40 / 50)),
        "offered_hours_ratio": pytest.approx(0.5 ** (40 / 50)),
        "score_change_14d": pytest.approx(-0.9 * 40 / 50),
    }
    assert (usual.hours, usual.sessions) == (8.0, 10)


def test_who_is_long_silent_or_hardly_taught_does_not_tell_what_is_common():
    rows = platform(5)
    others = [
        row("silent", days_since_last_session=46, sessions_taught_14d=0),
        row("never", days_since_last_session=None, sessions_taught_14d=0),
        row("new", sessions_90d=4, sessions_60d=4, sessions_taught_30d=4, sessions_taught_14d=1),
    ]
    assert fit([*rows, *others]).common == fit(rows).common
    just = row("just", days_since_last_session=45, sessions_taught_14d=0)
    assert fit([*rows, just]).common != fit(rows).common


def test_of_nobody_nothing_is_usual():
    assert fit([]) == fit([dict.fromkeys(READS)]) == NOTHING_USUAL


def test_in_holidays_nobody_is_worse_than_the_others():
    alone = assess(platform(1, **HALVED))[0]
    among = assess(platform(1, **HALVED), fit(platform(1_000, **HALVED)))[0]
    assert alone.burnout_risk_30d > of().burnout_risk_30d
    reasons = {each.code: each for each in among.scores[1].reasons}
    assert "falling_activity" not in reasons
    activity = next(each for each in among.scores[4].reasons if each.code == "activity")
    assert activity.label.startswith(
        "Pace of the last 14 days against before: 44%, of all tutors 44%"
    )
    assert activity.reference == pytest.approx(0.44, abs=0.01)
    assert among.health_score > alone.health_score


def test_who_stopped_in_holidays_fell_more_than_the_others_but_few_sessions_say_little():
    usual = fit(platform(1_000, **HALVED))
    stopped = {**HALVED, "sessions_taught_14d": 0}
    in_term, in_holidays = (
        assess(platform(1, **stopped))[0],
        assess(platform(1, **stopped), usual)[0],
    )
    usually = assess(platform(1, **HALVED), usual)[0]
    assert usually.burnout_risk_30d < in_holidays.burnout_risk_30d < in_term.burnout_risk_30d


def test_where_all_stopped_stopping_says_nothing():
    stopped = {**HALVED, "sessions_taught_14d": 0}
    usual = fit(platform(**stopped))
    assert usual.common["activity_ratio"] == 0
    (found,) = assess(platform(1, **stopped), usual)
    (reason,) = [each for each in found.scores[1].reasons if each.code == "falling_activity"]
    assert reason.label.endswith("not known, its weight is shared out")


def test_a_fall_of_scores_that_all_have_is_nobodys():
    usual = Usual({"score_change_14d": -2.0}, None, None)
    (fallen,) = assess(platform(1, score_change_14d=-2.0, score_change_14d_n=20), usual)
    assert "falling_scores" not in {each.code for each in fallen.scores[1].reasons}
    (fell_more,) = assess(platform(1, score_change_14d=-4.0, score_change_14d_n=20), usual)
    (reason,) = [each for each in fell_more.scores[1].reasons if each.code == "falling_scores"]
    assert (reason.value, reason.reference) == (-4.0, -2.0)
    assert reason.label.endswith(": -4.0, of all tutors -2.0")


@given(rows=st.lists(ROWS, max_size=6), seed=st.randoms(use_true_random=False))
def test_alone_and_among_all_gives_the_same_bytes(rows, seed):
    rows = [{**each, "tutor_id": f"T{number}"} for number, each in enumerate(rows)]
    usual = fit(rows)
    shuffled = list(rows)
    seed.shuffle(shuffled)
    assert fit(shuffled) == usual
    stored = Usual.from_json(json.loads(json.dumps(usual.to_json())), 17)
    assert (stored.common, stored.hours, stored.sessions) == (
        usual.common,
        usual.hours,
        usual.sessions,
    )
    among = assess(rows, stored)
    assert [assess([each], stored)[0] for each in rows] == among
    assert {score.version for tutor in among for score in tutor.scores} <= {"2.17"}


def test_another_reference_is_another_input():
    halved = fit(platform(**HALVED))
    assert assess([STEADY], halved)[0].scores[0].input_hash != of().scores[0].input_hash


# What a star rests on

WITH_HOURS = Usual({}, 8.0, 10.0)
WITHOUT_HOURS = Usual({"activity_ratio": 0.8}, None, 10.0)
SHINES = {"session_completion_rate": 1.0, "reschedule_rate_30d": 0.0, "avg_rating": 4.9,
          "avg_rating_30d_n": 20, "overall_score": 9.2, "student_retention_rate": 0.95,
          "sessions_taught_14d": 5, "first_session_avg_rating_90d": 4.9}  # fmt: skip


def evidence_of(usual=WITH_HOURS, risk=Level.LOW, **changes):
    (tutor,) = assess([{**STEADY, **SHINES, **changes}], usual)
    return star_evidence(tutor, usual, risk)


def test_a_star_rests_on_hours_sessions_and_what_is_known():
    assert evidence_of() == 1
    assert evidence_of(available_hours_this_week=7.6) == 0.95
    assert evidence_of(available_hours_this_week=0.0) == 0
    assert evidence_of(available_hours_this_week=None) is None
    assert evidence_of(sessions_90d=12, sessions_60d=12) == 12 / STAR.sessions_90d
    bare = evidence_of(avg_rating=None, overall_score=None, student_retention_rate=None)
    assert bare == pytest.approx(0.52 / STAR.known_weight)


@pytest.mark.parametrize("risk", [Level.MEDIUM, Level.HIGH, None])
@pytest.mark.parametrize("usual", [WITH_HOURS, WITHOUT_HOURS], ids=["hours", "no hours"])
def test_nobody_is_a_star_whom_the_forecast_does_not_call_low(risk, usual):
    assert evidence_of(usual) is not None
    assert evidence_of(usual, risk) is None


def test_where_nobodys_hours_are_known_a_star_teaches_more_and_has_not_slowed_down():
    pace = 5 * 76 / (31 * 14) / 0.8
    assert pace / STAR.pace > 1
    assert evidence_of(WITHOUT_HOURS) == 1  # sessions: 10 of 10
    assert evidence_of(WITHOUT_HOURS, available_hours_this_week=None) == 1
    assert evidence_of(WITHOUT_HOURS, sessions_completed_30d=9) == 0.9
    slowed = evidence_of(WITHOUT_HOURS, sessions_taught_14d=3, sessions_completed_30d=99)
    assert slowed == pytest.approx(3 * 76 / (33 * 14) / 0.8 / STAR.pace)
    lower = evidence_of(WITHOUT_HOURS, avg_rating=3.5, sessions_completed_30d=99)
    assert 0.9 < lower < 1
    assert evidence_of(WITHOUT_HOURS, sessions_completed_30d=None) is None
    assert evidence_of(Usual({}, None, None)) is None


def test_of_nothing_everybody_offers_enough():
    assert evidence_of(Usual({}, 0.0, 10.0), available_hours_this_week=0.0) == 1


def test_a_student_by_hand():
    found = student_of(
        churn=None,
        days_since_last_session=21,
        sessions_completed_30d=2,
        scheduling_issue_rate_90d=None,
        avg_session_score_90d=None,
        avg_engagement_30d=None,
        engagement_fall_30d=1.0,
        first_session_satisfaction=6.5,
    )
    assert found.health_score == pytest.approx(50)
    assert found.scores[0].scorer == "student_health_v1"
    assert found.scores[0].target == Target.HEALTH


def test_a_student_who_does_well_and_one_who_does_not():
    well = student_of(churn=0.1)
    badly = student_of(
        churn=0.8,
        days_since_last_session=30,
        sessions_completed_30d=0,
        scheduling_issue_rate_90d=0.6,
        avg_session_score_90d=4.0,
        avg_engagement_30d=3.0,
        engagement_fall_30d=2.0,
        first_session_satisfaction=4.0,
    )
    assert well.health_score > 80
    assert badly.health_score < 25


def test_a_higher_churn_score_lowers_the_health_of_a_student():
    assert student_of(churn=0.7).health_score < student_of(churn=0.2).health_score


def test_students_of_whom_too_little_is_known():
    new = student_of(sessions_completed_all=0)
    assert (new.health_score, new.scores[0].status) == (None, Status.INSUFFICIENT_DATA)
    bare = dict.fromkeys(STUDENT_READS) | {"student_id": "P1", "sessions_completed_all": 3}
    assert assess_students([bare], {})[0].health_score is None


def test_a_student_who_left_has_no_health():
    gone = student_of(status="churned")
    assert gone.health_score is None
    assert gone.scores[0].reasons[0].label == "The student has left"


def test_a_student_who_is_taken_to_have_left_has_no_health():
    gone = student_of(status=None, is_churn_inferred=True, days_since_last_session=60)
    assert (gone.health_score, gone.is_churn_inferred) == (None, True)
    (reason,) = gone.scores[0].reasons
    assert reason.label == "Taken to have left: no session for 60 days, one every 7 is usual"
    assert (reason.value, reason.reference) == (60, 7)
    there = student_of(status=None, days_since_last_session=60)
    assert there.scores[0].input_hash != gone.scores[0].input_hash


def test_the_minimum_is_met_by_a_platform_that_has_only_sessions():
    metrics = {"activity_ratio", "days_since_last_session", "cancellation_rate", "no_show_rate"}
    known = sum(part.weight for part in BURNOUT if part.metric in metrics)
    assert known >= MINIMUM.known_weight


def test_a_part_never_counts_more_than_all_or_less_than_nothing():
    part = BURNOUT[0].model_copy(update={"zero": 0.0, "full": 1.0, "prior": 0})
    assert [part.share(value, None) for value in (-9, 0.25, 9)] == [0, 0.25, 1]

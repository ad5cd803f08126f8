"""Recommendations at their thresholds, and the rows of ops.tutor_health and ops.student_health."""

import json
from datetime import UTC, datetime

import pytest
from psycopg import sql

from tutor_pipeline.judgement.scores import health
from tutor_pipeline.judgement.scores.health import (
    NOTHING_USUAL,
    READS,
    STUDENT_READS,
    Usual,
    assess_students,
)
from tutor_pipeline.judgement.scores.recommendations import (
    FOR_STUDENTS,
    FOR_TUTORS,
    recommend,
    student_rows,
    tutor_rows,
)
from tutor_pipeline.judgement.scores.score import Level, Subject
from tutor_pipeline.judgement.scores.segments import Held
from tutor_pipeline.judgement.scores.storage.score_tables import replace, segments

BEFORE = datetime(2026, 3, 1, tzinfo=UTC)
AS_OF = datetime(2026, 3, 8, tzinfo=UTC)
NOTHING = dict.fromkeys(READS)
STAR = {
    **NOTHING,
    "tutor_id": "T1",
    "sessions_60d": 40,
    "sessions_90d": 60,
    "sessions_taught_14d": 10,
    "sessions_taught_30d": 20,
    "sessions_completed_14d": 10,
    "sessions_completed_30d": 20,
    "days_since_last_session": 1,
    "session_completion_rate": 1.0,
    "no_show_rate": 0.0,
    "cancellation_rate": 0.0,
    "reschedule_rate_30d": 0.0,
    "avg_rating": 4.9,
    "avg_rating_30d_n": 15,
    "overall_score": 9.2,
    "overall_score_n": 30,
    "available_hours_this_week": 10.0,
}
STUDENT = {
    **dict.fromkeys(STUDENT_READS),
    "student_id": "P1",
    "status": "active",
    "sessions_completed_all": 20,
    "sessions_completed_30d": 5,
    "days_since_last_session": 2,
    "scheduling_issue_rate_90d": 0.0,
    "sessions_90d": 15,
    "first_session_satisfaction": 9.0,
}


USUAL = Usual({}, 10.0, 20.0)


def assess(rows):
    return health.assess(rows, NOTHING_USUAL)


def rows_of(assessed, held, usual=USUAL, risk=Level.LOW):
    return tutor_rows(assessed, held, usual, {"T1": risk}, AS_OF)


def codes(triggers, **metrics):
    return [each["code"] for each in recommend(triggers, metrics)]


def advice(row):
    return [each["code"] for each in json.loads(row["recommendations"])]


@pytest.mark.parametrize(
    ("triggers", "metric", "quiet", "enough", "code"),
    [
        (FOR_TUTORS, "burnout_risk_30d", 0.6, 0.600001, "wellness_check_in"),
        (FOR_TUTORS, "utilization_rate", 0.9, 0.901, "reduce_hours"),
        (FOR_TUTORS, "avg_rating", 4, 3.99, "coaching"),
        (FOR_TUTORS, "session_velocity", 0.5, 0.49, "visibility"),
        (FOR_TUTORS, "student_retention_rate", 0.5, 0.49, "review_teaching_style"),
        (FOR_TUTORS, "segment", "healthy", "star", "recognition"),
        (FOR_STUDENTS, "churn_score", 0.6599, 0.66, "call"),
        (FOR_STUDENTS, "days_since_last_session", 14, 15, "next_session"),
        (FOR_STUDENTS, "scheduling_issue_rate_90d", 0.3, 0.31, "fixed_time"),
        (FOR_STUDENTS, "avg_session_score_90d", 6, 5.9, "match"),
        (FOR_STUDENTS, "engagement_fall_30d", 1.5, 1.6, "engagement"),
        (FOR_STUDENTS, "segment", "healthy", "thriving", "thank"),
        (FOR_STUDENTS, "segment", "healthy", "churned", "ask_why"),
    ],
)
def test_each_at_its_threshold(triggers, metric, quiet, enough, code):
    assert codes(triggers, **{metric: quiet}) == []
    assert codes(triggers, **{metric: None}) == []
    assert codes(triggers, **{metric: enough}) == [code]


def test_every_recommendation_has_a_case_above():
    cases = {mark.args[1][i][4] for mark in test_each_at_its_threshold.pytestmark
             for i in range(len(mark.args[1]))}  # fmt: skip
    assert cases == {each.code for each in (*FOR_TUTORS, *FOR_STUDENTS)}


def test_every_trigger_names_something_that_is_known():
    """A metric spelt wrong would be None for everybody, and quiet for ever."""
    tutor, student = assess([STAR])[0], assess_students([STUDENT], {"P1": 0.5})[0]
    outputs = {"burnout_risk_30d", "session_velocity", "segment"}
    assert {each.metric for each in FOR_TUTORS} <= {*tutor.values, *outputs}
    assert {each.metric for each in FOR_STUDENTS} <= {*student.values, "segment"}


def test_a_recommendation_shows_its_trigger():
    assert recommend(FOR_TUTORS, {"utilization_rate": 1.1}) == [
        {
            "code": "reduce_hours",
            "text": "Reduce the hours, or share students with others",
            "trigger": {"metric": "utilization_rate", "value": 1.1, "threshold": 0.9},
        }
    ]


def test_several_at_once_in_the_order_of_the_catalogue():
    found = codes(FOR_TUTORS, session_velocity=0.1, avg_rating=3.0, burnout_risk_30d=0.8)
    assert found == ["wellness_check_in", "coaching", "visibility"]


def test_the_row_of_a_star():
    (row,) = rows_of(assess([STAR]), {})
    assert (row["segment"], row["segment_since"], advice(row)) == ("star", AS_OF, ["recognition"])
    (row,) = rows_of(assess([STAR]), {}, Usual({}, 10.1, 20.0))
    assert (row["segment"], advice(row)) == ("healthy", [])


@pytest.mark.parametrize("risk", [Level.MEDIUM, Level.HIGH, None])
def test_nobody_is_praised_whom_the_forecast_does_not_call_low(risk):
    (row,) = rows_of(assess([STAR]), {"T1": Held("star", BEFORE)}, risk=risk)
    assert (row["segment"], row["segment_since"], advice(row)) == ("healthy", AS_OF, [])


def test_a_segment_keeps_the_day_it_began():
    assessed = assess([STAR])
    (row,) = rows_of(assessed, {"T1": Held("star", BEFORE)})
    assert (row["segment"], row["segment_since"]) == ("star", BEFORE)
    (row,) = rows_of(assessed, {"T1": Held("churning", BEFORE)})
    assert (row["segment"], row["segment_since"]) == ("star", AS_OF)


def test_the_segment_before_counts():
    assessed = assess([{**STAR, "avg_rating": 4.2, "overall_score": 7.8}])
    assert 80 < assessed[0].health_score < 85
    (new,) = rows_of(assessed, {})
    (held,) = rows_of(assessed, {"T1": Held("healthy", BEFORE)})
    assert (new["segment"], held["segment"]) == ("star", "healthy")


def test_a_tutor_of_whom_nothing_is_known():
    (row,) = rows_of(assess([{**NOTHING, "tutor_id": "T9"}]), {})
    assert (row["segment"], row["segment_since"], advice(row)) == (None, None, [])


def test_rows_of_students():
    rows = [
        {**STUDENT, "student_id": "P1"},
        {**STUDENT, "student_id": "P2", "status": "churned", "days_since_last_session": 40},
        {**STUDENT, "student_id": "P3", "days_since_last_session": 20},
        {
            **STUDENT,
            "student_id": "P4",
            "status": None,
            "is_churn_inferred": True,
            "days_since_last_session": 60,
            "usual_gap_days": 7.0,
        },
    ]
    assessed = assess_students(rows, {"P1": 0.1, "P2": 0.9, "P3": 0.7})
    held = {"P2": Held("thriving", BEFORE)}
    found = student_rows(assessed, held, AS_OF)
    assert [(row["segment"], row["segment_since"], advice(row)) for row in found] == [
        ("thriving", AS_OF, ["thank"]),
        ("churned", AS_OF, ["ask_why"]),
        ("healthy", AS_OF, ["call", "next_session"]),
        ("churned (inferred)", AS_OF, []),
    ]
    assert [row["health_score"] is None for row in found] == [False, True, False, True]


def test_rows_fit_their_tables(warehouse):
    tutors = rows_of(assess([STAR, {**NOTHING, "tutor_id": "T9"}]), {})
    gone = {**STUDENT, "student_id": "P2", "is_churn_inferred": True, "usual_gap_days": 7.0}
    students = student_rows(assess_students([STUDENT, gone], {}), {}, AS_OF)
    with warehouse.connect() as database:
        for subject, rows in ((Subject.TUTOR, tutors), (Subject.STUDENT, students)):
            table = f"{subject}_health"
            replace(database, table, subject, rows, None)
            name = sql.Identifier(warehouse.schemas.ops, table)
            kept = database.execute(
                sql.SQL("select count(*), count(recommendations -> 0 -> 'trigger') from {}").format(
                    name
                )
            ).fetchone()
            assert tuple(kept.values() if isinstance(kept, dict) else kept) == (len(rows), 1)
        assert segments(database, Subject.TUTOR, None) == {"T1": Held("star", AS_OF)}
        database.connection.rollback()

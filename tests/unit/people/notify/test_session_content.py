"""The report of a session: what is said of it, and against what."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutor_pipeline.people.notify.message import Setting
from tutor_pipeline.people.notify.session_content import session_report

SETTING = Setting("http://ui", "http://reports", "Europe/Berlin", datetime(2026, 3, 18, tzinfo=UTC))
AVERAGES = (
    "avg_session_score_30d", "avg_rating_30d", "avg_engagement_30d", "avg_empathy_30d",
    "avg_clarity_30d", "avg_talk_ratio",
)  # fmt: skip
SCORES = (
    "session_score", "student_satisfaction_rating", "student_engagement_score", "empathy_score",
    "clarity_score", "tutor_talk_ratio",
)  # fmt: skip


def report(session=None, **changes):
    """The report of one session of which nothing is known but what is given."""
    row = {
        "tutor_id": "T1", "name": None, "is_high_reschedule": None, "insights": [], "alerts": [],
        **dict.fromkeys(AVERAGES),
        **{f"sessions_{days}d": 0 for days in (7, 30, 90)},
        **{f"reschedule_rate_{days}d": None for days in (7, 30, 90)},
        **changes,
        "sessions": [{
            "session_id": "S1", "scheduled_start": datetime(2026, 3, 17, 23, 30, tzinfo=UTC),
            "subject": None, "actual_duration_minutes": None, "is_first_session": False,
            "is_late": None, "late_minutes": None, "technical_issues": None,
            "student_frustration_count": None, **dict.fromkeys(SCORES), **(session or {}),
        }],
    }  # fmt: skip
    return session_report(row, SETTING)


def difference(name, average, value, usual):
    ((score,),) = (each["scores"] for each in report({name: value}, **{average: usual})["sessions"])
    return score["difference"], score["verdict"]


@pytest.mark.parametrize(
    ("value", "usual", "said"),
    [
        (0.5, 0.504, ("as usual", "")),
        (0.5, 0.49, ("1 point above", "")),
        (0.5, 0.7, ("20 points below", "")),
        (0.5, None, ("", "")),
    ],
)
def test_a_share_is_above_or_below_and_neither_better_nor_worse(value, usual, said):
    assert difference("tutor_talk_ratio", "avg_talk_ratio", value, usual) == said


@pytest.mark.parametrize(
    ("value", "usual", "said"),
    [
        (8.0, 8.04, ("as usual", "")),
        (8.0, 7.9, ("0.1 above", "better")),
        (5.0, 7.0, ("2.0 below", "worse")),
        (5.0, None, ("", "")),
    ],
)
def test_a_score_is_better_or_worse_than_usual(value, usual, said):
    assert difference("session_score", "avg_session_score_30d", value, usual) == said


@given(st.floats(0, 10), st.floats(0, 10), st.sampled_from(range(5)))
def test_the_verdict_is_that_of_the_figures(value, usual, place):
    said, verdict = difference(SCORES[place], AVERAGES[place], value, usual)
    assert (said == "as usual") == (verdict == "")
    assert verdict in ("", "better" if value > usual else "worse")
    assert said == "as usual" or float(said.split()[0]) > 0


def test_the_day_and_time_are_where_people_are():
    (session,) = report({"subject": "Algebra", "actual_duration_minutes": 54.6})["sessions"]
    assert session["summary"] == "18 March, 00:30 · Algebra · 55 min · S1"


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, ""),
        ({"student_frustration_count": 0}, ""),
        ({"student_frustration_count": 1}, "The student was frustrated once."),
        (
            {"is_late": True, "late_minutes": 7.4, "technical_issues": True,
             "student_frustration_count": 3},
            "Began 7 min late. There were technical issues. The student was frustrated 3 times.",
        ),
    ],
)  # fmt: skip
def test_what_is_notable(facts, said):
    (session,) = report(facts)["sessions"]
    assert session["notable"] == said


def test_reschedules_are_of_the_windows_that_are_known():
    assert report()["reschedules"] == "unknown on this platform."
    known = {"reschedule_rate_30d": 0.2, "sessions_30d": 5, "reschedule_rate_90d": 0.0,
             "sessions_90d": 1}  # fmt: skip
    assert report(**known)["reschedules"] == (
        "20 % of 5 sessions in 30 days, 0 % of 1 session in 90 days."
    )

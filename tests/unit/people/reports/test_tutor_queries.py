"""Lists of tutors for commands."""

from datetime import UTC, date, datetime, timedelta

import pytest

from tutor_pipeline.core.errors import TutorPipelineError, UsageError
from tutor_pipeline.people.reports.tutor_queries import find, profile_of, tutors_to_refresh

LONG_AGO = datetime(2026, 3, 9, 23, 30, tzinfo=UTC)
IN_BERLIN = date(2026, 3, 10)
"""The day of that moment where people are."""


@pytest.fixture
def database(ops):
    """Tutors with a session long ago, with one of that status, with none."""
    ops.database.execute(
        "create table {marts}.dim_tutors (tutor_id text, name text);"
        "create table {marts}.fct_sessions (tutor_id text, session_on date,"
        " scheduled_start timestamptz, status text)"
    )
    for tutor, status, start, day in (
        ("T1", "completed", LONG_AGO, IN_BERLIN),
        ("T2", "scheduled", LONG_AGO, IN_BERLIN),
        ("T3", "no_show_student", LONG_AGO - timedelta(days=1), date(2026, 3, 9)),
        ("T4", "cancelled", datetime.max.replace(tzinfo=UTC, year=9000), date(9000, 12, 31)),
    ):
        name = {"T1": "Sarah  Chen", "T2": "Ada Bauer", "T3": "ada bauer"}.get(tutor)
        ops.database.execute("insert into {marts}.dim_tutors values (%s, %s)", (tutor, name))
        ops.database.execute(
            "insert into {marts}.fct_sessions values (%s, %s, %s, %s)", (tutor, day, start, status)
        )
    return ops.database


def test_since_a_day_is_with_that_day_and_of_sessions_that_were(database):
    assert tutors_to_refresh(database, None, IN_BERLIN) == ["T1"]
    assert tutors_to_refresh(database, None, date(2026, 3, 9)) == ["T1", "T3"]
    assert tutors_to_refresh(database, None, date(2026, 3, 11)) == []
    assert tutors_to_refresh(database, ["T3", "T4", "T1"], IN_BERLIN) == ["T1"]


def test_without_a_day_it_is_whom_somebody_named_once_each_or_all(database):
    assert tutors_to_refresh(database, ["T4", "T2", "T4"], None) == ["T4", "T2"]
    assert tutors_to_refresh(database, None, None) == ["T1", "T2", "T3", "T4"]
    with pytest.raises(UsageError, match="no tutor 'T9' among 4"):
        tutors_to_refresh(database, ["T1", "T9"], None)


def test_an_unknown_tutor_is_told_the_nearest(database):
    assert profile_of(database, "T2")["tutor_id"] == "T2"
    with pytest.raises(UsageError, match=r"no tutor 'T' among 4\. Did you mean T1, T2, T3\?$"):
        profile_of(database, "T")
    with pytest.raises(UsageError, match=r"no tutor '9' among 4\.$"):
        profile_of(database, "9")


def test_a_whole_name_finds_its_tutor_or_lists_the_namesakes(database):
    assert find(database, "sarah chen ")["tutor_id"] == "T1"
    assert find(database, "T4")["tutor_id"] == "T4"
    with pytest.raises(UsageError, match=r"2 tutors are called 'Ada Bauer': T2, T3\. Name one"):
        find(database, "Ada Bauer")
    with pytest.raises(UsageError, match=r"no tutor 'chen' .* Did you mean T1 Sarah  Chen\?$"):
        find(database, "chen")
    with pytest.raises(UsageError, match="no tutor 'Sarah Chen'"):
        profile_of(database, "Sarah Chen")  # who acts names by id


def test_before_the_first_refresh_nobody_is_known(ops):
    with pytest.raises(TutorPipelineError, match="nothing is built yet"):
        tutors_to_refresh(ops.database, None, None)
    with pytest.raises(TutorPipelineError, match="no tutor is known yet"):
        profile_of(ops.database, "T1")
    with pytest.raises(TutorPipelineError, match="no tutor is known yet"):
        find(ops.database, "Sarah Chen")

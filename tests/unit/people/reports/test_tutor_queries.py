"""Lists of tutors for commands."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutor_pipeline.core.errors import TutorPipelineError, UsageError
from tutor_pipeline.core.formatting import shortened
from tutor_pipeline.people.reports.tutor_queries import (
    find,
    findings_by_tutor,
    id_of,
    profile_of,
    short_ids,
    short_session_ids,
    tutors_to_refresh,
)

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


def test_findings_of_a_tutor_are_about_the_tutor(database, ops):
    ops.alert("T1", severity="critical")
    ops.alert("T1", alert_type="silent", subject_kind="student", subject_id="P1")
    (found,) = findings_by_tutor(database, ["T1"])
    assert (found["alerts"], found["critical"], found["warning"]) == (1, 1, 0)


def test_without_a_day_it_is_whom_somebody_named_once_each_or_all(database):
    assert tutors_to_refresh(database, ["T4", "T2", "T4"], None) == ["T4", "T2"]
    assert tutors_to_refresh(database, None, None) == ["T1", "T2", "T3", "T4"]
    with pytest.raises(UsageError, match="no tutor 'T9' among 4"):
        tutors_to_refresh(database, ["T1", "T9"], None)


def test_an_unknown_tutor_is_told_the_nearest(database):
    assert profile_of(database, "T2")["tutor_id"] == "T2"
    with pytest.raises(UsageError, match=r"no tutor 'TT2' among 4\. Did you mean T2 Ada Bauer.*\?"):
        profile_of(database, "TT2")
    with pytest.raises(UsageError, match=r"no tutor '9' among 4\. Name one by the id or its first"):
        profile_of(database, "9")
    with pytest.raises(UsageError, match="no tutor ''"):
        profile_of(database, "")


def test_first_characters_name_one_tutor_or_the_candidates(database):
    for one in ("3f2a9c1e-1111", "3f2a9c77-2222", "3f2a9c", "3f9b0000-4444"):
        database.execute("insert into {marts}.dim_tutors values (%s, 'Sarah Chen')", (one,))
        database.execute(
            "insert into {marts}.fct_sessions values (%s, %s, %s, 'completed')",
            (one, IN_BERLIN, LONG_AGO),
        )
    assert profile_of(database, "3f9")["tutor_id"] == "3f9b0000-4444"
    assert profile_of(database, "3f2a9c")["tutor_id"] == "3f2a9c"  # a whole id is nobody else's
    assert find(database, "3f2a9c7")["tutor_id"] == "3f2a9c77-2222"
    assert tutors_to_refresh(database, ["3f9", "3f2a9c1"], None) == [
        "3f9b0000-4444",
        "3f2a9c1e-1111",
    ]
    said = (
        r"^3 tutors have an id that begins with '3f2': 3f2a9c Sarah Chen, 3f2a9c1 Sarah Chen,"
        r" 3f2a9c7 Sarah Chen\. Give more"
    )
    for ask in (profile_of, find):
        with pytest.raises(UsageError, match=said):
            ask(database, "3f2")
    assert short_ids(database)["3f2a9c1e-1111"] == "3f2a9c1"
    assert short_ids(database)["3f9b0000-4444"] == "3f9b00"


def test_short_ids_are_those_of_alerts_too_and_of_a_tutor_s_own_sessions(ops, database):
    ops.alert("3f2a9c1e-1111", alert_id="a1")
    assert short_ids(database)["3f2a9c1e-1111"] == "3f2a9c"
    database.execute("alter table {marts}.fct_sessions add session_id text")
    database.execute(
        "update {marts}.fct_sessions set session_id = 'abcdef00-' || tutor_id || '-0000'"
    )
    assert short_session_ids(database, ["T1", "T9"]) == {"T1": {"abcdef00-T1-0000": "abcdef"}}


def test_before_the_first_refresh_ids_are_those_of_alerts(ops):
    assert short_ids(ops.database) == {}
    assert short_session_ids(ops.database, ["T1"]) == {}


IDS = st.lists(st.one_of(st.uuids().map(str), st.text("ab-", min_size=1, max_size=20)), unique=True)


@given(IDS)
def test_a_short_id_finds_its_tutor_again(ids):
    names = dict.fromkeys(ids)
    short = shortened(ids)
    assert short.keys() == names.keys()
    for whole, shown in short.items():
        assert whole.startswith(shown)
        assert id_of(shown, names) == whole
        if len(whole) <= 12:
            assert shown == whole
        elif shown != whole:
            assert len(shown) >= 6
            shorter = shown[:-1]
            assert len(shorter) < 6 or sum(each.startswith(shorter) for each in ids) > 1


def test_a_whole_name_finds_its_tutor_or_lists_the_namesakes(database):
    assert find(database, "sarah chen ")["tutor_id"] == "T1"
    assert find(database, "T4")["tutor_id"] == "T4"
    with pytest.raises(UsageError, match=r"2 tutors are called 'Ada Bauer': T2, T3\. Name one"):
        find(database, "Ada Bauer")
    with pytest.raises(UsageError, match=r"no tutor 'chen' .* Did you mean T1 Sarah  Chen\? "):
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

"""Alerts about students and subjects: the same life as alerts about tutors, beside these."""

from __future__ import annotations

import pytest

from tutor_pipeline.core.findings import Kind, Resolution, Severity, Step, Subject, SubjectKind
from tutor_pipeline.judgement.lifecycle import alert_actions, store

pytestmark = pytest.mark.usefixtures("empty")

STUDENT = Subject("", SubjectKind.STUDENT, "P1")
OF_TUTOR = Subject("T1", SubjectKind.STUDENT, "P1")
MATH = Subject("", SubjectKind.SUBJECT, "math")
ABOUT = {"about": frozenset({SubjectKind.STUDENT, SubjectKind.SUBJECT})}


@pytest.fixture
def of_others(run, make):
    """Apply an evaluation of rules about students and subjects."""

    def apply(*findings, at=0, evaluated=None, active=("T1", "T2"), **changes):
        known = {rule: {STUDENT, OF_TUTOR, MATH} for rule in ("no_show", "late")}
        evaluation = make.evaluation(
            *findings, at=at, evaluated=evaluated or known, **ABOUT, **changes
        )
        return run(evaluation, run_id=f"others-{at}", active=set(active))

    return apply


def open_alerts(query):
    return {
        (row["tutor_id"], row["subject_kind"], row["subject_id"], row["alert_type"])
        for row in query("select * from {ops}.alerts where resolved_at is null")
    }


@pytest.mark.parametrize("about", [STUDENT, OF_TUTOR, MATH], ids=["student", "of a tutor", "math"])
def test_it_opens_goes_on_gets_worse_ends_and_comes_back(of_others, make, query, about):
    assert of_others(make.finding(about, severity="warning")).opened == 1
    assert of_others(make.finding(about, severity="warning"), at=1).confirmed == 1
    worse = of_others(make.finding(about), at=2)
    assert [(each.step, each.subject) for each in worse.changes] == [(Step.ESCALATED, about)]
    assert open_alerts(query) == {(*about, "no_show")}
    assert of_others(at=3).resolved == 1
    assert of_others(make.finding(about), at=4).opened == 1
    rows = query("select occurrence, resolution from {ops}.alerts order by 1")
    assert [tuple(row.values()) for row in rows] == [(1, "auto"), (2, None)]
    events = query("select event from {ops}.alert_events order by at")
    assert [row["event"] for row in events] == ["opened", "escalated", "resolved", "opened"]


def test_a_tutor_a_student_and_a_subject_of_one_id_are_three(run, of_others, make, query):
    same = [
        Subject.tutor("T1"),
        Subject("T1", SubjectKind.STUDENT, "T1"),
        Subject("", SubjectKind.STUDENT, "T1"),
        Subject("", SubjectKind.SUBJECT, "T1"),
    ]
    run(make.evaluation(make.finding(same[0])))
    evaluated = {"no_show": set(same[1:]), "late": set()}
    of_others(*map(make.finding, same[1:]), evaluated=evaluated)
    assert open_alerts(query) == {(*each, "no_show") for each in same}
    (one, *others) = query("select alert_id from {ops}.alerts order by tutor_id desc, subject_kind")
    assert len({one["alert_id"], *(row["alert_id"] for row in others)}) == 4


def test_rules_about_some_leave_alerts_about_others_alone(run, of_others, make, query):
    run(make.evaluation(make.finding("T1")))
    of_others(make.finding(STUDENT), make.finding(MATH))
    # Of tutors nothing is found, and a rule of theirs is gone: nobody else's alert is retired.
    assert run(make.evaluation(at=1, evaluated={"late": {"T1"}})).resolved == 1
    assert open_alerts(query) == {(*STUDENT, "no_show"), (*MATH, "no_show")}
    of_others(at=2, evaluated={"late": set()})
    reasons = query("select subject_id, resolution from {ops}.alerts order by 1")
    assert {row["resolution"] for row in reasons} == {"rule_retired"}


def test_a_pass_over_some_tutors_leaves_what_is_nobodys_alone(run, of_others, make, query):
    of_others(make.finding(STUDENT), make.finding(OF_TUTOR))
    evaluation = make.evaluation(at=1, evaluated={"no_show": {STUDENT, OF_TUTOR}}, **ABOUT)
    assert run(evaluation, scope={"T1"}).resolved == 1
    assert open_alerts(query) == {(*STUDENT, "no_show")}


def test_it_ends_with_the_tutor_whose_it_is(of_others, make, query):
    of_others(make.finding(STUDENT), make.finding(OF_TUTOR))
    of_others(make.finding(STUDENT), make.finding(OF_TUTOR), at=1, active={"T2"})
    assert open_alerts(query) == {(*STUDENT, "no_show")}
    (closed,) = query("select resolution from {ops}.alerts where resolved_at is not null")
    assert closed["resolution"] == Resolution.TUTOR_INACTIVE


def test_the_database_keeps_one_open_alert_per_subject_and_type(of_others, make, execute):
    of_others(make.finding(STUDENT))
    with pytest.raises(Exception, match="alerts_subject_check"):
        execute("update {ops}.alerts set subject_kind = 'tutor'")
    with pytest.raises(Exception, match="alerts_subject_check"):
        execute("update {ops}.alerts set subject_kind = 'class'")


@pytest.fixture
def acts(reader, make):
    def act(name, alert_id, at, **values):
        done = getattr(alert_actions, name)(reader, [alert_id], by="ada", at=make.day(at), **values)
        return done.changed == (alert_id,)

    return act


def test_people_acknowledge_snooze_resolve_and_reopen_it(of_others, make, query, acts):
    of_others(make.finding(STUDENT))
    (row,) = query("select alert_id from {ops}.alerts")
    alert_id = row["alert_id"]
    assert acts("acknowledge", alert_id, 1, note="I call the parents")
    assert acts("snooze", alert_id, 1, until=make.day(9))
    assert acts("resolve", alert_id, 2, reason=Resolution.COACHED, action_taken="a call")
    assert acts("reopen", alert_id, 3)
    events = [row["event"] for row in query("select event from {ops}.alert_events order by 1")]
    assert sorted(events) == ["acknowledged", "opened", "reopened", "resolved", "snoozed"]
    assert open_alerts(query) == {(*STUDENT, "no_show")}


def test_resolved_by_hand_it_comes_back_only_with_a_session_that_was_not_known(
    of_others, make, query, acts, execute
):
    def teach(session_id, day):
        execute(
            "insert into {marts}.fct_sessions (tutor_id, session_id, student_id, session_on,"
            " scheduled_start, status) values ('T2', %s, 'P1', %s, %s, 'no_show_student')",
            *(session_id, make.day(day).date(), make.day(day)),
        )

    teach("S1", -1)
    of_others(make.finding(STUDENT, evidence=("S1",)))
    (row,) = query("select alert_id from {ops}.alerts")
    acts("resolve", row["alert_id"], 0, reason=Resolution.COACHED)
    assert of_others(make.finding(STUDENT, evidence=("S1",)), at=1).suppressed == 1
    teach("S2", 1)
    again = of_others(make.finding(STUDENT, evidence=("S2", "S1")), at=2)
    assert (again.opened, again.suppressed) == (1, 0)


def test_dealt_with_are_alerts_about_tutors(db, run, of_others, make, query, acts):
    run(make.evaluation(make.finding("T2")))
    of_others(make.finding(OF_TUTOR))
    for row in query("select alert_id from {ops}.alerts"):
        acts("resolve", row["alert_id"], 1, reason=Resolution.OTHER)
    with db.connect() as database:
        assert store.dealt_with(database) == {("T2", "no_show")}


def test_what_was_known_of_a_subject_is_its_sessions(of_others, make, query, acts, execute):
    for name, subject_id, subject in (
        ("S1", "math", "Maths"),
        ("S2", None, "math"),
        ("S3", "art", "math"),
    ):
        execute(
            "insert into {marts}.fct_sessions (tutor_id, session_id, subject_id, subject,"
            " session_on, scheduled_start, status) values ('T2', %s, %s, %s, %s, %s, 'completed')",
            *(name, subject_id, subject, make.day(-1).date(), make.day(-1)),
        )
    of_others(make.finding(MATH, evidence=("S1",)))
    (row,) = query("select alert_id from {ops}.alerts")
    acts("resolve", row["alert_id"], 0, reason=Resolution.FIXED)
    (row,) = query("select known_session_ids from {ops}.alerts")
    assert row["known_session_ids"] == ["S1", "S2"]
    assert of_others(make.finding(MATH, evidence=("S2", "S1")), at=1).suppressed == 1
    assert of_others(make.finding(MATH, evidence=("S4", "S1")), at=2).opened == 1


def test_a_student_of_two_tutors_is_two(of_others, make, query):
    other = Subject("T2", SubjectKind.STUDENT, "P1")
    of_others(make.finding(OF_TUTOR), make.finding(other))
    of_others(at=1, evaluated={"no_show": {OF_TUTOR}, "late": set()})
    assert open_alerts(query) == {(*other, "no_show")}


def test_an_exception_of_a_tutor_is_nobody_elses(of_others, make, query):
    of_others(make.finding(STUDENT))
    of_others(at=1, evaluated={"no_show": set()}, disabled=frozenset({("P1", "no_show")}))
    assert open_alerts(query) == {(*STUDENT, "no_show")}


def test_only_the_newest_about_the_same_subject_is_reopened(of_others, make, query, acts):
    of_others(make.finding(STUDENT), make.finding(MATH))
    for row in query("select alert_id from {ops}.alerts"):
        acts("resolve", row["alert_id"], 1, reason=Resolution.OTHER)
    of_others(make.finding(MATH, evidence=("new",)), at=2)
    ids = {
        (row["subject_id"], row["occurrence"]): row["alert_id"]
        for row in query("select * from {ops}.alerts")
    }
    assert acts("reopen", ids["P1", 1], 3)
    assert not acts("reopen", ids["math", 1], 3), "a newer one of the subject is open"


def test_tutors_in_need_are_those_whom_an_alert_is_about(run, of_others, make, query):
    run(make.evaluation(make.finding("T2")))
    of_others(make.finding(OF_TUTOR), make.finding(STUDENT), make.finding(MATH))
    for view in ("tutors_needing_attention", "critical_alert_summary"):
        assert [row["tutor_id"] for row in query(f"select tutor_id from {{ops}}.{view}")] == ["T2"]


def test_its_evidence_is_gone_where_the_tutor_is_known(db, of_others, make, execute):
    of_others(make.finding(OF_TUTOR, evidence=("S1",)), make.finding(STUDENT, evidence=("S1",)))
    with db.connect() as database:
        assert store.without_evidence(database, Kind.ALERT, None) == {(OF_TUTOR, "no_show")}


def test_a_severity_of_a_student_is_that_of_a_rule(of_others, make):
    (change,) = of_others(make.finding(STUDENT, severity="warning")).changes
    assert change.finding.severity is Severity.WARNING
    assert change.tutor_id == ""

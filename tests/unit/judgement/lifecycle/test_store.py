"""The store on PostgreSQL: one transaction, one open row, no row lost or duplicated."""

import threading
from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.core.findings import Kind, Reading, Step, Subject
from tutor_pipeline.judgement.lifecycle import store
from tutor_pipeline.judgement.lifecycle.reconcile import row_id
from tutor_pipeline.judgement.lifecycle.store import (
    apply,
    clear,
    last_applied,
    preview,
)

ACTIVE = frozenset({"T1", "T2", "T3"})


pytestmark = pytest.mark.usefixtures("empty")


def test_an_alert_is_written_whole(run, query, make):
    finding = make.finding(evidence=("S3", "S2", "S1"))
    applied = run(make.evaluation(finding))
    assert (applied.opened, applied.confirmed, applied.resolved) == (1, 0, 0)
    (alert,) = query("select * from {ops}.alerts")
    expected = {
        "tutor_id": "T1",
        "subject_kind": "tutor",
        "subject_id": "T1",
        "alert_id": row_id(Subject.tutor("T1"), "no_show", make.day(0), 1),
        "alert_type": "no_show",
        "occurrence": 1,
        "severity": "critical",
        "title": "no_show",
        "description": "no_show!",
        "recommended_action": "Call",
        "session_id": "S3",
        "evidence_session_ids": ["S3", "S2", "S1"],
        "metrics": {"no_shows": {"value": 3, "threshold": 3, "exposure": 20}},
        "excess": 0.5,
        "rule_profile": "conservative",
        "rule_version": "v1",
        "triggered_date": make.day(0),
        "last_confirmed_at": make.day(0),
        "acknowledged": False,
        "resolved": False,
        "resolved_at": None,
        "resolution": None,
    }
    assert {name: alert[name] for name in expected} == expected
    (event,) = query("select * from {ops}.alert_events")
    assert (event["event"], event["event_no"], event["at"], event["actor"]) == (
        "opened", 1, make.day(0), "pipeline",
    )  # fmt: skip
    assert event["details"]["severity"] == "critical"


def test_each_condition_keeps_its_threshold_where_several_are_about_one_metric(run, query, make):
    readings = (
        Reading("talk_ratio", 0.4, 0.35, 12), Reading("sessions", 20, 8, None),
        Reading("talk_ratio", 0.4, 0.45, 12),
    )  # fmt: skip
    run(make.evaluation(make.finding(readings=readings)))
    expected = {
        "talk_ratio": {"value": 0.4, "threshold": [0.35, 0.45], "exposure": 12},
        "sessions": {"value": 20, "threshold": 8, "exposure": None},
    }
    ((alert, event),) = [
        row.values()
        for row in query(
            "select metrics, (select details from {ops}.alert_events) from {ops}.alerts"
        )
    ]
    assert alert == event["metrics"] == expected


def test_what_still_holds_is_refreshed_and_keeps_its_beginning(run, query, make):
    run(make.evaluation(make.finding(severity="warning")))
    worse = make.finding(
        evidence=("S9", "S1"), readings=(Reading("no_shows", 9, 3, 20),), rule_version="v2"
    )
    applied = run(make.evaluation(worse, at=1))
    assert (applied.opened, applied.confirmed, applied.escalated) == (0, 0, 1)
    (alert,) = query("select * from {ops}.alerts")
    assert alert["triggered_date"] == make.day(0)
    assert alert["last_confirmed_at"] == make.day(1)
    assert alert["severity"] == "critical"
    assert alert["session_id"] == "S9"
    assert alert["metrics"]["no_shows"]["value"] == 9
    assert alert["rule_version"] == "v2"
    events = query("select event, details from {ops}.alert_events order by event_no")
    assert [each["event"] for each in events] == ["opened", "escalated"]
    assert events[1]["details"]["was"] == "warning"


def test_resolved_and_back_again(run, query, make):
    run(make.evaluation(make.finding()))
    resolved = run(make.evaluation(at=1, evaluated={"no_show": {"T1"}}))
    assert [each.step for each in resolved.changes] == [Step.RESOLVED]
    assert run(make.evaluation(make.finding(), at=2)).opened == 1
    rows = query("select * from {ops}.alerts order by occurrence")
    assert [each["occurrence"] for each in rows] == [1, 2]
    assert (rows[0]["resolution"], rows[0]["resolved_by"]) == ("auto", "pipeline")
    assert (rows[0]["resolved_at"], rows[0]["resolved"]) == (make.day(1), True)
    assert rows[0]["alert_id"] != rows[1]["alert_id"]


def test_the_same_run_again_changes_nothing(everything, run, make, sessions):
    sessions(S1=-3, S2=-2)
    run(make.evaluation(make.finding(), make.finding("T2", severity="warning")))
    second = make.evaluation(make.finding("T2"), at=1, evaluated={"no_show": {"T1", "T2"}})
    run(second)
    before = everything()
    again = run(second)
    assert (again.opened, again.escalated, again.resolved, again.confirmed) == (0, 0, 0, 1)
    assert everything() == before


def test_an_unchanged_row_is_not_even_rewritten(run, query, make):
    run(make.evaluation(make.finding()))
    (before,) = query("select xmin::text from {ops}.alerts")
    run(make.evaluation(make.finding()))
    assert query("select xmin::text from {ops}.alerts") == [before]


def test_a_scoped_run_leaves_other_tutors_alone(run, query, make):
    run(make.evaluation(make.finding("T1"), make.finding("T2"), make.finding("T3")))
    run(
        make.evaluation(at=1, evaluated={"late": {"T1"}}),  # no_show is retired
        active=ACTIVE - {"T2"},
        scope=["T1", "T2"],
    )
    rows = query("select tutor_id, resolution from {ops}.alerts order by tutor_id")
    assert [tuple(each.values()) for each in rows] == [
        ("T1", "rule_retired"),
        ("T2", "tutor_inactive"),
        ("T3", None),
    ]


def test_resolved_by_hand_it_needs_a_session_first_processed_later(
    run, query, make, sessions, resolve_all
):
    sessions(S1=-6, S2=-5, S3=-4, S4=-3, S5=-2, S6=-1)
    sessions(S7=0, status="scheduled")
    run(make.evaluation(make.finding(evidence=("S6", "S5", "S4", "S3", "S2"))))
    resolve_all(make.day(0) + timedelta(hours=1))

    def opens(number, *evidence):
        applied = run(make.evaluation(make.finding(evidence=evidence), at=number))
        assert applied.opened + applied.suppressed == 1
        return applied.opened == 1

    assert not opens(1, "S6", "S5", "S4", "S3", "S2")
    # One that was processed before, but was not among the newest five.
    assert not opens(2, "S5", "S4", "S3", "S2", "S1")
    # A late arrival: it took place before the resolution and was processed after it.
    sessions(S0=-7)
    assert opens(3, "S5", "S4", "S0")
    assert len(query("select * from {ops}.alerts where resolved_at is null")) == 1


def test_a_session_that_was_only_planned_is_new_evidence(run, make, sessions, execute, resolve_all):
    sessions(S1=-1)
    sessions(S2=0, status="scheduled")
    sessions(S3=1)  # in the future, whatever its status says
    run(make.evaluation(make.finding(evidence=("S1",))))
    resolve_all(make.day(0))
    execute("update {marts}.fct_sessions set status = 'no_show_tutor'")
    assert run(make.evaluation(make.finding(evidence=("S2", "S1")), at=1)).opened == 1
    resolve_all(make.day(1))
    assert run(make.evaluation(make.finding(evidence=("S3", "S1")), at=2)).opened == 0


def test_a_session_between_the_last_run_and_the_resolution_is_not_lost(
    run, make, sessions, resolve_all
):
    sessions(S1=-1)
    run(make.evaluation(make.finding(evidence=("S1",))))
    sessions(S2=0.1)  # loaded, but no run has looked at it before the resolution
    resolve_all(make.day(0.2))
    assert run(make.evaluation(make.finding(evidence=("S2", "S1")), at=1)).opened == 1


def test_sessions_processed_while_not_evaluated_are_known(run, make, sessions, resolve_all):
    sessions(S1=-1)
    run(make.evaluation(make.finding(evidence=("S1",))))
    sessions(S2=0)
    run(make.evaluation(at=1, evaluated={"no_show": set(), "late": {"T2"}}))
    resolve_all(make.day(1))
    assert run(make.evaluation(make.finding(evidence=("S2", "S1")), at=2)).opened == 0


def test_an_older_moment_is_refused_and_changes_nothing(everything, run, make):
    run(make.evaluation(make.finding(), at=2))
    before = everything()
    with pytest.raises(RefusedError) as refused:
        run(make.evaluation(at=1, evaluated={"no_show": {"T1"}}))
    assert make.day(2).isoformat() in str(refused.value)
    assert make.day(1).isoformat() in str(refused.value)
    assert "tutor-pipeline clear" in str(refused.value)
    assert everything() == before


def test_a_run_that_evaluated_nothing_refuses_nobody(db, run, make):
    run(make.evaluation(at=5, evaluated={"no_show": set()}))
    assert run(make.evaluation(make.finding(), at=1)).opened == 1
    with db.connect() as database:
        assert last_applied(database) == make.day(1)
        assert last_applied(database, Kind.ALERT) == make.day(1)
        assert last_applied(database, Kind.INSIGHT) is None


def test_nobody_active_while_alerts_are_open_is_refused(everything, run, make):
    assert run(make.evaluation(evaluated={"no_show": set()}), active=()).resolved == 0
    run(make.evaluation(make.finding()))
    before = everything()
    with pytest.raises(RefusedError, match="no tutor is active, yet 1 alert is open"):
        run(make.evaluation(at=1), active=())
    assert everything() == before


def test_a_moment_without_time_zone_is_an_error(run, make):
    naive = replace(make.evaluation(), as_of=make.day(0).replace(tzinfo=None))
    with pytest.raises(ValueError, match="time zone"):
        run(naive)


def test_the_database_itself_keeps_one_open_alert_per_tutor_and_type(run, execute, make):
    run(make.evaluation(make.finding()))
    copy = (
        "insert into {ops}.alerts (tutor_id, subject_id, alert_id, alert_type, occurrence,"
        " severity, title, description, recommended_action, evidence_session_ids, metrics, excess,"
        " rule_profile, rule_version, triggered_date, last_confirmed_at)"
        " select tutor_id, subject_id, 'other', alert_type, 2, severity, title, description,"
        " recommended_action, evidence_session_ids, metrics, excess, rule_profile, rule_version,"
        " triggered_date, last_confirmed_at from {ops}.alerts"
    )
    with pytest.raises(psycopg.errors.UniqueViolation, match="alerts_open"):
        execute(copy)


def test_eight_runs_at_once_end_as_one(db, run, query, make):
    evaluation = make.evaluation(make.finding("T1"), make.finding("T2", severity="warning"))
    barrier = threading.Barrier(8)
    opened, failures = [], []

    def one(number):
        try:
            barrier.wait()
            opened.append(run(evaluation, run_id=f"run-{number}").opened)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(opened) == [0] * 7 + [2]
    assert query("select count(*) as n from {ops}.alerts") == [{"n": 2}]
    assert query("select count(*) as n from {ops}.alert_events") == [{"n": 2}]


class AbortError(Exception):
    """An error that the caller raises after the store has finished."""


def test_a_run_that_dies_at_any_statement_leaves_all_as_it_was(
    db, run, make, sessions, everything, kill, killing
):
    sessions(S1=-3, S2=-2)
    run(
        make.evaluation(
            make.finding("T1"),
            make.finding("T2", severity="warning"),
            make.finding("T3", rule_id="late"),
        )
    )
    before = everything()
    # Opens T1/late, confirms T1/no_show, escalates T2/no_show, resolves T3/late.
    second = make.evaluation(
        make.finding("T1"), make.finding("T1", "late"), make.finding("T2"),
        at=1, evaluated={"no_show": {"T1", "T2"}, "late": {"T1", "T3"}},
    )  # fmt: skip
    statements = 0
    while True:
        statements += 1
        try:
            with db.connect() as database:
                database.connection.cursor_factory = killing(statements)
                with database.transaction():
                    apply(database, second, run_id="run-02", active_tutors=ACTIVE)
                    raise AbortError
        except psycopg.OperationalError:
            assert everything() == before, f"statement {statements} left something behind"
        except AbortError:
            break  # every statement ran: there is none left to die at
    assert statements > 7
    with (
        pytest.raises(psycopg.OperationalError),
        db.connect() as database,
        database.transaction(),
    ):
        apply(database, second, run_id="run-02", active_tutors=ACTIVE)
        kill(database)  # before the commit
    assert everything() == before

    run(second, run_id="run-02")
    after = everything()
    assert [row["event"] for row in after["alert_events"]].count("opened") == 4
    with db.connect() as database:
        clear(database)
    run(
        make.evaluation(
            make.finding("T1"),
            make.finding("T2", severity="warning"),
            make.finding("T3", rule_id="late"),
        )
    )
    run(second, run_id="run-02")
    assert everything() == after, "not the state of one clean run"


def test_apply_is_a_part_of_the_callers_transaction(db, query, make):
    with pytest.raises(AbortError), db.connect() as database:
        database.execute("select 'what else belongs to this run'")
        apply(database, make.evaluation(make.finding()), run_id="r", active_tutors=ACTIVE)
        raise AbortError
    assert query("select tutor_id from {ops}.alerts") == []


# Insights and achievements: the same mechanism, other tables.


def test_an_insight_opens_goes_on_ends_and_comes_back(run, query, make):
    def apply_at(number, *findings, evaluated=("T1",)):
        rules = {"high_engagement": set(evaluated)}
        return run(
            make.evaluation(*findings, at=number, kind=Kind.INSIGHT, evaluated=rules),
            run_id=f"insights-{number}",
        )

    assert apply_at(0, make.insight(evidence=("S2", "S1"))).opened == 1
    (row,) = query("select * from {ops}.tutor_insights")
    expected = {
        "category": "high_engagement", "insight_type": "strength", "coaching_tip": None,
        "display_text": "high_engagement!", "metric_value": 9.2, "sample_sessions": ["S2", "S1"],
        "metrics": {"engagement": {"value": 9.2, "threshold": 8.5, "exposure": 12}},
        "occurrence": 1, "is_active": True, "detected_at": make.day(0), "resolved_at": None,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert apply_at(1, make.insight(metric_value=9.5)).confirmed == 1
    assert apply_at(2, evaluated=()).resolved == 0, "not evaluated"
    assert apply_at(3).resolved == 1
    assert apply_at(4, make.insight()).opened == 1
    rows = query("select * from {ops}.tutor_insights order by occurrence")
    assert [(row["occurrence"], row["is_active"], row["resolution"]) for row in rows] == [
        (1, False, "auto"),
        (2, True, None),
    ]
    assert (rows[0]["metric_value"], rows[0]["detected_at"]) == (9.5, make.day(0))
    assert rows[0]["resolved_at"] == make.day(3)


def test_an_achievement_is_one_row_for_ever(run, query, make):
    def apply_at(number, *findings, **changes):
        rules = {"rising_star": {"T1"}}
        evaluation = make.evaluation(
            *findings, at=number, kind=Kind.ACHIEVEMENT, evaluated=rules, **changes
        )
        return run(evaluation, run_id=f"badges-{number}")

    def row():
        (only,) = query("select * from {ops}.achievements")
        return only

    assert apply_at(0, make.badge()).opened == 1
    first = row()
    assert (first["title"], first["icon"], first["is_active"]) == ("Rising Star", "🚀", True)
    assert first["earned_date"] == first["last_earned_date"] == make.day(0)
    assert apply_at(1, make.badge()).confirmed == 1
    assert row()["last_earned_date"] == make.day(0)
    assert apply_at(2).resolved == 1
    lost = row()
    assert (lost["is_active"], lost["resolved_at"]) == (False, make.day(2))
    assert (lost["resolution"], lost["resolved_by"]) == ("auto", "pipeline")

    again = apply_at(3, make.badge(texts=make.badge().texts | {"description": "again"}))
    assert (again.opened, [each.step for each in again.changes]) == (1, [Step.REOPENED])
    regained = row()
    assert (regained["achievement_id"], regained["is_active"]) == (first["achievement_id"], True)
    assert (regained["earned_date"], regained["last_earned_date"]) == (make.day(0), make.day(3))
    assert (regained["occurrence"], regained["description"]) == (2, "again")
    assert regained["resolution"] is regained["resolved_by"] is None
    assert apply_at(3, make.badge(texts=regained_texts(regained))).confirmed == 1
    assert row() == regained, "the same run again changes nothing"


def regained_texts(row):
    return {name: row[name] for name in ("title", "description", "icon")}


def test_kinds_leave_each_other_alone(run, everything, make):
    run(make.evaluation(make.finding(), at=5))
    alerts = everything()["alerts"]
    run(make.evaluation(make.insight(rule_id="no_show"), at=1, kind=Kind.INSIGHT), run_id="i")
    run(make.evaluation(make.badge(rule_id="no_show"), at=2, kind=Kind.ACHIEVEMENT), run_id="b")
    run(make.evaluation(at=3, kind=Kind.INSIGHT, evaluated={"no_show": {"T1"}}), run_id="i3")
    after = everything()
    assert after["alerts"] == alerts
    assert len(after["tutor_insights"]) == len(after["achievements"]) == 1


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), max_size=5),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
)
def test_any_text_arrives_as_it_was(db, query, run, make, evidence, text):
    with db.connect() as database:
        clear(database)
    texts = {"title": text, "description": text, "recommended_action": "\\N"}
    readings = (Reading(text, text, None, None),)
    finding = make.finding(
        about=text, rule_id=text, evidence=evidence, texts=texts, readings=readings
    )
    run(make.evaluation(finding, rules=(text,)), active={text})
    (row,) = query("select * from {ops}.alerts")
    assert (row["tutor_id"], row["alert_type"], row["title"]) == (text, text, text)
    assert (row["recommended_action"], row["evidence_session_ids"]) == ("\\N", evidence)
    assert row["metrics"] == {text: {"value": text, "threshold": None, "exposure": None}}


# What a run would do, and what was completed.


def test_a_preview_says_what_apply_does_and_writes_nothing(db, run, everything, make):
    run(make.evaluation(make.finding("T1", severity="warning"), make.finding("T3")))
    before = everything()
    evaluation = make.evaluation(
        make.finding("T1"), make.finding("T2"), at=1, evaluated={"no_show": ACTIVE}
    )
    with db.connect() as database:
        database.connection.read_only = True
        result = preview(database, evaluation, active_tutors=ACTIVE)
        scoped = preview(database, evaluation, active_tutors=ACTIVE, scope=["T1", "T2"])
        with pytest.raises(RefusedError, match="is older"):
            preview(database, make.evaluation(at=-1), active_tutors=ACTIVE)
    assert everything() == before
    steps = [(change.tutor_id, change.step) for change in result.changes]
    assert steps == [("T1", Step.ESCALATED), ("T2", Step.OPENED), ("T3", Step.RESOLVED)]
    assert [change.tutor_id for change in scoped.changes] == ["T1", "T2"]
    assert run(evaluation).changes == result.changes


def test_full_runs_count_the_completed_sessions_of_each_day(run, query, sessions, execute, make):
    sessions(S1=-1, S2=-1, S3=0, status="completed")
    sessions(S4=-1, S5=1)
    sessions(S6=-120, S7=2, status="completed")
    run(make.evaluation(make.finding(), at=0))

    def days():
        rows = query("select * from {ops}.session_days order by 1")
        return {(row["session_on"] - make.day(0).date()).days: row["completed"] for row in rows}

    assert days() == {-1: 2, 0: 1}
    sessions(S8=-2, status="completed")
    run(make.evaluation(make.finding(), at=2), scope=["T1"])
    assert days() == {-1: 2, 0: 1}, "a scoped run does not see all sessions"
    execute("delete from {marts}.fct_sessions where session_id = 'S3'")
    run(make.evaluation(make.insight(), at=3, kind=Kind.INSIGHT), run_id="insights")
    assert days() == {-1: 2, 0: 1}, "once a day is enough: the alerts' run counts"
    run(make.evaluation(make.finding(), at=3))
    assert days() == {-2: 1, -1: 2, 2: 1}


def test_sessions_and_events_are_counted_on_the_day_of_the_pipeline(
    db, run, query, execute, make, everything
):
    """Whatever the zone of the moment, and also after the zone was changed."""
    kept = []
    for zone, day in (("America/Los_Angeles", -1), ("Pacific/Kiritimati", 0), ("UTC", -1)):
        execute("truncate {marts}.fct_sessions")
        start = make.day(0).replace(hour=3) - timedelta(hours=6)
        local = start.astimezone(ZoneInfo(zone)).date()
        assert (local - make.day(0).date()).days == day
        execute(
            "insert into {marts}.fct_sessions values ('T1', 'S1', %s, %s, 'completed')",
            local, start,
        )  # fmt: skip
        moment = make.day(0).replace(hour=3)
        with replace(db, timezone=zone).connect() as database:
            apply(
                database,
                replace(make.evaluation(make.finding()), as_of=moment),
                run_id=zone,
                active_tutors=ACTIVE,
            )
        rows = query("select session_on, completed from {ops}.session_days")
        assert rows == [{"session_on": local, "completed": 1}]
        opened = query("select day from {ops}.alert_activity")
        assert opened == [{"day": moment.astimezone(ZoneInfo(zone)).date()}]
        kept.append(local)
    assert len(set(kept)) == 2


def test_clear_removes_what_was_generated_and_keeps_what_people_set(
    db, run, execute, query, make, everything, sessions
):
    execute(
        "insert into {ops}.rule_overrides (tutor_id, kind, rule_id, threshold, reason, set_by,"
        " set_at) values ('T1', 'alert', 'late', 9, 'why', 'ada', now())"
    )
    execute("insert into {ops}.churn_algorithm_weights values (1, 'all', 1, now())")
    execute(
        "insert into {ops}.current_tutor_risk (tutor_id, as_of, scorer, version, is_probability,"
        " status) values ('T1', now(), 'rules', 'v1', true, 'ok')"
    )
    sessions(S1=0, status="completed")
    run(make.evaluation(make.finding(), at=3))
    run(make.evaluation(make.insight(), at=3, kind=Kind.INSIGHT), run_id="insights")
    run(make.evaluation(make.badge(), at=3, kind=Kind.ACHIEVEMENT), run_id="badges")
    assert all(everything().values())
    with db.connect() as database:
        assert clear(database) == 3
        assert last_applied(database) is None
    assert not any(everything().values())
    for kept in ("rule_overrides", "churn_algorithm_weights", "current_tutor_risk"):
        assert query(f"select count(*) as n from {{ops}}.{kept}") == [{"n": 1}]
    assert run(make.evaluation(make.finding(), at=1)).opened == 1, "an older moment is fine now"


# The views.


def test_tutors_needing_attention_are_ranked(run, query, make, execute):
    run(
        make.evaluation(
            make.finding("T1", severity="warning", excess=9.0),
            make.finding("T2", excess=0.2),
            make.finding("T2", "late", severity="warning", excess=0.1),
            make.finding("T3", excess=0.2),
            make.finding("T4", excess=0.8),
            make.finding("T5", excess=0.1),
            make.finding("T5", "late", excess=0.1),
            make.finding("T6", excess=5.0),
        ),
        active=[f"T{number}" for number in range(1, 7)],
    )
    execute("update {ops}.alerts set snoozed_until = 'infinity', snoozed_by = 'ada'"
            " where tutor_id = 'T6'")  # fmt: skip
    rows = query("select * from {ops}.tutors_needing_attention")
    assert [each["tutor_id"] for each in rows] == ["T5", "T4", "T2", "T3", "T1"]
    assert [each["attention_rank"] for each in rows] == [1, 2, 3, 4, 5]
    assert (rows[2]["critical_alerts"], rows[2]["warning_alerts"]) == (1, 1)
    assert rows[2]["newest_alert_type"] == "no_show", "of two as new, the critical one"
    execute("update {ops}.alerts set snoozed_until = '2026-01-01' where tutor_id = 'T6'")
    assert query("select tutor_id from {ops}.tutors_needing_attention limit 2")[1] == {
        "tutor_id": "T6"
    }


def test_a_warning_far_out_does_not_make_a_critical_alert_more_urgent(run, query, make):
    run(
        make.evaluation(
            make.finding("T1", excess=0.3),
            make.finding("T1", "late", severity="warning", excess=9.0),
            make.finding("T2", excess=0.8),
            make.finding("T3", severity="warning", excess=0.1),
            make.finding("T4", severity="warning", excess=2.0),
        ),
        active=[f"T{number}" for number in range(1, 5)],
    )
    rows = query("select tutor_id from {ops}.tutors_needing_attention")
    assert [row["tutor_id"] for row in rows] == ["T2", "T1", "T4", "T3"]


def test_of_tutors_in_equal_need_the_one_at_risk_comes_first(run, query, make, execute):
    run(make.evaluation(*(make.finding(tutor) for tutor in ("T1", "T2", "T3"))))
    for tutor, score, level in (("T2", 0.2, "Low"), ("T3", 0.9, "High")):
        execute(
            "insert into {ops}.current_tutor_risk (tutor_id, as_of, scorer, version, score,"
            " is_probability, level, status) values (%s, %s, 'rules', 'v1', %s, true, %s, 'ok')",
            tutor, make.day(0), score, level,
        )  # fmt: skip
    rows = query("select * from {ops}.tutors_needing_attention")
    assert [(row["tutor_id"], row["churn_score"], row["churn_level"]) for row in rows] == [
        ("T3", 0.9, "High"),
        ("T2", 0.2, "Low"),
        ("T1", None, None),
    ]


def test_a_tutor_in_need_is_shown_by_the_newest_alert(run, query, make):
    late = make.finding("T1", "late", severity="warning", evidence=("S8", "S7"), excess=3.0)
    run(make.evaluation(make.finding("T1", excess=1.0)))
    run(make.evaluation(make.finding("T1", excess=1.0), late, at=1))
    (row,) = query("select * from {ops}.tutors_needing_attention")
    assert (row["newest_alert_type"], row["newest_triggered_date"]) == ("late", make.day(1))
    assert (row["session_id"], row["evidence_session_ids"]) == ("S8", ["S8", "S7"])
    assert row["excess"] == 3.0


def test_the_summary_of_critical_alerts(run, query, make):
    run(make.evaluation(make.finding("T2"), make.finding("T3", severity="warning")))
    run(make.evaluation(make.finding("T1"), make.finding("T2"), at=1, evaluated={"no_show": {}}))
    run(
        make.evaluation(
            make.finding("T1"), make.finding("T2"), make.finding("T1", "late"), at=2,
            evaluated={"no_show": {}, "late": {}},
        )
    )  # fmt: skip
    rows = query("select * from {ops}.critical_alert_summary")
    assert [(each["tutor_id"], each["critical_alerts"]) for each in rows] == [("T1", 2), ("T2", 1)]
    assert rows[0]["alert_types"] == ["late", "no_show"]
    assert rows[0]["newest_triggered_date"] == make.day(2)


# A switch of profile.


def test_the_profile_before_is_that_of_the_last_run_over_everybody(db, run, make, execute, reader):
    """A refresh after sessions, or of some tutors, may be the first under the new profile."""
    execute("delete from {ops}.refresh_runs")
    for run_id, is_full in (("full", True), ("some", False)):
        execute(
            "insert into {ops}.refresh_runs (run_id, as_of, is_full) values (%s, now(), %s)",
            run_id, is_full,
        )  # fmt: skip
    assert store.last_profile(reader) is None
    run(make.evaluation(make.finding()), run_id="full")
    run(make.evaluation(make.finding(), at=1, profile="adaptive"), run_id="some")
    run(make.evaluation(make.finding(), at=2, profile="adaptive"), run_id="job/1")
    assert store.last_profile(reader)[0] == "conservative"
    # `enrich --only alerts` refreshes nothing, and looks at everybody.
    run(make.evaluation(make.finding(), at=3, profile="adaptive"), run_id="only")
    assert store.last_profile(reader)[0] == "adaptive"
    execute("delete from {ops}.refresh_runs")


def test_a_switch_counts_what_all_runs_since_did_and_takes_over_what_it_could_not_evaluate(
    db, run, query, make, reader
):
    found = [make.finding("T1"), make.finding("T2", severity="warning"), make.finding("T3")]
    run(make.evaluation(*found))
    _, since = store.last_profile(reader)
    new = {"profile": "adaptive", "rules": ("no_show",)}
    run(make.evaluation(at=1, evaluated={"no_show": {"T1"}}, **new), run_id="job/1")
    run(make.evaluation(at=2, evaluated={"no_show": {"T2"}}, **new), run_id="full")
    assert store.adopt(reader, "adaptive", since) == {
        "closed": 2, "critical": 1, "tutors": 2, "retired": 0, "opened": 0,
    }  # fmt: skip
    # T3's could not be evaluated: it goes on, and closes later like any other.
    (left,) = query("select tutor_id, rule_profile from {ops}.alerts where resolved_at is null")
    assert left == {"tutor_id": "T3", "rule_profile": "adaptive"}
    # Those that closed stay as they were found.
    closed = query("select distinct rule_profile from {ops}.alerts where resolved_at is not null")
    assert closed == [{"rule_profile": "conservative"}]
    run(make.evaluation(at=3, evaluated={"no_show": {"T3"}}, **new), run_id="later")
    (last,) = query("select resolution from {ops}.alerts where tutor_id = 'T3'")
    assert last == {"resolution": "auto"}
    # Told once, none of it counts again.
    _, since = store.last_profile(reader)
    assert set(store.adopt(reader, "adaptive", since).values()) == {0}


def test_dealt_with_is_what_somebody_closed_last(db, run, make, reader, resolve_all):
    run(make.evaluation(make.finding("T1"), make.finding("T2")))
    with db.connect() as database:
        assert store.dealt_with(database) == frozenset()
    resolve_all(make.day(1))
    with db.connect() as database:
        assert store.dealt_with(database) == {("T1", "no_show"), ("T2", "no_show")}
    run(make.evaluation(make.finding("T1", evidence=("S9",)), at=5))
    with db.connect() as database:
        assert store.dealt_with(database) == {("T2", "no_show")}

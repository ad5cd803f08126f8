"""What is told, what is not, and what is told together."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.unit.people.notify.conftest import NOW
from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.people.notify import compose as composing
from tutor_pipeline.people.notify.compose import CALM, CALM_AFTER
from tutor_pipeline.people.notify.digest_data import week_data
from tutor_pipeline.people.notify.kinds.alert import reason_to_drop
from tutor_pipeline.people.notify.message import MOST_APART

ALERT = {
    "resolved_at": None, "snoozed_until": None, "acknowledged_at": None, "severity": "critical",
}  # fmt: skip
SOON, BEFORE = NOW + timedelta(hours=1), NOW - timedelta(hours=1)


@pytest.mark.parametrize(
    ("changes", "audience", "why"),
    [
        ({}, "critical", None),
        ({"resolved_at": NOW}, "critical", "resolved before it was told"),
        ({"snoozed_until": SOON}, "critical", "snoozed"),
        ({"snoozed_until": NOW}, "critical", None),
        ({"acknowledged_at": NOW}, "critical", "acknowledged before it was told"),
        # Somebody knew of it as it was; it became worse after that.
        ({"acknowledged_at": BEFORE}, "critical", None),
        ({}, "warning", "told as critical"),
        ({"severity": "warning"}, "warning", None),
        ({"severity": "warning"}, "critical", None),
    ],
)
def test_why_nobody_is_told(changes, audience, why):
    row = {"audience": audience, "occurred_at": NOW}
    assert reason_to_drop(row, ALERT | changes, NOW) == why


def test_an_alert_that_is_gone_is_not_told():
    assert (
        reason_to_drop({"audience": "critical", "occurred_at": NOW}, None, NOW)
        == "the alert is gone"
    )


def messages(run):
    return run("select * from ops.messages order by made_at, subject")


def test_a_message_per_tutor_with_all_that_opened(tutor, alert, compose, run):
    tutor("T1", "Sarah Chen", is_high_reschedule=True)
    tutor("T2")
    alert("T1")
    alert("T1", "a2", alert_type="chronic_lateness", title="Chronic Lateness Detected")
    alert("T2")
    made = compose(critical=["email to ops@example.com via mail"])
    assert (made.messages, made.dropped) == (2, 0)
    one, two = messages(run)
    assert one["subject"] == (
        "Critical: Sarah Chen (T1): No-Show Pattern Detected, Chronic Lateness Detected"
    )
    assert (one["tutor_ids"], one["items"]) == (["T1"], 2)
    assert two["subject"] == "Critical: T2: No-Show Pattern Detected"
    for body in (one["text_body"], one["html_body"]):
        assert "Sarah Chen" in body
        assert "3 no-shows of the tutor in the last 30 days" in body
        assert "Urgent check-in call" in body
        assert "S1, S2" in body
        assert "reschedules over 15 %" in body
        assert "alerts ack aT1" in body or "alerts ack a2" in body
    addressed = run("select target, state from ops.deliveries where message_id = %s order by 1",
                    one["message_id"])  # fmt: skip
    assert [(row["target"], row["state"]) for row in addressed] == [
        ("email to ops@example.com via mail", "waiting"), ("file", "waiting"),
    ]  # fmt: skip


ABOUT = {"subject_kind": "student", "subject_id": "P7", "title": "Silent Student"}


def test_a_message_about_a_student_names_the_student_by_id_and_no_tutor(tutor, alert, compose, run):
    tutor("T1", "Sarah Chen", is_high_reschedule=True)
    alert("", "nobodys", **ABOUT)
    alert("T1", "of a tutor", **ABOUT)
    compose()
    made = messages(run)
    assert {each["subject"] for each in made} == {"Critical: student P7: Silent Student"}
    assert sorted(each["tutor_ids"] for each in made) == [[], ["T1"]]
    for message in made:
        assert "student P7 needs a call" in message["text_body"]
        for body in (message["text_body"], message["html_body"]):
            assert "Sarah Chen" not in body
            assert "reschedules over" not in body


def test_a_message_about_several_says_what_they_are(tutor, alert, compose, run, later):
    tutor("T1")
    for number in range(12):
        alert("", f"s{number}", **ABOUT | {"subject_id": f"P{number}"})
    compose()
    (message,) = messages(run)
    assert message["subject"] == "12 students need a call: 12 critical alerts"
    run("delete from ops.outbox")
    run("delete from ops.messages")
    for number in range(12):
        alert("", f"t{number}", **ABOUT | {"subject_kind": "subject", "subject_id": f"M{number}"})
        alert("T1", f"u{number}", alert_type=f"type {number}")
    compose()
    subjects = [each["subject"] for each in messages(run)]
    assert subjects == ["13 cases need a call: 24 critical alerts"]


def test_composed_again_there_is_nothing_to_tell(tutor, alert, compose, run):
    tutor("T1")
    alert("T1")
    assert compose().messages == 1
    assert compose().messages == 0
    assert run("select count(*) as n from ops.deliveries") == [{"n": 1}]


def test_a_kind_of_a_newer_version_waits_and_holds_nothing_up(tutor, alert, compose, run, db):
    tutor("T1")
    alert("T1")
    alert.note("T1", "of another kind")
    run("update ops.outbox set kind = 'unheard_of' where subject_id = 'of another kind'")
    with db.connect() as database:
        due, _ = composing.anything_due(database, list(Audience), NOW)
    assert due == 1
    made = compose()
    assert (made.messages, made.dropped) == (1, 0)
    waiting = run("select kind from ops.outbox where message_id is null and dropped is null")
    assert waiting == [{"kind": "unheard_of"}]


def test_what_was_dropped_says_why(tutor, alert, compose, run):
    tutor("T1")
    alert("T1", "a1", snoozed_until=SOON, snoozed_by="ana")
    alert("T1", "a2", alert_type="x", acknowledged_at=NOW, acknowledged_by="ana")
    alert.note("T1", "never there")
    made = compose()
    assert (made.messages, made.dropped) == (0, 3)
    found = {row["subject_id"]: row["dropped"] for row in run("select * from ops.outbox")}
    assert found == {
        "a1": "snoozed",
        "a2": "acknowledged before it was told",
        "never there": "the alert is gone",
    }


def test_two_hundred_at_once_are_one_message(tutor, alert, compose, run):
    for number in range(200):
        tutor(f"T{number:03}")
        alert(f"T{number:03}", excess=number / 100)
    assert compose().messages == 1
    (message,) = messages(run)
    assert message["subject"] == "200 tutors need a call: 200 critical alerts"
    assert message["items"] == 200
    assert len(message["tutor_ids"]) == 200
    # Who is furthest beyond the threshold comes first; who is not listed is counted.
    assert message["text_body"].index("T199") < message["text_body"].index("T198")
    assert "180 tutors more" in message["text_body"]
    assert run("select count(distinct message_id) as n from ops.outbox") == [{"n": 1}]


@pytest.mark.parametrize(("tutors", "made"), [(MOST_APART, MOST_APART), (MOST_APART + 1, 1)])
def test_few_are_told_apart_and_many_together(tutor, alert, compose, tutors, made):
    for number in range(tutors):
        tutor(f"T{number}")
        alert(f"T{number}")
    assert compose().messages == made


def test_a_storm_becomes_one_message_in_ten_minutes(tutor, alert, compose, run, later):
    for number in range(CALM_AFTER):
        tutor(f"T{number}")
        alert(f"T{number}")
        compose(NOW + timedelta(seconds=number))
    assert len(messages(run)) == CALM_AFTER
    for number in range(20, 30):
        tutor(f"T{number}")
        alert(f"T{number}")
    assert compose(NOW + CALM - timedelta(seconds=1)).messages == 0
    assert compose(NOW + CALM).messages == 1
    assert messages(run)[-1]["items"] == 10


def test_warnings_come_once_a_day_and_together(tutor, alert, compose, run, later):
    for number in range(3):
        tutor(f"T{number}")
        alert(f"T{number}", severity="warning")
    alert("T9", "old", severity="warning", triggered_date=NOW - timedelta(days=9))
    run("delete from ops.outbox where subject_id = 'old'")
    assert compose(later(hours=21)).messages == 0
    assert compose(later(hours=22)).messages == 1
    (message,) = messages(run)
    assert message["audience"] == "warning"
    assert message["subject"] == "3 new warnings about 3 tutors, 19 March"
    assert "1 earlier warning is still open." in message["text_body"]


def test_an_alert_that_became_worse_is_told_once(tutor, alert, compose, run, later):
    tutor("T1", "Sarah Chen")
    alert("T1", "a1", severity="warning")
    run("update ops.alerts set severity = 'critical'")
    alert.note("T1", "a1", "critical", "escalated 2", later(minutes=5))
    compose(later(minutes=5))
    compose(later(days=1))
    (message,) = messages(run)
    assert message["audience"] == "critical"
    assert "(a warning until now)" in message["text_body"]
    dropped = run("select dropped from ops.outbox where audience = 'warning'")
    assert dropped == [{"dropped": "told as critical"}]


def test_two_that_compose_at_once_make_one(tutor, alert, compose, run):
    for number in range(4):
        tutor(f"T{number}")
        alert(f"T{number}")
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda _: compose().messages, range(12)))
    assert sorted(made, reverse=True) == [4] + [0] * 11
    assert run("select count(*) as n from ops.deliveries") == [{"n": 4}]


def test_who_dies_while_composing_leaves_nothing_behind(tutor, alert, compose, run, monkeypatch):
    tutor("T1")
    alert("T1")
    with monkeypatch.context() as patch:
        patch.setattr(composing, "_PER_AUDIENCE", "select 1 / 0, %(since)s")
        with pytest.raises(psycopg.errors.DivisionByZero):
            compose()
    assert messages(run) == []
    assert compose().messages == 1


def test_what_no_message_can_be_made_of_holds_up_nothing_else(tutor, alert, compose, run, insert):
    for number in range(3):
        tutor(f"T{number}")
        alert(f"T{number}")
    tutor("T9")
    alert("T9", "odd")
    insert("ops.tutor_health", tutor_id="T9", as_of=NOW, recommendations=Jsonb([{"no": "text"}]))
    incident(insert, 1)
    made = compose()
    assert (made.messages, made.dropped, made.broken) == (4, 1, 1)
    assert sorted(row["audience"] for row in messages(run)) == ["critical"] * 3 + ["ops"]
    (row,) = run("select subject_id, dropped from ops.outbox where dropped is not null")
    assert row["subject_id"] == "odd"
    assert row["dropped"].startswith("no message could be made of it: KeyError")
    assert compose().messages == 0


def test_one_bad_row_of_two_hundred_leaves_one_message(tutor, alert, compose, insert, run):
    for number in range(200):
        tutor(f"T{number:03}")
        alert(f"T{number:03}")
    tutor("T999")
    alert("T999", "odd")
    insert("ops.tutor_health", tutor_id="T999", as_of=NOW, recommendations=Jsonb([{"no": "text"}]))
    made = compose()
    assert (made.messages, made.broken) == (1, 1)
    assert messages(run)[0]["items"] == 200


@pytest.mark.parametrize("number", [1, 3])
def test_what_is_wrong_with_the_tables_drops_nothing(
    tutor, alert, compose, run, monkeypatch, number
):
    for each in range(number):
        tutor(f"T{each}")
        alert(f"T{each}")
    with monkeypatch.context() as patch:
        patch.setattr(
            "tutor_pipeline.people.notify.kinds.alert._ALERTS",
            "select no_such_column from {ops}.alerts",
        )
        with pytest.raises(psycopg.errors.UndefinedColumn):
            compose()
    assert run("select count(*) as n from ops.outbox where dropped is not null") == [{"n": 0}]
    assert compose().messages == number


def test_what_breaks_for_all_is_nobody_s_fault_and_stays(tutor, alert, compose, run, monkeypatch):
    for each in range(3):
        tutor(f"T{each}")
        alert(f"T{each}")
    with monkeypatch.context() as patch:
        patch.setattr("tutor_pipeline.people.notify.kinds.alert.message", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            compose()
    assert compose().messages == 3


def test_what_could_not_be_told_can_be_tried_again(tutor, alert, compose, run, db, monkeypatch):
    tutor("T1")
    alert("T1")
    with monkeypatch.context() as patch:
        patch.setattr("tutor_pipeline.people.notify.kinds.alert.message", lambda *_: 1 / 0)
        assert compose().broken == 1
    assert compose().messages == 0
    with db.connect() as database:
        assert composing.retry(database) == 1
        assert composing.retry(database) == 0
    assert compose().messages == 1


def test_who_has_no_address_leaves_it_to_who_has(tutor, alert, compose, run, db):
    """A shell without the settings of the service must not tell files alone of what waits."""
    tutor("T1")
    alert("T1")
    compose(critical=["email to ops@example.com via mail"])
    urls = {Audience.CRITICAL: (), Audience.OPS: ()}
    with db.connect() as database:
        assert Audience.CRITICAL not in composing.may_tell(database, urls, NOW)
        assert Audience.OPS in composing.may_tell(database, urls, NOW)
        for url in ("mailto://…", "file"):
            told = composing.may_tell(database, {Audience.CRITICAL: (url,)}, NOW)
            assert Audience.CRITICAL in told
        late = NOW + composing.ADDRESSED_WITHIN + timedelta(seconds=1)
        assert Audience.CRITICAL in composing.may_tell(database, urls, late)
        tutor("T2")
        alert("T2")
        due = composing.anything_due(database, [Audience.OPS], NOW)
        assert due == (0, None)
        assert composing.anything_due(database, [Audience.CRITICAL], NOW) == (1, NOW)


def test_who_got_files_alone_has_no_address_anywhere(empty, insert, compose, db):
    incident(insert, 1)
    assert compose().messages == 1
    with db.connect() as database:
        assert composing.may_tell(database, {}, NOW) == list(Audience)


def test_what_waits_for_calm_is_not_due(tutor, alert, compose, db, run):
    for number in range(CALM_AFTER):
        tutor(f"T{number}")
        alert(f"T{number}")
        compose(NOW + timedelta(seconds=number))
    tutor("T99")
    alert("T99")
    with db.connect() as database:
        for now, due in ((NOW + CALM - timedelta(seconds=1), 0), (NOW + CALM, 1)):
            found, _ = composing.anything_due(database, [Audience.CRITICAL], now)
            assert found == due


def report_of(insert, session_id, tutor_id="T1", **session):
    values = {
        "status": "completed", "scheduled_start": NOW - timedelta(hours=1), "subject": "Physics",
        "actual_duration_minutes": 58.0, "session_score": 8.2, "student_satisfaction_rating": 3.0,
        "student_engagement_score": 7.0, "tutor_talk_ratio": 0.62, "is_first_session": True,
        "is_late": True, "late_minutes": 7.4, "technical_issues": True,
        "student_frustration_count": 2,
    }  # fmt: skip
    insert("marts.fct_sessions", tutor_id=tutor_id, session_id=session_id, **values | session)
    insert(
        "ops.outbox",
        audience="sessions", kind="session", tutor_id=tutor_id, subject_id=session_id,
        transition="completed", occurred_at=NOW, due_at=NOW,
    )  # fmt: skip


def test_a_session_report_holds_what_a_coach_asks_for(tutor, alert, insert, compose, run):
    tutor(
        "T1", "Sarah Chen", is_high_reschedule=True, sessions_7d=4, sessions_90d=40,
        reschedule_rate_7d=0.25, reschedule_rate_30d=0.17, reschedule_rate_90d=0.1,
        avg_session_score_30d=7.0, avg_rating_30d=4.5, avg_engagement_30d=7.0, avg_talk_ratio=0.5,
    )  # fmt: skip
    alert("T1")
    alert("T1", "of a student", **ABOUT)
    insert(
        "ops.tutor_insights",
        tutor_id="T1", insight_id="i1", category="infrequent_understanding_checks",
        insight_type="growth_area", occurrence=1, display_text="Seldom checks understanding (2.1)",
        coaching_tip="Stop after each step.", sample_sessions=["S1"], metrics="{}",
        rule_profile="conservative", rule_version="1", detected_at=NOW, last_confirmed_at=NOW,
    )  # fmt: skip
    report_of(insert, "S1")
    compose()
    message = next(row for row in messages(run) if row["audience"] == "sessions")
    assert message["subject"] == "Session report: Sarah Chen (T1): 8.2 of 10"
    text = message["text_body"]
    assert "Silent Student" not in text
    for said in (
        "18 March, 08:00 · Physics · 58 min · first session of the pair · S1",
        "Began 7 min late. There were technical issues. The student was frustrated 2 times.",
        "Session score (of 10): 8.2, own average of 30 days 7.0 (1.2 above)",
        "Student rating (of 5): 3.0, own average of 30 days 4.5 (1.5 below)",
        "Engagement (of 10): 7.0, own average of 30 days 7.0 (as usual)",
        "Tutor's share of the talking: 62 %, own average of 30 days 50 % (12 points above)",
        "25 % of 4 sessions in 7 days, 17 % of 12 sessions in 30 days, 10 % of 40 sessions in 90",
        "High: over 15 % in one of them.",
        "CRITICAL: No-Show Pattern Detected",
        "Could be better: Seldom checks understanding (2.1)",
        "Coaching tip: Stop after each step.",
    ):
        assert said in text
    assert "Coaching tip:" in message["html_body"]


def test_what_is_unknown_is_said_to_be(tutor, insert, compose, run):
    tutor("T1")
    report_of(
        insert, "S1", session_score=None, student_satisfaction_rating=None, tutor_talk_ratio=None,
        student_engagement_score=None, subject=None, actual_duration_minutes=None,
    )  # fmt: skip
    compose()
    (message,) = messages(run)
    assert message["subject"] == "Session report: T1"
    assert "No score or rating has come in yet." in message["text_body"]
    assert "Reschedules: unknown on this platform." in message["text_body"]


def test_sessions_of_a_tutor_are_one_message_and_those_gone_are_dropped(
    tutor, insert, compose, run
):
    tutor("T1", "Sarah Chen")
    report_of(insert, "S1")
    report_of(insert, "S2", scheduled_start=NOW - timedelta(hours=3))
    report_of(insert, "S3")
    run("update marts.fct_sessions set status = 'cancelled' where session_id = 'S3'")
    made = compose()
    assert (made.messages, made.dropped) == (1, 1)
    (message,) = messages(run)
    assert message["subject"] == "Session report: 2 sessions of Sarah Chen (T1)"
    assert message["text_body"].index("S2") < message["text_body"].index("S1")


def test_a_burst_of_sessions_is_one_message(tutor, insert, compose, run):
    for number in range(30):
        tutor(f"T{number:02}")
        report_of(insert, f"S{number:02}", f"T{number:02}")
    assert compose().messages == 1
    (message,) = messages(run)
    assert message["subject"] == "Session report: 30 sessions of 30 tutors"
    assert "10 tutors more" in message["text_body"]


def incident(insert, number, kind="run_failure"):
    details = {
        "title": "daily_refresh failed", "kind": kind, "subject": "daily_refresh",
        "why": "out of <memory>", "means": "it stays", "next": "read the log",
    }  # fmt: skip
    insert(
        "ops.outbox",
        audience="ops", kind="incident", subject_id=str(number), transition="opened",
        occurred_at=NOW, due_at=NOW, run_id="0123-run", details=Jsonb(details),
    )  # fmt: skip


def test_a_failure_of_data_is_named_so_and_what_is_over_too(empty, insert, compose, run):
    insert(
        "ops.incidents",
        kind="blocking_check", subject="s", title="t", details="{}", opened_at=NOW,
        last_seen_at=NOW, closed_at=NOW,
    )  # fmt: skip
    ((row),) = run("select incident_id from ops.incidents")
    incident(insert, row["incident_id"], "blocking_check")
    incident(insert, row["incident_id"] + 1)
    assert compose().messages == 2
    data, pipeline = messages(run)
    assert data["subject"] == "Data quality: daily_refresh failed"
    assert "over meanwhile" in data["text_body"]
    assert pipeline["subject"] == "Pipeline: daily_refresh failed"
    assert "over meanwhile" not in pipeline["text_body"]
    for said in ("out of <memory>", "it stays", "read the log", "/runs/0123-run"):
        assert said in pipeline["text_body"]
    assert "out of &lt;memory&gt;" in pipeline["html_body"]


def week(insert, tutor, alert, run):
    """A week in which something of everything happened."""
    tutor("T1", "Sarah Chen", score_change_14d=1.24, avg_session_score_14d=8.2,
          avg_session_score_prior_14d=6.96, avg_session_score_14d_n=6)  # fmt: skip
    tutor("T2", "Ivan Novak", score_change_14d=-2.0, avg_session_score_14d=5.0,
          avg_session_score_prior_14d=7.0, avg_session_score_14d_n=5)  # fmt: skip
    tutor("T3", "Omar Haddad")
    monday = NOW - timedelta(days=9)  # 2026-03-09 09:00
    alert("T1", "new", triggered_date=monday + timedelta(days=1))
    alert("T2", "done", triggered_date=monday + timedelta(days=2),
          resolved_at=monday + timedelta(days=3), resolved_by="ana", resolution="coached",
          action_taken="call on Tuesday")  # fmt: skip
    alert(
        "T2",
        "auto",
        alert_type="x",
        triggered_date=monday - timedelta(days=3),
        resolved_at=monday + timedelta(days=1),
        resolved_by="pipeline",
        resolution="auto",
    )
    alert(
        "T3",
        "oldest",
        severity="warning",
        triggered_date=monday - timedelta(days=20),
        acknowledged_at=NOW,
        acknowledged_by="ana",
        title="Extreme Talk Ratio Detected",
    )
    run("truncate ops.outbox")
    for tutor_id, title in (("T1", "Rising Star"), ("T2", "Rising Star"), ("T3", "Question Guru")):
        insert(
            "ops.achievements",
            tutor_id=tutor_id, achievement_id=f"b{tutor_id}", achievement_type=title,
            occurrence=1, title=title, description="…", icon="🚀", metrics="{}",
            rule_profile="conservative", rule_version="1", last_confirmed_at=NOW,
            earned_date=monday if tutor_id != "T3" else monday - timedelta(days=1),
            last_earned_date=monday if tutor_id != "T3" else monday - timedelta(days=1),
        )  # fmt: skip
    insert(
        "marts.platform_metrics",
        metric_date=(monday + timedelta(days=6)).date(),
        sessions_30d=1747, sessions_prior_30d=1600, sessions_change=0.092, sessions_trend="up",
        no_show_rate_30d=0.021, no_show_rate_prior_30d=0.01, no_show_rate_change=1.1,
        no_show_rate_trend="up", avg_rating_30d=4.1, avg_rating_prior_30d=4.11,
        avg_rating_change=-0.002, avg_rating_trend="neutral",
    )  # fmt: skip
    for number, status in enumerate(["completed"] * 3 + ["no_show_tutor"]):
        insert(
            "marts.fct_sessions",
            tutor_id="T1", session_id=f"S{number}", status=status, session_score=8.0,
            session_on=monday.date(), scheduled_start=monday, is_tutor_reschedule=False,
        )  # fmt: skip
    insert(
        "ops.outbox",
        audience="digest", kind="digest", subject_id="2026-03-09", transition="ended",
        occurred_at=NOW, due_at=NOW,
    )  # fmt: skip


def test_the_digest_of_a_week(insert, tutor, alert, run, compose):
    week(insert, tutor, alert, run)
    assert compose().messages == 1
    (message,) = messages(run)
    assert message["subject"] == "Week of 9 March: 2 tutors need attention"
    text = message["text_body"]
    for said in (
        "The week from 9 March to 15 March",
        # T2 and T3 were open on Monday morning, T1 and T3 are now.
        "As many as a week before. 4 sessions in the week, 3 completed, the tutor did not come"
        " to 1. The average score was 8.0 of 10.",
        "- Sarah Chen (T1) (critical): 3 no-shows of the tutor",
        "- Omar Haddad (T3): Extreme Talk Ratio Detected (warning, open for 29 days, ana is on it)",
        "2 alerts: 1 by people, of 1 the numbers recovered, or the tutor left.",
        "- Ivan Novak (T2): No-Show Pattern Detected (coached, by ana, call on Tuesday)",
        "- up: Sarah Chen (T1) +1.2 (7.0 → 8.2, 6 sessions)",
        "- down: Ivan Novak (T2) −2.0 (7.0 → 5.0, 5 sessions)",
        "- 🚀 Rising Star: Sarah Chen (T1), Ivan Novak (T2)",
        "- Sessions: 1,747 (1,600; ▲ 9 %)",
        "- Tutor did not come: 2.1 % (1 %; ▲ 110 %)",
        "- Student rating (1 to 5): 4.10 (4.11; unchanged)",
    ):
        assert said in text
    assert "Question Guru" not in text  # earned before
    assert message["tutor_ids"] == ["T1", "T2", "T3"]


def test_a_digest_names_a_student_by_id_and_counts_no_tutor_for_it(
    insert, tutor, alert, run, compose
):
    week(insert, tutor, alert, run)
    monday = NOW - timedelta(days=9)
    about = ABOUT | {"triggered_date": monday + timedelta(days=1)}
    alert("T2", "of a tutor", **about)
    alert("", "nobody's", **about | {"subject_id": "P8"})
    alert("", "old", **about | {"triggered_date": monday - timedelta(days=9), "subject_id": "P9"})
    alert("", "gone", **about | {"alert_type": "x", "resolved_at": NOW - timedelta(days=5),
          "resolved_by": "ana", "resolution": "coached"})  # fmt: skip
    run("delete from ops.outbox where kind = 'alert'")
    compose()
    (message,) = messages(run)
    assert message["subject"] == "Week of 9 March: 2 tutors need attention"
    for said in (
        "- student P7 (critical)", "- student P8 (critical)", "- student P9: Silent Student",
        "- student P7: Silent Student (coached, by ana)",
    ):  # fmt: skip
        assert said in message["text_body"]
    assert message["tutor_ids"] == ["T1", "T2", "T3"]


def test_a_badge_that_is_no_longer_met_is_not_told(insert, tutor, alert, run, compose):
    week(insert, tutor, alert, run)
    run("update ops.achievements set resolved_at = %s, resolved_by = 'pipeline',"
        " resolution = 'auto' where tutor_id = 'T2'", NOW)  # fmt: skip
    compose()
    (message,) = messages(run)
    assert "- 🚀 Rising Star: Sarah Chen (T1)\n" in message["text_body"]


def test_a_week_long_ago_is_told_as_it_ended(insert, tutor, alert, run, compose):
    week(insert, tutor, alert, run)
    run("update ops.alerts set resolved_at = %s, resolved_by = 'ana', resolution = 'fixed'"
        " where alert_id = 'new'", NOW)  # fmt: skip
    compose(NOW + timedelta(days=60))
    (message,) = messages(run)
    assert message["subject"] == "Week of 9 March: 2 tutors need attention"
    assert "- Sarah Chen (T1) (critical)" in message["text_body"]
    assert "open for 26 days" in message["text_body"]
    assert "MOVERS" not in message["text_body"]  # they are of today alone


def test_a_week_in_which_nothing_happened(empty, insert, compose, run):
    insert(
        "ops.outbox",
        audience="digest", kind="digest", subject_id="2026-03-09", transition="ended",
        occurred_at=NOW, due_at=NOW,
    )  # fmt: skip
    compose()
    (message,) = messages(run)
    assert message["subject"] == "Week of 9 March: 0 tutors need attention"
    assert "There was no session in the week." in message["text_body"]
    assert "Nobody: no alert of this week is open." in message["text_body"]
    assert "MOVERS" not in message["text_body"]


def test_a_trend_is_good_or_bad_by_what_it_counts(db, run, insert, tutor, alert):
    week(insert, tutor, alert, run)
    with db.connect() as database:
        found = week_data(database, (NOW - timedelta(days=9)).date(), NOW)
    assert {row["words"]: row["is_good"] for row in found["trend"]} == {
        "Sessions": True, "Tutor did not come": False, "Student rating (1 to 5)": None,
    }  # fmt: skip

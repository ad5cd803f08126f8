"""What is noted, for whom, and when it is due."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.unit.people.notify.conftest import NOW
from tutor_pipeline.core.findings import Change, Finding, Resolution, Severity, Step, Subject
from tutor_pipeline.people.notify import outbox
from tutor_pipeline.people.notify.kinds import alert, digest, incident, rules
from tutor_pipeline.people.notify.kinds import session as session_message


def change(step=Step.OPENED, severity="critical", number=1, row_id="a1", tutor_id="T1"):
    finding = Finding(Subject.tutor(tutor_id), "no_show", Severity(severity), {}, (), (), 0.5, "1")
    return Change(step, Subject.tutor(tutor_id), "no_show", row_id, 1, number, finding)


@pytest.fixture
def note(empty, db):
    def note_all(*changes, as_of=NOW, now=NOW):
        with db.connect() as database:
            return alert.note(database, changes, as_of=as_of, now=now, run_id="r1")

    return note_all


def rows(run):
    found = run("select * from ops.outbox order by outbox_id")
    return [(row["audience"], row["subject_id"], row["transition"]) for row in found]


def test_critical_at_once_and_a_warning_with_the_next_summary(note, run):
    assert note(change(), change(severity="warning", row_id="a2")) == 2
    critical, warning = run("select * from ops.outbox order by audience")
    assert (critical["audience"], critical["due_at"]) == ("critical", NOW)
    assert (warning["audience"], warning["due_at"]) == (
        "warning", datetime(2026, 3, 19, 7, tzinfo=UTC),
    )  # fmt: skip


@pytest.mark.parametrize(("was", "told"), [("warning", 1), ("critical", 0)])
def test_an_alert_that_is_back_is_told_only_if_it_is_worse(note, was, told):
    back = replace(change(Step.REOPENED, number=3), was=Severity(was))
    assert note(back) == told


def test_only_what_opens_or_becomes_worse_is_told(note, run):
    resolved = Change(
        Step.RESOLVED, Subject.tutor("T1"), "no_show", "a9", 1, 2, resolution=Resolution.AUTO
    )
    noted = note(
        change(Step.ESCALATED, number=2),
        change(Step.EASED, "warning", number=3),
        change(Step.CONFIRMED, number=None),
        resolved,
    )
    assert noted == 1
    assert rows(run) == [("critical", "a1", "escalated 2")]


def test_noted_again_it_is_the_same_and_each_escalation_is_another(note, run):
    for _ in range(3):
        note(change(), change(Step.ESCALATED, number=2), change(Step.ESCALATED, number=4))
    assert rows(run) == [
        ("critical", "a1", "opened 1"),
        ("critical", "a1", "escalated 2"),
        ("critical", "a1", "escalated 4"),
    ]


@pytest.mark.parametrize(
    ("age", "dropped"),
    [(timedelta(days=2), None), (timedelta(days=2, seconds=1), "as of the past")],
)
def test_for_alerts_of_the_past_nobody_is_called(note, run, age, dropped):
    note(change(), as_of=NOW - age)
    (row,) = run("select dropped, occurred_at from ops.outbox")
    # By the clock: what people did before is not an answer to it.
    assert row == {"dropped": dropped, "occurred_at": NOW}


@pytest.mark.parametrize(
    ("now", "zone", "expected"),
    [
        ("2026-03-18T06:59:59", "UTC", "2026-03-18T07:00+00:00"),
        ("2026-03-18T07:00:00", "UTC", "2026-03-19T07:00+00:00"),
        ("2026-03-18T23:30:00", "America/New_York", "2026-03-19T07:00-04:00"),
        # Clocks go forward in the night between: the morning is an hour sooner.
        ("2026-03-28T12:00:00", "Europe/Berlin", "2026-03-29T07:00+02:00"),
        ("2026-10-24T12:00:00", "Europe/Berlin", "2026-10-25T07:00+01:00"),
    ],
)
def test_the_next_summary_is_at_seven_where_people_are(now, zone, expected):
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    found = outbox.next_summary(moment, zone)
    assert found == datetime.fromisoformat(expected)
    assert found.astimezone(ZoneInfo(zone)).hour == 7


@pytest.mark.parametrize(
    ("age", "dropped"),
    [(timedelta(days=2), None), (timedelta(days=2, seconds=1), "as of the past")],
)
def test_a_switch_of_profile_is_told_once(empty, db, run, age, dropped):
    details = {"before": "conservative", "profile": "adaptive", "is_shipped": True,
               "closed": 5, "critical": 2, "tutors": 4, "retired": 1, "opened": 1}  # fmt: skip
    for _ in range(2):
        with db.connect() as database:
            rules.note(
                database, details,
                as_of=NOW - age, now=NOW, run_id="r1",
            )  # fmt: skip
    (row,) = run("select kind, audience, due_at, dropped, details from ops.outbox")
    assert row == {
        "kind": "rules", "audience": "critical", "due_at": NOW, "dropped": dropped,
        "details": details,
    }  # fmt: skip


@pytest.fixture
def session(empty, insert):
    def add(session_id, status="completed", began=NOW - timedelta(hours=1), run_id="r/1"):
        insert(
            "ops.session_changes",
            run_id=run_id, tutor_id="T1", session_id=session_id, pending_since=NOW,
        )  # fmt: skip
        insert(
            "marts.fct_sessions",
            tutor_id="T1", session_id=session_id, status=status, scheduled_start=began,
        )  # fmt: skip

    return add


def test_each_completed_session_gets_one_report_for_ever(db, run, session, insert):
    session("S1")
    session("S2", status="no_show_tutor")
    session("S3", began=NOW - timedelta(days=2))
    session("S4", began=NOW - timedelta(days=2, seconds=1))
    session("S5", began=NOW + timedelta(seconds=1))
    session("S6", run_id="another/1")
    for _ in range(2):
        with db.connect() as database:
            session_message.note(database, "r/1", NOW)
    assert sorted(rows(run)) == [("sessions", "S1", "completed"), ("sessions", "S3", "completed")]


def test_an_incident_is_told_once_and_a_week_has_one_digest(empty, db, run):
    details = {"title": "t", "kind": "drift", "subject": "s", "means": "m", "next": "n"}
    with db.connect() as database:
        first = incident.note(database, 7, details, at=NOW, run_id="r1")
        again = incident.note(database, 7, details, at=NOW, run_id="r2")
        assert (first, again) == (1, 0)
        weeks = [
            digest.note(database, week, {}, now=NOW, run_id="r1")
            for week in ("2026-03-09", "2026-03-09", "2026-03-16")
        ]
    assert weeks == [True, False, True]
    assert [audience for audience, _, _ in rows(run)] == ["ops", "digest", "digest"]


def test_a_transaction_that_fails_notes_nothing(empty, db, run):
    with pytest.raises(ZeroDivisionError), db.connect() as database:
        alert.note(database, [change()], as_of=NOW, now=NOW, run_id="r1")
        raise ZeroDivisionError
    assert rows(run) == []

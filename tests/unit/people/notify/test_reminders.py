"""A critical alert that nobody sees to is told again once, and so is each snooze that has ended."""

from datetime import timedelta

import pytest
from psycopg.types.json import Jsonb

from tests.unit.people.notify.conftest import NOW
from tutor_pipeline.people.notify.kinds import alert as alerts


@pytest.fixture
def remind(db):
    def at(now):
        with db.connect() as database:
            return alerts.remind(database, now)

    return at


@pytest.fixture
def told(run):
    def fetch():
        rows = run("select transition, audience from ops.outbox order by outbox_id")
        return [(row["transition"], row["audience"]) for row in rows]

    return fetch


@pytest.fixture
def event(insert):
    def add(number, name, at, **details):
        insert(
            "ops.alert_events", tutor_id="T1", alert_id="aT1", event_no=number, event=name, at=at,
            actor="ada", details=Jsonb(details),
        )  # fmt: skip

    return add


@pytest.fixture
def opened(tutor, alert, compose):
    """A critical alert, told an instant after it opened."""
    tutor("T1", "Sarah Chen")
    alert("T1")
    compose(NOW)


def after(**span):
    return NOW + timedelta(**span)


@pytest.mark.usefixtures("opened")
def test_somebody_is_reminded_once_after_a_day(remind, told, compose, run):
    assert remind(after(hours=23, minutes=59)) == 0
    assert remind(after(hours=24)) == 1
    assert [remind(after(hours=hours)) for hours in (24, 25, 48, 500)] == [0, 0, 0, 0]
    assert told() == [("opened 1", "critical"), ("reminded opened 1", "critical")]
    compose(after(hours=24))
    *_, message = run("select subject, text_body from ops.messages order by made_at")
    assert message["subject"] == "Reminder: Sarah Chen (T1): No-Show Pattern Detected"
    assert message["text_body"].startswith("Sarah Chen (T1) still needs a call")
    assert "(told over a day ago, and nobody has acknowledged it)" in message["text_body"]


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize(
    "changes",
    [
        "acknowledged_at = '2026-03-18 10:00+00', acknowledged_by = 'ada'",
        "owner = 'ada'",
        "snoozed_until = '2026-03-30', snoozed_by = 'ada'",
        "resolved_at = '2026-03-18 10:00+00', resolved_by = 'p', resolution = 'auto'",
        "severity = 'warning'",
    ],
)
def test_of_what_somebody_sees_to_nobody_is_reminded(remind, run, changes):
    run(f"update ops.alerts set {changes}")
    assert remind(after(hours=30)) == 0


@pytest.mark.usefixtures("opened")
def test_an_excuse_or_a_note_is_an_act(remind, event, insert, run):
    event(2, "excused", after(hours=1))
    assert remind(after(hours=30)) == 0
    run("truncate ops.alert_events")
    insert(
        "ops.notes", tutor_id="T1", subject_kind="tutor", subject_id="T1", alert_id="aT1",
        at=after(hours=2), author="ada", text="called",
    )  # fmt: skip
    assert remind(after(hours=30)) == 0
    run("truncate ops.notes")
    assert remind(after(hours=30)) == 1


@pytest.mark.usefixtures("opened")
def test_an_excuse_that_was_undone_is_no_act(remind, event, insert, run):
    insert(
        "ops.session_excuses", tutor_id="T1", session_id="S1", kind="absence", reason="ill",
        excused_by="ada", excused_at=after(hours=1),
    )  # fmt: skip
    ((number,),) = [tuple(row.values()) for row in run("select excuse_id from ops.session_excuses")]
    event(2, "excused", after(hours=1), excuse_id=number)
    assert remind(after(hours=30)) == 0
    run("update ops.session_excuses set undone_by = 'ada', undone_at = %s", after(hours=2))
    assert remind(after(hours=30)) == 1


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            "acknowledged_at = '2026-03-18 09:30+00', acknowledged_by = 'ada'",
            "acknowledged before it was told",
        ),
        ("owner = 'ada'", "ada works on it"),
        (
            "resolved_at = now(), resolved_by = 'p', resolution = 'auto'",
            "resolved before it was told",
        ),
        ("snoozed_until = '2026-03-30', snoozed_by = 'ada'", "snoozed"),
    ],
)
def test_who_acts_before_the_reminder_is_sent_gets_none(remind, run, compose, changes, why):
    remind(after(hours=24))
    run(f"update ops.alerts set {changes}")
    compose(after(hours=24, minutes=1))
    assert run("select dropped from ops.outbox where transition like 'reminded%%'") == [
        {"dropped": why}
    ]


def test_what_nobody_was_told_needs_no_reminder(tutor, alert, remind, run):
    tutor("T1")
    alert("T1")
    assert remind(after(hours=30)) == 0
    run("update ops.outbox set dropped = 'as of the past'")
    assert remind(after(hours=30)) == 0


@pytest.mark.usefixtures("opened")
def test_what_became_worse_counts_from_then(remind, alert, compose, told):
    alert.note("T1", "aT1", "critical", "escalated 2", after(hours=20))
    compose(after(hours=20))
    assert remind(after(hours=43)) == 0
    assert remind(after(hours=44)) == 1
    assert told()[-1] == ("reminded escalated 2", "critical")


@pytest.mark.usefixtures("opened")
def test_each_snooze_that_has_ended_is_told_once(remind, event, run, told, compose):
    for number, hours in ((2, 30), (3, 80)):
        event(number, "snoozed", after(hours=hours - 10))
        run("update ops.alerts set snoozed_until = %s, snoozed_by = 'ada'", after(hours=hours))
        assert remind(after(hours=hours - 1)) == 0
        assert remind(after(hours=hours)) == 1
        assert remind(after(hours=hours + 1)) == 0
    assert [name for name, _ in told()] == ["opened 1", "snooze ended 2", "snooze ended 3"]
    compose(after(hours=81))
    *_, message = run("select subject, text_body from ops.messages order by made_at")
    assert message["subject"] == "Critical: Sarah Chen (T1): No-Show Pattern Detected"
    assert message["text_body"].count("(its snooze has ended)") == 1
    # A day after the end nobody has acted.
    assert remind(after(hours=103)) == 0
    assert remind(after(hours=104)) == 1


@pytest.mark.usefixtures("opened")
def test_who_was_told_of_a_critical_alert_tells_the_others(remind, event, run):
    event(2, "snoozed", NOW)
    run("update ops.alerts set snoozed_until = %s, snoozed_by = 'ada'", after(hours=2))
    assert remind(after(hours=2)) == 1
    run("update ops.alerts set severity = 'warning'")
    assert remind(after(hours=3)) == 0


def test_the_end_of_a_warning_s_snooze_comes_with_the_next_summary(
    tutor, alert, remind, event, run, told, compose
):
    tutor("T1")
    alert("T1", severity="warning")
    event(2, "snoozed", NOW)
    run("update ops.alerts set snoozed_until = %s, snoozed_by = 'ada'", after(hours=2))
    assert remind(after(hours=2)) == 1
    assert told()[-1] == ("snooze ended 2", "warning")
    assert compose(after(hours=3)).messages == 0
    assert compose(after(hours=22)).messages == 1


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize(
    "changes",
    [
        "acknowledged_at = '2026-03-18 09:30+00', acknowledged_by = 'ada'",
        "resolved_at = '2026-03-18 09:30+00', resolved_by = 'p', resolution = 'auto'",
        "snoozed_until = null, snoozed_by = null",
    ],
)
def test_of_some_snoozes_the_end_is_not_told(remind, event, run, changes):
    event(2, "snoozed", NOW)
    run("update ops.alerts set snoozed_until = %s, snoozed_by = 'ada'", after(hours=2))
    run(f"update ops.alerts set {changes}")
    assert remind(after(hours=3)) == 0


@pytest.mark.usefixtures("opened")
def test_a_snooze_that_ended_long_ago_is_no_news(remind, event, run, told):
    event(2, "snoozed", NOW)
    run("update ops.alerts set snoozed_until = %s, snoozed_by = 'ada'", after(hours=2))
    remind(after(days=8))
    assert [name for name, _ in told()] == ["opened 1", "reminded opened 1"]


@pytest.mark.usefixtures("opened")
def test_two_that_remind_at_once_note_it_once(db, told):
    with db.connect() as first, db.connect() as second:
        assert alerts.remind(first, after(hours=24)) == 1
        first.connection.commit()
        assert alerts.remind(second, after(hours=24)) == 0
    assert len(told()) == 2

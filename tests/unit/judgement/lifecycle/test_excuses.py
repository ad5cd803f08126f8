"""A session is struck from what speaks against a tutor: the alert follows, and so does undoing."""

import threading
from datetime import timedelta

import pytest

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.judgement.lifecycle import alert_actions, excuses
from tutor_pipeline.judgement.lifecycle.excuses import ExcuseKind
from tutor_pipeline.sources.changes import ledger

pytestmark = pytest.mark.usefixtures("empty")


@pytest.fixture
def excuse(db, make):
    def do(session_id="S1", kind="absence", *, at=1.0, by="ada", reason="an outage", tutor="T1"):
        with db.connect() as database:
            return excuses.excuse(
                database, tutor, session_id, ExcuseKind(kind), reason=reason, by=by,
                at=make.day(at),
            )  # fmt: skip

    return do


@pytest.fixture
def undo(db, make):
    def do(number, *, at=2.0, by="bea"):
        with db.connect() as database:
            return excuses.undo(database, number, by=by, at=make.day(at))

    return do


@pytest.fixture
def alerts(query):
    def fetch():
        return query("select * from {ops}.alerts order by tutor_id, alert_type, occurrence")

    return fetch


@pytest.fixture
def events(query):
    def fetch():
        rows = query("select event, actor, details from {ops}.alert_events order by event_no")
        return [(row["event"], row["actor"]) for row in rows]

    return fetch


def test_an_alert_closes_because_of_an_excuse_and_opens_again_with_it(
    run, make, sessions, excuse, undo, alerts, events
):
    sessions(S1=-3, S2=-2)
    run(make.evaluation(make.finding(evidence=("S2", "S1")), at=0))
    number = excuse("S1")
    (before,) = alerts()
    assert before["resolved_at"] is None, "nothing closes before somebody looked"
    run(make.evaluation(at=1.5, evaluated={"no_show": {"T1"}}))
    (closed,) = alerts()
    assert (closed["resolution"], closed["resolved_by"]) == ("excused", "pipeline")
    assert events() == [("opened", "pipeline"), ("excused", "ada"), ("resolved", "pipeline")]

    # What holds again without the excuse being undone is a new alert.
    undo(number, at=2)
    run(make.evaluation(make.finding(evidence=("S2", "S1")), at=2.5))
    (again,) = alerts()
    assert again["alert_id"] == before["alert_id"]
    assert (again["resolved_at"], again["triggered_date"]) == (None, before["triggered_date"])
    assert events()[3:] == [("reopened", "pipeline")]


def test_what_is_newer_than_an_undone_excuse_is_a_new_alert(
    run, make, sessions, excuse, undo, alerts
):
    sessions(S1=-3, S2=-2, S3=40, S4=41)
    run(make.evaluation(make.finding(evidence=("S2", "S1")), at=0))
    number = excuse("S1")
    run(make.evaluation(at=1.5, evaluated={"no_show": {"T1"}}))
    undo(number, at=2)
    run(make.evaluation(at=3, evaluated={"no_show": {"T1"}}))
    run(make.evaluation(make.finding(evidence=("S4", "S3")), at=42))
    before, new = alerts()
    assert before["resolution"] == "excused"
    assert (new["resolved_at"], new["triggered_date"]) == (None, make.day(42))


def test_an_excuse_that_was_undone_while_a_run_worked_still_closes_as_one(
    run, make, sessions, excuse, undo, alerts
):
    sessions(S1=-3, S2=-2)
    run(make.evaluation(make.finding(evidence=("S2", "S1")), at=0))
    undo(excuse("S1", at=1), at=2)
    # As of its beginning the session was excused, and so it read the figures.
    run(make.evaluation(at=1.5, evaluated={"no_show": {"T1"}}))
    (closed,) = alerts()
    assert closed["resolution"] == "excused"
    run(make.evaluation(make.finding(evidence=("S2", "S1")), at=2.5))
    (again,) = alerts()
    assert (again["alert_id"], again["resolved_at"]) == (closed["alert_id"], None)


def test_a_new_session_makes_a_new_alert_while_the_excuse_holds(
    run, make, sessions, excuse, alerts
):
    sessions(S1=-3, S2=-2, S3=1)
    run(make.evaluation(make.finding(evidence=("S2", "S1")), at=0))
    excuse("S1", at=0.5)
    run(make.evaluation(at=0.6, evaluated={"no_show": {"T1"}}))
    run(make.evaluation(make.finding(evidence=("S3", "S2")), at=2))
    first, second = alerts()
    assert (first["resolution"], second["resolved_at"]) == ("excused", None)


def test_what_is_left_may_be_too_little_to_evaluate(run, make, sessions, excuse, alerts):
    sessions(S1=-3)
    run(make.evaluation(make.finding(evidence=("S1",)), at=0))
    excuse("S1", at=0.5)
    run(make.evaluation(at=1, evaluated={"no_show": set()}))
    assert alerts()[0]["resolution"] == "excused"


@pytest.mark.parametrize(
    ("how", "resolution"),
    [
        ({"auto_resolve": False}, "excused"),
        ({"skipped": {"T1": "unreadable"}, "evaluated": {"no_show": set()}}, None),
        ({"evaluated": {}}, "rule_retired"),
        ({"disabled": frozenset({("T1", "no_show")})}, "rule_disabled"),
    ],
)
def test_other_reasons_beside_an_excuse(run, make, sessions, excuse, alerts, how, resolution):
    sessions(S1=-3)
    run(make.evaluation(make.finding(evidence=("S1",)), at=0))
    excuse("S1", at=0.5)
    run(make.evaluation(at=1, **{"evaluated": {"no_show": {"T1"}}} | how))
    assert alerts()[0]["resolution"] == resolution


def test_an_alert_that_goes_on_and_ends_later_ends_by_itself(
    run, make, sessions, excuse, alerts, events
):
    sessions(S1=-3, S2=-2)
    run(make.evaluation(make.finding(evidence=("S2", "S1")), at=0))
    excuse("S1", at=0.5)
    run(make.evaluation(make.finding(evidence=("S2",)), at=1))
    assert alerts()[0]["evidence_session_ids"] == ["S2"]
    run(make.evaluation(at=2, evaluated={"no_show": {"T1"}}))
    assert alerts()[0]["resolution"] == "auto"


def test_an_open_alert_tells_that_an_excuse_was_taken_back(
    run, make, sessions, excuse, undo, events
):
    sessions(S1=-3, S2=-2)
    run(make.evaluation(make.finding(evidence=("S2", "S1")), at=0))
    number = excuse("S1", at=0.5)
    run(make.evaluation(make.finding(evidence=("S2",)), at=1))
    undo(number)
    assert events() == [("opened", "pipeline"), ("excused", "ada"), ("unexcused", "bea")]


def test_who_saw_the_alert_before_the_excuse_is_told(run, make, sessions, excuse, act, open_ids):
    sessions(S1=-3)
    run(make.evaluation(make.finding(evidence=("S1",)), at=0))
    (alert_id,) = open_ids().values()
    excuse("S1", at=0.5)
    done = act(alert_actions.acknowledge, [alert_id], make.day(0.6), seen={alert_id: 1})
    assert done.moved == (alert_id,)
    assert done.unchanged == {alert_id: "excused by ada meanwhile"}


@pytest.mark.parametrize(
    ("status", "columns", "kinds"),
    [
        ("no_show_tutor", {}, ["absence", "all"]),
        ("not_held", {}, ["absence", "all"]),
        ("rescheduled", {"is_tutor_reschedule": True}, ["reschedule", "all"]),
        ("rescheduled", {}, []),
        ("completed", {"is_late": True}, ["lateness", "quality", "all"]),
        ("completed", {}, ["quality", "all"]),
        ("cancelled", {}, []),
        ("no_show_student", {}, []),
        ("scheduled", {"is_tutor_reschedule": True}, []),
        ("in_progress", {"is_late": True}, []),
    ],
)
def test_what_a_session_can_be_excused_from(status, columns, kinds):
    session = {"status": status, "is_tutor_reschedule": False, "is_late": None, **columns}
    assert excuses.fitting(session) == tuple(kinds)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"session_id": "S9"}, "there is no session S9 of this tutor"),
        ({"tutor": "T2"}, "there is no session S1 of this tutor"),
        ({"kind": "lateness"}, "nothing to excuse of that kind: it did not begin late"),
        ({"session_id": "ahead"}, "the session is not over"),
        ({"session_id": "old"}, "older than 90 days"),
        ({"reason": " \n"}, "say why"),
        ({"reason": "x" * 501}, "501 characters"),
        ({"by": " "}, "say who acts"),
        ({"by": "pipeline"}, "'pipeline' is the name under which runs act"),
    ],
)
def test_what_cannot_be_excused(sessions, excuse, query, arguments, why):
    sessions(S1=-3, ahead=3, old=-95)
    with pytest.raises(UsageError, match=why):
        excuse(**arguments)
    assert query("select * from {ops}.session_excuses") == []


def test_a_session_is_excused_once(sessions, excuse, undo):
    sessions(S1=-3)
    number = excuse("S1", at=1)
    for kind in ("absence", "absence"):
        with pytest.raises(UsageError, match="ada excused the session already"):
            excuse("S1", kind, by="bea")
    undo(number, at=2)
    with pytest.raises(UsageError, match="bea undid this excuse already"):
        undo(number, at=2)
    with pytest.raises(UsageError, match="there is no excuse"):
        undo(number + 100, at=2)
    excuse("S1", "all", at=3)
    with pytest.raises(UsageError, match="ada excused the session of all already"):
        excuse("S1", "absence", at=3)


def test_two_who_excuse_at_once_are_one_excuse(db, sessions, make, query):
    sessions(S1=-3)
    told = []

    def excuse(by):
        with db.connect() as database:
            try:
                excuses.excuse(
                    database, "T1", "S1", ExcuseKind.ALL, reason="outage", by=by, at=make.day(1)
                )
            except UsageError as error:
                told.append(str(error))

    threads = [threading.Thread(target=excuse, args=(f"p{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(query("select * from {ops}.session_excuses")) == 1
    assert len(told) == 5
    assert all("excused the session of all already" in each for each in told)


def test_a_session_is_marked_as_changed_however_old_it_is(
    sessions, excuse, undo, execute, query, make
):
    sessions(S1=-60)
    execute(
        "insert into {ops}.session_ledger (tutor_id, session_id, scheduled_start, session_version,"
        " version, processed_at, run_id) values ('T1', 'S1', %s, 1, 1, %s, 'r')",
        make.day(-60), make.day(-59),
    )  # fmt: skip
    waits = "select pending_since from {ops}.session_ledger"
    number = excuse("S1", at=1)
    assert query(waits) == [{"pending_since": make.day(1)}]
    execute("update {ops}.session_ledger set pending_since = null")
    undo(number, at=2)
    assert query(waits) == [{"pending_since": make.day(2)}]


def test_the_excuses_of_tutors(sessions, excuse, undo, reader, make):
    sessions(S1=-3, S2=-2)
    first, second = excuse("S1", at=1), excuse("S2", at=2)
    undo(first, at=3)

    def numbers(**how):
        tutors = how.pop("tutors", ["T1"])
        return [
            row["excuse_id"]
            for row in excuses.made(reader, tutors, make.day(how.pop("since", 0)), **how)
        ]

    assert numbers() == [second]
    assert numbers(undone=True) == [second, first]
    assert numbers(undone=True, since=1.5) == [second]
    assert numbers(tutors=None) == [second]
    assert numbers(tutors=["T2"]) == []
    assert list(excuses.of_sessions(reader, [("T1", "S1"), ("T1", "S2")])) == [("T1", "S2")]
    assert excuses.of_sessions(reader, []) == {}
    assert timedelta(days=90) == ledger.LOOKBACK

"""Administrators' actions: each takes effect once, with its event, also beside a run."""

import threading
from dataclasses import replace

import psycopg
import pytest

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.findings import Resolution, Step
from tutor_pipeline.judgement.lifecycle import alert_actions
from tutor_pipeline.people.reports import alert_queries

ACTIVE = frozenset({"T1", "T2", "T3"})
pytestmark = pytest.mark.usefixtures("empty")


@pytest.fixture
def three(run, make, open_ids):
    """The ids of three open alerts: T1's no_show and late, T2's no_show."""
    run(make.evaluation(make.finding(), make.finding(rule_id="late"), make.finding("T2")))
    ids = open_ids()
    return ids["T1", "no_show"], ids["T1", "late"], ids["T2", "no_show"]


@pytest.fixture
def alert(query):
    """A row of an alert by its id."""

    def fetch(alert_id):
        (row,) = query("select * from {ops}.alerts where alert_id = %s", alert_id)
        return row

    return fetch


@pytest.fixture
def events(query):
    """The events of an alert after the first: (number, event, at, actor, details)."""

    def fetch(alert_id):
        rows = query(
            "select event_no, event, at, actor, details from {ops}.alert_events"
            " where alert_id = %s order by event_no",
            alert_id,
        )
        assert (rows[0]["event_no"], rows[0]["event"]) == (1, "opened")
        return [tuple(row.values()) for row in rows[1:]]

    return fetch


def test_acknowledge_several_and_again(act, three, alert, events, make):
    done = act(alert_actions.acknowledge, three[:2], make.day(1), note="calling at 3 pm")
    assert done == alert_actions.ActionResult(three[:2], {})
    row = alert(three[0])
    assert (row["acknowledged"], row["acknowledged_at"]) == (True, make.day(1))
    assert (row["acknowledged_by"], row["acknowledged_note"]) == ("ada", "calling at 3 pm")
    assert events(three[0]) == [
        (2, "acknowledged", make.day(1), "ada", {"note": "calling at 3 pm"})
    ]
    again = act(alert_actions.acknowledge, three, make.day(2), by="bob")
    already = "acknowledged already"
    assert again == alert_actions.ActionResult(three[2:], {three[0]: already, three[1]: already})
    assert alert(three[0]) == row
    assert len(events(three[0])) == 1


def test_snooze_hides_and_may_be_moved(act, three, alert, events, query, make):
    until = make.day(20_000)  # the view asks the clock
    assert act(alert_actions.snooze, three[:2], make.day(1), until=until).changed == three[:2]
    needing = query("select tutor_id, critical_alerts from {ops}.tutors_needing_attention")
    assert [row["tutor_id"] for row in needing] == ["T2"]
    again = act(alert_actions.snooze, three[:1], make.day(2), until=until)
    assert again == alert_actions.ActionResult((), {three[0]: "snoozed until then already"})
    later = make.day(20_001)
    assert (
        act(alert_actions.snooze, three[:1], make.day(3), until=later, note="ill").changed
        == three[:1]
    )
    assert (alert(three[0])["snoozed_until"], alert(three[0])["snoozed_by"]) == (later, "ada")
    assert [(number, event, details) for number, event, _, _, details in events(three[0])] == [
        (2, "snoozed", {"until": until.isoformat()}),
        (3, "snoozed", {"until": later.isoformat(), "note": "ill"}),
    ]


def test_reopening_ends_a_snooze(act, three, alert, make):
    act(alert_actions.snooze, three[:1], make.day(1), until=make.day(20_000))
    act(alert_actions.resolve, three[:1], make.day(2), reason=Resolution.FIXED)
    assert act(alert_actions.reopen, three[:1], make.day(3)).changed == three[:1]
    assert (alert(three[0])["snoozed_until"], alert(three[0])["snoozed_by"]) == (None, None)


def test_a_snoozed_alert_is_kept_current(act, run, three, alert, make):
    act(alert_actions.snooze, three[:1], make.day(1), until=make.day(20_000))
    assert run(make.evaluation(make.finding(excess=9.0), at=1)).confirmed == 1
    row = alert(three[0])
    assert (row["excess"], row["last_confirmed_at"]) == (9.0, make.day(1))
    assert row["snoozed_until"] == make.day(20_000)


def test_resolve_and_reopen_are_the_same_row(act, run, three, alert, events, make):
    act(alert_actions.acknowledge, three[:1], make.day(1))
    done = act(
        alert_actions.resolve,
        three[:1],
        make.day(2),
        reason=Resolution.COACHED,
        action_taken="a talk",
    )
    assert done.changed == three[:1]
    row = alert(three[0])
    assert (row["resolved"], row["resolved_at"], row["resolved_by"]) == (True, make.day(2), "ada")
    assert (row["resolution"], row["action_taken"]) == ("coached", "a talk")
    for verb, arguments in (
        (alert_actions.resolve, {"reason": Resolution.FIXED}),
        (alert_actions.acknowledge, {}),
        (alert_actions.snooze, {"until": make.day(9)}),
    ):
        assert act(verb, three[:1], make.day(3), **arguments) == alert_actions.ActionResult(
            (), {three[0]: "resolved already"}
        )

    assert act(
        alert_actions.reopen, three, make.day(4), by="bob", note="too early"
    ) == alert_actions.ActionResult(three[:1], {three[1]: "open already", three[2]: "open already"})
    row = alert(three[0])
    cleared = ("resolved_at", "resolved_by", "resolution", "action_taken")
    assert [row[name] for name in cleared] == [None] * 4
    assert row["acknowledged_by"] == "ada"
    assert [each[:2] + each[3:] for each in events(three[0])] == [
        (2, "acknowledged", "ada", {}),
        (3, "resolved", "ada", {"resolution": "coached", "action_taken": "a talk"}),
        (4, "reopened", "bob", {"note": "too early"}),
    ]
    # The next run goes on with it.
    evaluation = make.evaluation(
        make.finding(severity="warning"), at=5, evaluated={"no_show": {"T1"}, "late": set()}
    )
    assert [change.step for change in run(evaluation).changes] == [Step.EASED]
    assert events(three[0])[-1][:2] == (5, "eased")
    assert alert(three[0])["occurrence"] == 1


def test_only_the_newest_of_a_pair_is_reopened(act, run, three, open_ids, make):
    gone = make.evaluation(at=1, evaluated={"no_show": {"T1", "T2"}, "late": {"T1"}})
    assert run(gone).resolved == 3
    run(make.evaluation(make.finding(), at=2))
    newer = open_ids()["T1", "no_show"]
    assert act(alert_actions.reopen, three, make.day(3)) == alert_actions.ActionResult(
        three[1:], {three[0]: f"a newer alert of the tutor and type is open: {newer}"}
    )
    run(make.evaluation(at=4, evaluated={"no_show": {"T1"}, "late": set()}))
    refused = act(alert_actions.reopen, [three[0], newer], make.day(5))
    assert refused == alert_actions.ActionResult(
        (newer,), {three[0]: f"a newer alert of the tutor and type is there: {newer}"}
    )


def test_reopened_and_auto_resolved_it_comes_back_freely(act, run, three, make, sessions):
    sessions(S1=-1)
    act(alert_actions.resolve, three, make.day(1), reason=Resolution.FIXED)
    assert run(make.evaluation(make.finding(), at=1)).suppressed == 1
    act(alert_actions.reopen, three[:1], make.day(2))
    assert run(make.evaluation(at=3, evaluated={"no_show": {"T1"}, "late": set()})).resolved == 1
    assert run(make.evaluation(make.finding(), at=4)).opened == 1


def test_an_unknown_id_stops_the_whole_act(act, three, everything, make):
    before = everything()
    with pytest.raises(UsageError, match=r"no alert nobody, never; nothing was changed"):
        act(alert_actions.acknowledge, [three[0], "nobody", "never"], make.day(1))
    assert everything() == before


@pytest.mark.parametrize(
    ("verb", "arguments", "error", "match"),
    [
        (alert_actions.snooze, {"until": 1}, UsageError, "is past"),
        (alert_actions.snooze, {"until": 0}, UsageError, "is past"),
        (alert_actions.resolve, {"reason": Resolution.AUTO}, UsageError, "coached, fixed"),
        (alert_actions.acknowledge, {"by": " "}, UsageError, "who"),
        # It would look automatic.
        (
            alert_actions.resolve,
            {"by": "pipeline ", "reason": Resolution.FIXED},
            UsageError,
            "who you are",
        ),
    ],
)
def test_acts_that_cannot_be_meant_are_refused(
    act, three, everything, make, verb, arguments, error, match
):
    before = everything()
    if "until" in arguments:
        arguments = {"until": make.day(arguments["until"])}
    with pytest.raises(error, match=match):
        act(verb, three, make.day(1), **arguments)
    assert everything() == before


def test_no_alert_and_one_named_twice(act, three, events, make):
    assert act(alert_actions.acknowledge, [], make.day(1)) == alert_actions.ActionResult((), {})
    assert act(alert_actions.acknowledge, [three[0]] * 3, make.day(1)).changed == three[:1]
    assert len(events(three[0])) == 1


def test_acts_and_runs_at_once_end_as_one_after_the_other(act, run, three, query, make):
    """Every event is stored, numbered without a gap, in either order."""
    barrier = threading.Barrier(9)
    failures, done = [], []

    def at_once(work):
        try:
            barrier.wait()
            done.append(work())
        except Exception as error:
            failures.append(error)

    def acknowledge(number):
        return len(act(alert_actions.acknowledge, three, make.day(1), by=f"a{number}").changed)

    def snooze(number):
        return len(
            act(alert_actions.snooze, three, make.day(1), until=make.day(10 + number)).changed
        )

    def apply(severity):
        changed = make.evaluation(
            make.finding(severity=severity), make.finding("T2", severity=severity),
            at=1, evaluated={"no_show": {"T1", "T2"}, "late": set()},
        )  # fmt: skip
        return len(run(changed, run_id=severity).changes)

    works = [lambda n=n: acknowledge(n) for n in range(3)]
    works += [lambda n=n: snooze(n) for n in range(4)]
    works += [lambda s=s: apply(s) for s in ("warning", "critical")]
    threads = [threading.Thread(target=at_once, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    rows = query("select * from {ops}.alert_events order by tutor_id, alert_id, event_no")
    assert len(rows) == 3 + sum(done), "an event is missing"
    for alert_id in three:
        numbers = [row["event_no"] for row in rows if row["alert_id"] == alert_id]
        assert numbers == list(range(1, len(numbers) + 1))
    assert sum(row["event"] == "acknowledged" for row in rows) == 3, "each alert once"


def test_an_act_that_waited_sees_what_was_done_meanwhile(db, three, alert, query, make):
    """Also on a server whose default isolation is repeatable read."""
    option = "?options=-c%20default_transaction_isolation%3Drepeatable%5C%20read"
    strict = replace(db, url=db.url + option)
    done = []

    def resolve():
        with strict.connect() as database:
            arguments = {"by": "bob", "at": make.day(2), "reason": Resolution.FIXED}
            done.append(alert_actions.resolve(database, three[:1], **arguments))

    second = threading.Thread(target=resolve)
    waiting = (
        "select from pg_locks where locktype = 'advisory' and not granted and database ="
        " (select oid from pg_database where datname = current_database())"
    )
    with strict.connect() as database, database.transaction():
        alert_actions.acknowledge(database, three[:1], by="ada", at=make.day(1))
        second.start()
        while not query(waiting):
            assert second.is_alive()
    second.join()
    assert [each.changed for each in done] == [three[:1]]
    row = alert(three[0])
    assert (row["acknowledged_by"], row["resolved_by"]) == ("ada", "bob")


def test_an_act_that_dies_at_any_statement_changes_nothing(
    db, three, act, everything, killing, sessions, make
):
    sessions(S1=-1)
    before = everything()
    arguments = {"by": "ada", "at": make.day(1), "reason": Resolution.OTHER}
    statement = 0
    while True:
        statement += 1
        try:
            with db.connect() as database:
                database.connection.cursor_factory = killing(statement)
                alert_actions.resolve(database, three, **arguments)
            break
        except psycopg.OperationalError:
            assert everything() == before, f"statement {statement} left something behind"
    assert statement > 4
    after = everything()
    assert after != before
    assert act(alert_actions.resolve, three, make.day(1), reason=Resolution.OTHER).changed == ()
    assert everything() == after


# What comes of it: the activity of each day.


def test_the_activity_of_each_day(act, run, three, open_ids, query, sessions, make):
    sessions(S1=0, S2=0, S3=0, S4=0, status="completed")
    run(make.evaluation(make.finding(), make.finding(rule_id="late"), make.finding("T2")))
    t1, late, t2 = three
    act(alert_actions.acknowledge, [t1, t2], make.day(0.25))
    act(alert_actions.snooze, [late], make.day(0.25), until=make.day(20_000))
    act(alert_actions.resolve, [t1], make.day(1.25), reason=Resolution.COACHED)
    act(alert_actions.resolve, [t2], make.day(1.375), reason=Resolution.NOT_ACTIONABLE)
    act(alert_actions.reopen, [t2], make.day(2))
    run(make.evaluation(make.finding("T2", severity="warning"), at=3, rules=("no_show",)))
    run(make.evaluation(make.finding("T2"), at=4))
    run(make.evaluation(at=4, evaluated={"no_show": {"T2"}, "late": set()}), run_id="run-4b")
    rows = query("select * from {ops}.alert_activity")
    by_day = {((row["day"] - make.day(0).date()).days, row["alert_type"]): row for row in rows}
    assert list(by_day) == [
        (0, "late"), (0, "no_show"), (1, "no_show"), (2, "no_show"), (3, "late"), (3, "no_show"),
        (4, "no_show"),
    ]  # fmt: skip

    def of(day, alert_type="no_show"):
        row = by_day[day, alert_type]
        return {name: value for name, value in row.items() if value not in (0, None)}

    share = {"sessions_completed": 4, "sessions_that_opened": 1, "opened_session_share": 0.25}
    first = {"day": make.day(0).date()}
    assert of(0, "late") == first | share | {"alert_type": "late", "opened": 1, "snoozed": 1}
    assert of(0) == first | share | {
        "alert_type": "no_show", "opened": 2, "acknowledged": 2,
        "mean_hours_to_acknowledge": 6, "median_hours_to_acknowledge": 6,
    }  # fmt: skip
    assert of(1) == {
        "day": make.day(1).date(), "alert_type": "no_show", "resolved_by_hand": 1, "coached": 1,
        "coached_share": 1, "mean_hours_to_resolve": 30, "median_hours_to_resolve": 30,
    }, "the resolution that was reopened counts no more"  # fmt: skip
    assert of(2)["reopened"] == 1
    assert of(3, "late")["resolved_retired"] == 1
    assert "mean_hours_to_resolve" not in of(3, "late")
    assert of(4)["escalated"] == of(4)["resolved_auto"] == 1
    assert of(4)["mean_hours_to_resolve"] == 96
    assert by_day[4, "no_show"]["coached_share"] is None
    assert by_day[1, "no_show"]["opened_session_share"] is None


def test_the_activity_since_a_day_by_type_and_of_all(db, act, run, sessions, make, open_ids):
    sessions(S1=0, S2=0, S3=1, S4=2, status="completed")
    sessions(S0=-1, status="completed")

    def activity(number):
        with db.connect() as database:
            since = make.day(number).date()
            rows = alert_queries.activity(database, since, by_day=False)
            days = alert_queries.activity(database, since, by_day=True)
        for row in days:
            assert row.keys() - {"day"} == (rows[0].keys() if rows else set())
        return {row["alert_type"]: row for row in rows}

    assert activity(0) == {}
    # One session opens three alerts, another one: in all types together it is one of two.
    run(make.evaluation(make.finding(), make.finding(rule_id="late"), make.finding("T2")))
    run(make.evaluation(make.finding("T3", evidence=("S2",)), at=1))
    ids = open_ids()
    t1, t2, t3 = (ids[tutor, "no_show"] for tutor in ("T1", "T2", "T3"))
    late = ids["T1", "late"]
    act(alert_actions.acknowledge, [t1], make.day(1))
    act(alert_actions.acknowledge, [late], make.day(1.5))
    act(alert_actions.acknowledge, [t2], make.day(2))
    act(alert_actions.acknowledge, [t3], make.day(4.5))
    act(alert_actions.resolve, [t1], make.day(2), reason=Resolution.COACHED)
    act(alert_actions.resolve, [t2], make.day(3), reason=Resolution.NOT_ACTIONABLE)
    act(alert_actions.resolve, [t3], make.day(8), reason=Resolution.COACHED)
    act(alert_actions.resolve, [late], make.day(3), reason=Resolution.NOT_ACTIONABLE)
    act(alert_actions.reopen, [late], make.day(4))
    act(alert_actions.resolve, [late], make.day(5), reason=Resolution.COACHED)

    found = activity(0)
    assert list(found) == ["no_show", "late", None], "the most opened first, all of them last"
    assert {name: value for name, value in found["no_show"].items() if value != 0} == {
        "alert_type": "no_show", "opened": 3, "acknowledged": 3, "resolved_by_hand": 3,
        "coached": 2, "not_actionable": 1, "coached_share": pytest.approx(2 / 3),
        "not_actionable_share": pytest.approx(1 / 3),
        "mean_hours_to_acknowledge": 52, "median_hours_to_acknowledge": 48,
        "mean_hours_to_resolve": 96, "median_hours_to_resolve": 72,
        "sessions_that_opened": 2, "sessions_completed": 3,
        "opened_session_share": pytest.approx(2 / 3),
    }  # fmt: skip
    assert (found["late"]["resolved_by_hand"], found["late"]["reopened"]) == (1, 1)
    assert found["late"]["mean_hours_to_resolve"] == 120
    assert (found["late"]["coached_share"], found["late"]["not_actionable_share"]) == (1, 0)
    assert {name: value for name, value in found[None].items() if value != 0} == {
        "alert_type": None, "opened": 4, "acknowledged": 4, "resolved_by_hand": 4, "reopened": 1,
        "coached": 3, "not_actionable": 1, "coached_share": 0.75, "not_actionable_share": 0.25,
        "mean_hours_to_acknowledge": 48, "median_hours_to_acknowledge": 42,
        "mean_hours_to_resolve": 102, "median_hours_to_resolve": 96,
        "sessions_that_opened": 2, "sessions_completed": 3,
        "opened_session_share": pytest.approx(2 / 3),
    }  # fmt: skip

    later = activity(8)
    assert list(later) == ["no_show", None]
    assert (later[None]["opened"], later[None]["resolved_by_hand"]) == (0, 1)
    assert later[None]["mean_hours_to_acknowledge"] is None
    assert later[None]["opened_session_share"] is None


def test_assign_and_wake(act, three, alert, events, make):
    first = three[:1]
    assert act(alert_actions.assign, first, make.day(1), owner="bob").changed == first
    assert alert(first[0])["owner"] == "bob"
    again = act(alert_actions.assign, first, make.day(1), owner="bob")
    assert again.unchanged == {first[0]: "bob works on it already"}
    assert act(alert_actions.assign, first, make.day(2), owner=None).changed == first
    assert act(alert_actions.wake, first, make.day(2)).unchanged == {first[0]: "not snoozed"}
    act(alert_actions.snooze, first, make.day(2), until=make.day(9))
    late = act(alert_actions.wake, first, make.day(9))
    assert late.unchanged == {first[0]: "not snoozed"}
    assert act(alert_actions.wake, first, make.day(3)).changed == first
    assert alert(first[0])["snoozed_until"] is None
    assert [(event, details) for _, event, _, _, details in events(first[0])] == [
        ("assigned", {"owner": "bob"}),
        ("assigned", {}),
        ("snoozed", {"until": make.day(9).isoformat()}),
        ("woken", {}),
    ]
    act(alert_actions.resolve, first, make.day(4), reason=Resolution.FIXED)
    for verb, values in ((alert_actions.assign, {"owner": "bob"}), (alert_actions.wake, {})):
        done = act(verb, first, make.day(5), **values)
        assert done.unchanged == {first[0]: "resolved already"}


ANYTHING = {
    alert_actions.acknowledge: {},
    alert_actions.assign: {"owner": "bob"},
    alert_actions.resolve: {"reason": Resolution.COACHED},
    alert_actions.reopen: {},
    alert_actions.wake: {},
}


@pytest.mark.parametrize("verb", ANYTHING)
def test_who_saw_an_older_state_changes_nothing(verb, act, three, alert, events, make):
    act(alert_actions.snooze, three[:2], make.day(1), until=make.day(9))
    if verb is alert_actions.reopen:
        act(alert_actions.resolve, three[:2], make.day(1), reason=Resolution.FIXED)
    seen = {three[0]: 1, three[1]: len(events(three[1])) + 1}
    before = alert(three[0])
    done = act(verb, three[:2], make.day(2), seen=seen, **ANYTHING[verb])
    assert done.changed == (three[1],)
    assert done.moved == (three[0],)
    newest = "resolved" if verb is alert_actions.reopen else "snoozed"
    assert done.unchanged == {three[0]: f"{newest} by ada meanwhile"}
    assert alert(three[0]) == before


def test_of_two_at_once_who_saw_the_same_state_one_acts(db, three, make, events):
    """Both wait for the lock; the second finds that the first has acted."""
    done = []

    def act_as(name):
        with db.connect() as database:
            done.append(
                alert_actions.resolve(
                    database, three[:1], by=name, at=make.day(1), reason=Resolution.FIXED,
                    seen={three[0]: 1},
                )
            )  # fmt: skip

    threads = [threading.Thread(target=act_as, args=(name,)) for name in ("ada", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(each.changed) for each in done) == [0, 1]
    assert sorted(len(each.moved) for each in done) == [0, 1]
    assert len(events(three[0])) == 1

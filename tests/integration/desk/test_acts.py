"""Acts on alerts and notes through the pages: each once, never over somebody else's."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from datetime import timedelta
from urllib.parse import urlencode

import pytest

from tutor_pipeline.core.findings import Kind
from tutor_pipeline.desk.pages.alerts import MAX_AT_ONCE, fingerprint
from tutor_pipeline.judgement.lifecycle.store import lock
from tutor_pipeline.people.access.roles import Role

pytestmark = pytest.mark.usefixtures("as_before")


@pytest.fixture
def bob(desk, as_before):
    with desk.person(Role.COACH, "bob") as client:
        yield client


def do(client, desk, verb, *alerts, seen=True, **fields):
    named = [desk.seen(each) if seen is True else f"{each}:{seen}" for each in alerts]
    return client.post("/alerts/act", data={"verb": verb, "alert": named, **fields})


def row(desk, alert):
    return desk.rows("select * from ops.alerts where alert_id = %s", alert)[0]


ABOUT = ["subject_kind = 'tutor'", "subject_kind = 'student' and tutor_id <> ''",
         "subject_kind = 'student' and tutor_id = ''", "subject_kind = 'subject'"]  # fmt: skip


@pytest.mark.parametrize("about", ABOUT)
def test_an_alert_through_its_whole_life(desk, ada, about):
    alert = desk.alert(f"{about} and resolved_at is null")
    page = f"/alerts/{alert}"
    desk.secret(Role.COACH, "bob")
    answer = do(ada, desk, "acknowledge", alert, text="  calling\n at 3 pm ", back="/#tutor-x")
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/?done={alert}#tutor-x"
    assert row(desk, alert)["acknowledged_note"] == "calling at 3 pm"
    shown = ada.get(answer.headers["location"]).text
    assert "You acknowledged it" in shown
    assert do(ada, desk, "assign", alert).status_code == 303
    assert row(desk, alert)["owner"] == "ada"
    assert "you work on it" in ada.get(page).text
    do(ada, desk, "assign", alert, owner="bob")
    do(ada, desk, "assign", alert, owner="-")
    assert row(desk, alert)["owner"] is None
    do(ada, desk, "snooze", alert, days="7", text="on leave")
    until = row(desk, alert)["snoozed_until"]
    # Midnight may pass meanwhile.
    assert timedelta(days=5.9) < until - desk.clock() <= timedelta(days=7)
    assert (until.hour, until.minute) == (0, 0)
    snoozed = ada.get(f"{page}?done={alert}").text
    assert "You snoozed it until" in snoozed
    assert '<input type="hidden" name="verb" value="wake">' in snoozed
    do(ada, desk, "wake", alert)
    do(ada, desk, "note", alert, text="her mother is ill")
    do(ada, desk, "resolve", alert, reason="coached", text="a talk")
    assert row(desk, alert)["action_taken"] == "a talk"
    done = ada.get(f"{page}?done={alert}").text
    assert "You resolved it: talked to the tutor" in done
    assert "her mother is ill" in done
    do(ada, desk, "reopen", alert)
    assert row(desk, alert)["resolved_at"] is None
    assert [event for event, actor in desk.events(alert) if actor == "ada"] == [
        "acknowledged", "assigned", "assigned", "assigned", "snoozed", "woken", "resolved",
        "reopened",
    ]  # fmt: skip


def test_the_second_of_two_who_act_is_told_what_the_first_did(desk, ada, bob):
    alert = desk.alert()
    as_seen = int(desk.seen(alert).rpartition(":")[2])
    assert do(ada, desk, "snooze", alert, seen=as_seen, days="7").status_code == 303
    until = row(desk, alert)["snoozed_until"]
    answer = do(bob, desk, "snooze", alert, seen=as_seen, days="30", text="bob's words")
    assert answer.status_code == 409
    assert "snoozed by ada meanwhile" in answer.text
    assert "bob&#39;s words" in answer.text, "what was written is kept"
    assert row(desk, alert)["snoozed_until"] == until
    assert desk.seen(alert) in answer.text, "the form is up to date"
    assert do(bob, desk, "snooze", alert, days="30").status_code == 303
    assert row(desk, alert)["snoozed_by"] == "bob"


def test_words_whose_form_is_gone_are_kept_as_a_note(desk, ada, bob):
    alert = desk.alert()
    as_seen = int(desk.seen(alert).rpartition(":")[2])
    do(ada, desk, "acknowledge", alert)
    answer = do(bob, desk, "acknowledge", alert, seen=as_seen, text="calling the parents")
    assert answer.status_code == 409
    assert "keep it as a note" in answer.text
    note = answer.text.split('value="note"')[0].rsplit("<textarea", 1)[1]
    assert "calling the parents" in note
    again = do(ada, desk, "acknowledge", alert, seen=as_seen)
    assert "You did that in another window" in again.text


def test_what_was_done_to_several_can_be_undone(desk, ada):
    rows = desk.rows("select alert_id from ops.alerts where resolved_at is null order by 1 limit 3")
    named = [desk.seen(each["alert_id"]) for each in rows]
    done = ada.post("/alerts/act", data={"verb": "resolve", "reason": "fixed", "alert": named,
                                         "bulk": "1", "text_resolve": "cleared"})  # fmt: skip
    assert 'value="reopen">Undo' in done.text
    assert row(desk, rows[0]["alert_id"])["action_taken"] == "cleared"
    undo = {
        "verb": "reopen",
        "bulk": "1",
        "alert": re.findall(r'"alert" value="([^"]+)"', done.text),
    }
    assert "3 alerts reopened" in ada.post("/alerts/act", data=undo).text
    assert row(desk, rows[0]["alert_id"])["resolved_at"] is None


def test_the_same_form_sent_twice_acts_once(desk, ada):
    alert = desk.alert()
    first = int(desk.seen(alert).rpartition(":")[2])
    assert do(ada, desk, "acknowledge", alert, seen=first).status_code == 303
    again = do(ada, desk, "acknowledge", alert, seen=first)
    assert again.status_code == 409
    assert [event for event, _ in desk.events(alert)].count("acknowledged") == 1


@pytest.mark.parametrize(
    ("verb", "fields", "says"),
    [
        ("snooze", {}, "Until when?"),
        ("snooze", {"days": "0"}, "Until when?"),
        ("snooze", {"days": "-3"}, "Until when?"),
        ("snooze", {"days": "99999"}, "Until when?"),
        ("snooze", {"until": "soon"}, "Until when?"),
        ("snooze", {"until": "2020-01-01"}, "is past"),
        ("snooze", {"until": "2999-01-01"}, "too far away"),
        ("resolve", {}, "choose a reason"),
        ("resolve", {"reason": "auto"}, "choose a reason"),
        ("acknowledge", {"text": "x" * 4001}, "too long"),
        ("note", {"text": " "}, "the note is empty"),
        ("note", {"text": "x" * 4001}, "characters"),
        ("assign", {"owner": "x" * 65}, "There is no account"),
        ("assign", {"owner": "viewer"}, "There is no account"),
        ("dance", {}, "Say what to do"),
        ("", {}, "Say what to do"),
    ],
)
def test_a_form_that_is_not_filled_in_changes_nothing(desk, ada, verb, fields, says):
    desk.secret(Role.VIEWER)
    alert = desk.alert()
    before = row(desk, alert), desk.events(alert)
    answer = do(ada, desk, verb, alert, **fields)
    assert answer.status_code == 400
    assert says.casefold() in answer.text.casefold()
    assert (row(desk, alert), desk.events(alert)) == before
    assert desk.rows("select * from ops.notes") == []


@pytest.mark.parametrize("named", ["", "x", "x:y", ":1", "x:1:", "x:99999999999", "a\0b:1"])
def test_an_alert_that_is_named_wrongly_is_a_sentence(desk, ada, named):
    answer = ada.post("/alerts/act", data={"verb": "acknowledge", "alert": named})
    assert answer.status_code in (400, 404)


def test_an_alert_that_was_erased_meanwhile_is_a_sentence(desk, ada):
    answer = ada.post("/alerts/act", data={"verb": "acknowledge", "alert": "gone:1"})
    assert answer.status_code == 404
    assert "Nothing was changed" in answer.text


def test_several_at_once_and_those_that_did_not_change_are_listed(desk, ada, bob):
    rows = desk.rows("select alert_id from ops.alerts where resolved_at is null order by 1")
    alerts = [each["alert_id"] for each in rows]
    stale, done, *others = alerts
    seen = {each: desk.seen(each) for each in alerts}
    do(bob, desk, "assign", stale)
    do(bob, desk, "acknowledge", done)
    seen[done] = desk.seen(done)
    answer = ada.post(
        "/alerts/act",
        data={"verb": "acknowledge", "alert": list(seen.values()), "bulk": "1", "text": "seen"},
    )
    assert answer.status_code == 200
    assert f"{len(others)} alert" in answer.text
    assert "assigned by bob meanwhile" in answer.text
    assert "acknowledged already" in answer.text
    assert [row(desk, each)["acknowledged_by"] for each in others] == ["ada"] * len(others)
    assert row(desk, stale)["acknowledged_by"] is None


def test_all_that_match_asks_again_when_something_happened_to_them(desk, ada, bob):
    condition = "subject_kind = 'tutor' and resolved_at is null"

    def as_shown():
        rows = desk.rows(f"select alert_id from ops.alerts where {condition}")
        return fingerprint({
            row["alert_id"]: int(desk.seen(row["alert_id"]).rpartition(":")[2]) for row in rows
        })  # fmt: skip

    fields = {"verb": "resolve", "reason": "fixed", "all": "1", "filter": "?about=tutor"}
    shown = as_shown()
    do(bob, desk, "assign", desk.alert())
    wrong = ada.post("/alerts/act", data={**fields, "match": shown})
    assert wrong.status_code == 409
    assert "something happened to the alerts that match" in wrong.text
    assert ada.post("/alerts/act", data=fields).status_code == 409
    assert desk.rows("select 1 from ops.alerts where resolved_by = 'ada'") == []
    count = len(desk.rows(f"select 1 from ops.alerts where {condition}"))
    assert ada.post("/alerts/act", data={**fields, "match": as_shown()}).status_code == 200
    assert len(desk.rows("select 1 from ops.alerts where resolved_by = 'ada'")) == count
    other = desk.rows("select 1 from ops.alerts where resolved_at is null")
    assert len(other) == 3, "those about students and subjects did not match"


def test_acts_that_wait_for_the_pipeline_leave_connections_for_readers(desk, ada):
    """A run holds the alerts: two acts wait for it, others are told so, readers read."""
    alert = desk.alert()
    named = desk.seen(alert)
    desk.secret(Role.COACH, "bob")  # the account is there before five sign in
    answers = []

    def act():
        with desk.person(Role.COACH, "bob") as client:
            data = {"verb": "assign", "alert": named}
            answers.append(client.post("/alerts/act", data=data).status_code)

    with desk.warehouse.connect() as database:
        lock(database, Kind.ALERT)
        threads = [threading.Thread(target=act) for _ in range(5)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 60
        while 429 not in answers:
            assert time.monotonic() < deadline
            assert ada.get("/alerts").status_code == 200
    for thread in threads:
        thread.join()
    # On a slow machine one that waits is given up.
    assert set(answers) <= {303, 409, 429, 503}
    assert len(desk.events(alert)) <= int(named.rpartition(":")[2]) + 1


def test_all_that_a_search_for_a_student_finds_can_be_acted_on(desk, ada):
    student = desk.rows(
        "select name from ops.alerts inner join marts.dim_students on subject_id = student_id"
        " where subject_kind = 'student' order by 1 limit 1"
    )[0]["name"]
    listed = ada.get("/alerts.json", params={"q": student}).json()
    assert listed
    match = fingerprint(
        {row["alert_id"]: int(desk.seen(row["alert_id"]).rpartition(":")[2]) for row in listed}
    )
    fields = {"verb": "assign", "all": "1", "filter": "?" + urlencode({"q": student})}
    assert ada.post("/alerts/act", data={**fields, "match": match}).status_code == 200
    assert [row(desk, each["alert_id"])["owner"] for each in listed] == ["ada"] * len(listed)


def test_more_than_some_hundreds_at_once_are_refused(desk, ada):
    with desk.warehouse.connect() as database:
        database.execute(
            "insert into ops.alerts (tutor_id, alert_id, alert_type, occurrence, severity, title,"
            " description, recommended_action, evidence_session_ids, metrics, excess, rule_profile,"
            " rule_version, triggered_date, last_confirmed_at, subject_id)"
            " select 'T' || n, 'many' || n, 'many', 1, 'warning', 't', 'd', 'r', '{{}}', '{{}}', 0,"
            " 'p', 'v', now(), now(), 'T' || n from generate_series(1, 501) as n"
        )
        database.execute(
            "insert into ops.alert_events (tutor_id, alert_id, event_no, event, at, actor, details)"
            " select tutor_id, alert_id, 1, 'opened', now(), 'pipeline', '{{}}' from ops.alerts"
            " where alert_type = 'many'"
        )
    all_ = {"verb": "acknowledge", "all": "1", "filter": "?type=many"}
    answer = ada.post("/alerts/act", data=all_)
    assert answer.status_code == 400
    assert f"More than {MAX_AT_ONCE} alerts match" in answer.text
    named = ada.post(
        "/alerts/act", data={"verb": "acknowledge", "alert": [f"many{n}:1" for n in range(1, 502)]}
    )
    assert named.status_code == 400
    some = ada.post(
        "/alerts/act", data={"verb": "acknowledge", "alert": [f"many{n}:1" for n in range(1, 501)]}
    )
    assert some.status_code == 200
    assert desk.rows("select count(*) as n from ops.alerts where acknowledged_by = 'ada'") == [
        {"n": 500}
    ]


def test_notes_are_of_whoever_wrote_them(desk, ada, bob):
    tutor = desk.rows("select tutor_id from marts.dim_tutors order by 1")[0]["tutor_id"]
    text = "called;\nshe <b>moves</b> & '--"
    ada.post("/notes", data={"tutor_id": tutor, "text": text})
    (note,) = desk.rows("select * from ops.notes")
    assert (note["author"], note["text"]) == ("ada", text)
    shown = bob.get(f"/tutors/{tutor}").text
    assert "she &lt;b&gt;moves&lt;/b&gt; &amp; &#39;--" in shown
    removal = {"tutor_id": tutor, "note_id": note["note_id"]}
    bob.post("/notes/remove", data=removal)
    assert len(desk.rows("select * from ops.notes")) == 1
    ada.post("/notes/remove", data=removal)
    assert desk.rows("select * from ops.notes") == []
    kept = ada.post("/notes", data={"tutor_id": tutor, "text": "y" * 4001})
    assert kept.status_code == 400
    assert "y" * 4001 in kept.text, "what was written is not lost"
    assert ada.post("/notes", data={"tutor_id": "nobody", "text": "x"}).status_code == 404


def test_a_viewer_reads_no_note_and_no_feedback(desk, ada):
    alert = desk.alert()
    tutor = row(desk, alert)["tutor_id"]
    do(ada, desk, "acknowledge", alert, text="private words")
    do(ada, desk, "note", alert, text="private note")
    session = desk.rows(
        "select tutor_id, session_id, feedback_text from marts.fct_sessions"
        " where feedback_text is not null order by 1, 2"
    )[0]
    page = f"/sessions/{session['session_id']}?of={session['tutor_id']}"
    paths = ["/", f"/alerts/{alert}", f"/tutors/{tutor}", "/alerts?state=all", "/alerts.csv",
             "/alerts.json", page]  # fmt: skip
    with desk.person(Role.VIEWER) as viewer:
        seen = "".join(viewer.get(path).text for path in paths)
        assert "There is a comment of the student" in viewer.get(page).text
    for hidden in ("private words", "private note", session["feedback_text"]):
        assert hidden not in seen
    for_coaches = "".join(ada.get(path).text for path in paths)
    assert "private words" in for_coaches
    assert "private note" in for_coaches


def test_many_at_once_on_the_same_alerts_lose_nothing(desk):
    """Each of eight people sends the same acts: of each alert and act one is first."""
    rows = desk.rows("select alert_id from ops.alerts where resolved_at is null order by 1 limit 4")
    alerts = [each["alert_id"] for each in rows]
    seen = {each: desk.seen(each) for each in alerts}
    answers, lock = Counter(), threading.Lock()

    def act(name):
        with desk.person(Role.COACH, name) as client:
            for named in seen.values():
                data = {"verb": "acknowledge", "alert": named}
                # Whoever waits for long is asked to try again.
                while (answer := client.post("/alerts/act", data=data)).status_code == 429:
                    pass
                with lock:
                    answers[answer.status_code] += 1

    threads = [threading.Thread(target=act, args=(f"coach{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {303: len(alerts), 409: 7 * len(alerts)}
    for each in alerts:
        assert [event for event, _ in desk.events(each)].count("acknowledged") == 1


def test_what_lies_about_is_told_of_each_subject(desk, ada):
    """A note about one subject is nothing done about another, also where both are nobody's."""
    (math,) = desk.rows("select alert_id, tutor_id from ops.alerts where subject_kind = 'subject'")
    (other,) = desk.rows(
        "select alert_id from ops.alerts where subject_kind = 'student' and tutor_id = ''"
    )
    tutor = desk.alert()
    for each in (math["alert_id"], other["alert_id"], tutor):
        do(ada, desk, "acknowledge", each)
    heading = "Acknowledged, and nothing done for a week"
    assert heading not in ada.get("/").text
    desk.late = timedelta(days=8)
    with desk.person(Role.COACH, "bob") as bob:
        do(bob, desk, "note", other["alert_id"], text="wrote to the parents")
        told = bob.get("/").text.split(heading)[1]
    assert f"/alerts/{math['alert_id']}" in told
    assert f"/alerts/{tutor}" in told
    assert f"/alerts/{other['alert_id']}" not in told

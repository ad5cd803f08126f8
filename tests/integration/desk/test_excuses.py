"""A session is excused on its page and on its alert's; what that says, to whom; undoing it."""

from __future__ import annotations

import re

import pytest

from tutor_pipeline.people.access.roles import Role

pytestmark = pytest.mark.usefixtures("as_before")


@pytest.fixture
def alert(desk, as_before):
    """An alert about sessions that a tutor moved, with the newest of them."""
    (row,) = desk.rows(
        "select alert_id, tutor_id, session_id from ops.alerts where resolved_at is null"
        " and alert_type = 'high_reschedule_rate' order by alert_id limit 1"
    )
    return row


def excuse(client, alert, **fields):
    form = {
        "tutor_id": alert["tutor_id"], "session_id": alert["session_id"], "kind": "reschedule",
        "reason": "the student asked for it", "back": f"/alerts/{alert['alert_id']}",
    }  # fmt: skip
    return client.post("/excuses", data=form | fields)


def text(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_it_is_excused_said_and_undone(desk, ada, alert):
    page = ada.get(f"/alerts/{alert['alert_id']}").text
    assert page.count('action="/excuses"') == 5
    answer = excuse(ada, alert, text="<b>exams</b>")
    assert answer.status_code == 303
    shown = ada.get(answer.headers["location"]).text
    assert "You excused the move of the session. Numbers and alerts follow" in shown
    assert "the student asked for it: &lt;b&gt;exams&lt;/b&gt;" in shown
    assert "ada excused the move of a session" in text(shown)
    assert shown.count('action="/excuses"') == 4, "once is enough"
    (row,) = desk.rows("select * from ops.session_excuses")
    assert (row["excused_by"], row["kind"]) == ("ada", "reschedule")
    waiting = desk.rows("select session_id from ops.session_ledger where pending_since is not null")
    assert waiting == [{"session_id": alert["session_id"]}]

    session = f"/sessions/{alert['session_id']}?of={alert['tutor_id']}"
    assert "The move does not count: ada excused it" in text(ada.get(session).text)
    assert "the move excused" in ada.get(f"/sessions?tutor={alert['tutor_id']}").text

    undone = ada.post("/excuses/undo", data={"excuse_id": row["excuse_id"], "back": session})
    shown = ada.get(undone.headers["location"]).text
    assert "The session counts again (the move)" in shown
    assert "The move does not count" not in text(shown)
    assert [event for event, _ in desk.events(alert["alert_id"])][-2:] == ["excused", "unexcused"]


def test_a_viewer_sees_that_and_not_why(desk, ada, alert):
    excuse(ada, alert, text="her mother is ill")
    with desk.person(Role.VIEWER) as viewer:
        for path in (f"/alerts/{alert['alert_id']}",
                     f"/sessions/{alert['session_id']}?of={alert['tutor_id']}"):  # fmt: skip
            page = viewer.get(path).text
            assert "The move does not count: ada excused it" in text(page)
            assert "her mother is ill" not in page
            assert "/excuses" not in page
        (day,) = desk.rows(
            "select session_on::text as day from marts.fct_sessions where session_id = %s",
            alert["session_id"],
        )
        for file in ("csv", "json"):
            answer = viewer.get(f"/sessions.{file}?day={day['day']}&tutor={alert['tutor_id']}")
            assert "reschedule" in answer.text
            assert "her mother is ill" not in answer.text
            assert "excused_by" not in answer.text


def test_two_people_excuse_the_same(desk, ada, alert):
    assert excuse(ada, alert).status_code == 303
    with desk.person(Role.COACH, "bob") as bob:
        answer = excuse(bob, alert)
        assert answer.status_code == 400
        assert "Ada excused the session already" in answer.text


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"kind": "lateness"}, 400, "it did not begin late"),
        ({"kind": "weather"}, 400, "choose one"),
        ({"reason": "", "text": " "}, 400, "Say why"),
        ({"reason": "own"}, 400, "Say why"),
        ({"session_id": "nothing"}, 404, "There is no session nothing"),
        ({"session_id": "\0"}, 404, "There is no session"),
        ({"tutor_id": "nobody"}, 404, "of this tutor"),
        ({"text": "x" * 600}, 400, "characters"),
    ],
)
def test_what_cannot_be_excused(desk, ada, alert, fields, status, said):
    answer = excuse(ada, alert, **fields)
    assert answer.status_code == status
    assert said in answer.text
    assert desk.rows("select * from ops.session_excuses") == []


@pytest.mark.parametrize("number", ["", "x", "0", "9" * 30, "-1", "7"])
def test_what_cannot_be_undone(ada, number):
    assert ada.post("/excuses/undo", data={"excuse_id": number}).status_code == 400
    assert ada.get(f"/?excused={number}").status_code == 200


def test_a_form_of_somebody_who_saw_the_alert_before_is_told(desk, ada, alert):
    seen = desk.seen(alert["alert_id"])
    excuse(ada, alert)
    answer = ada.post("/alerts/act", data={"verb": "acknowledge", "alert": seen, "text": "mine"})
    assert answer.status_code == 409
    assert "excused" in answer.text
    assert "What you wrote is kept below" in answer.text


def test_whoever_erases_the_tutor_erases_the_excuses(desk, ada, alert):
    excuse(ada, alert, text="her mother is ill")
    desk.project.run("forget", "--tutor", alert["tutor_id"], "--yes")
    assert desk.rows("select * from ops.session_excuses") == []


def test_the_command_line_does_the_same(desk, alert):
    project = desk.project
    made = project.json(
        "excuses", "add", alert["session_id"], "--kind", "reschedule", "--reason", "exams",
        "--by", "ada",
    )  # fmt: skip
    assert made["tutor_id"] == alert["tutor_id"]
    (listed,) = project.json("excuses", "list", "--tutor", alert["tutor_id"])
    assert (listed["reason"], listed["excused_by"]) == ("exams", "ada")
    assert "exams" in project.run("excuses", "list").stdout
    again = project.run(
        "excuses", "add", alert["session_id"], "--kind", "reschedule", "--reason", "x", status=2
    )
    assert "ada excused the session already" in again.stderr
    project.run("excuses", "undo", str(made["excuse_id"]), "--by", "bea")
    assert project.json("excuses", "list") == []
    (listed,) = project.json("excuses", "list", "--all")
    assert listed["undone_by"] == "bea"
    assert "there is no excuse 999" in project.run("excuses", "undo", "999", status=2).stderr
    missing = project.run("excuses", "add", "nothing", "--reason", "x", status=2)
    assert "there is no session 'nothing'" in missing.stderr

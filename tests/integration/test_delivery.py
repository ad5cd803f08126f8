"""Messages through the command, as users run it: real mail, real HTTP, and a sender that is killed.

One platform for all tests; each alert is planted, and told of once.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from datetime import UTC, datetime

import psutil
import psycopg
import pytest

from tests.integration.refreshes import Refreshes
from tests.servers import MailServer, WebServer, part

SECRET = "Tr0ub4dor-3"


@pytest.fixture(scope="module")
def mail():
    server = MailServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def web():
    server = WebServer()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def calm(new_project, mail, web):
    """A platform whose first alerts are told of already."""
    project = new_project(
        TUTOR_NOTIFY_CRITICAL=f"{mail.url('call@example.com')}"
        f" json://user:{SECRET}@127.0.0.1:{web.port}/hooks/{SECRET}",
        TUTOR_NOTIFY_WARNING=mail.url("warn@example.com"),
        TUTOR_NOTIFY_SESSIONS=mail.url("coach@example.com"),
        TUTOR_NOTIFY_DIGEST=mail.url("admin@example.com"),
        TUTOR_NOTIFY_OPS=mail.url("oncall@example.com"),
        TUTOR_UI_URL="https://pipeline.example.com",
    )
    project.run("generate", "--tutors", "25", "--days", "20")
    project.run("enrich")
    project.run("notify", "send")
    return project


@pytest.fixture
def told(calm, mail, web):
    """Forget what was sent before; long ago, so that it counts as no storm."""
    calm.execute("update ops.messages set made_at = made_at - interval '1 hour'")
    mail.envelopes.clear()
    web.requests.clear()
    return calm


def stay_away(project, tutor):
    """Somebody who did not come to three sessions of the last days, and a refresh that finds it."""
    project.execute(
        "insert into platform.sessions (id, tutor_id, scheduled_start, status, tutor_showed_up)"
        f" select '{tutor}-' || n, '{tutor}', now() - n * interval '1 day', 'no_show_tutor', false"
        " from generate_series(1, 3) as n"
    )
    project.execute(
        f"insert into platform.tutors (user_id, active_status) values ('{tutor}', true)"
    )
    project.run("enrich")


KEPT = (
    "alert_type, occurrence, severity, title, description, recommended_action, session_id,"
    " evidence_session_ids, metrics, excess, rule_profile, rule_version, triggered_date,"
    " last_confirmed_at"
)


def plant(project, tutor):
    """The same alert of another tutor, as a refresh leaves it, without the seconds of one."""
    project.execute(
        f"insert into ops.alerts (tutor_id, subject_id, alert_id, {KEPT})"
        f" select '{tutor}', '{tutor}', '{tutor}', {KEPT}"
        " from ops.alerts where tutor_id = 'N1'"
    )
    project.execute(
        "insert into ops.alert_events (tutor_id, alert_id, event_no, event, at, actor, details)"
        f" values ('{tutor}', '{tutor}', 1, 'opened', now(), 'pipeline', '{{}}')"
    )
    project.execute(
        "insert into ops.outbox (audience, kind, tutor_id, subject_id, transition, occurred_at,"
        f" due_at) values ('critical', 'alert', '{tutor}', '{tutor}', 'opened 1', now(), now())"
    )


def due(project):
    """Let time pass: what waits is due, what a dead sender had is free."""
    project.execute(
        "update ops.deliveries set due_at = least(due_at, now()),"
        " leased_until = case when leased_until is not null then now() - interval '1 s' end"
        " where state = 'waiting'"
    )


def subjects(mail):
    return [each["Subject"] for each in mail.mails]


NO_SHOWS = "Critical: {}: No-Show Pattern Detected"


def test_an_alert_arrives_once_at_each_address(told, mail, web):
    stay_away(told, "N1")
    told.run("notify", "send")
    assert subjects(mail) == [NO_SHOWS.format("N1")]
    ((path, body),) = web.requests
    assert (path, body["title"]) == (f"/hooks/{SECRET}", NO_SHOWS.format("N1"))
    (found,) = mail.mails
    for kind in ("plain", "html"):
        said = part(found, kind)
        assert "3 tutor no-shows" in said
        assert "Urgent check-in call to identify issues" in said
        assert "N1-1, N1-2, N1-3" in said
        assert "https://pipeline.example.com/assets/ops/alerts" in said
    told.run("enrich")
    told.run("notify", "send")
    assert len(mail.mails) == len(web.requests) == 1


def test_a_mail_server_that_is_down_loses_nothing_and_the_other_address_has_it_once(
    told, mail, web
):
    mail.stop()
    plant(told, "N2")
    result = told.run("notify", "send", status=1)
    assert "1 failed and tried again later" in result.stdout
    assert [body["title"] for _, body in web.requests] == [NO_SHOWS.format("N2")]
    status = told.json("notify", "status")
    (waiting,) = status["deliveries"]
    assert waiting["target"] == "email to call@example.com via 127.0.0.1"
    assert "Connection refused" in waiting["last_error"]
    assert "1 on their way (1 failed" in told.run("notify", "status").stdout
    assert told.json("status")["messages"]["failing"] == 1
    mail.start()
    due(told)
    told.run("notify", "send")
    assert subjects(mail) == [NO_SHOWS.format("N2")]
    assert len(web.requests) == 1


def test_a_sender_killed_between_send_and_mark_repeats_one_message_at_most(told, mail, web):
    plant(told, "N3")
    process = None

    def kill(envelope):
        # The server has it, and the sender never learns.
        for each in (*psutil.Process(process.pid).children(recursive=True), process):
            os.kill(each.pid, signal.SIGKILL)
        return "250 OK"

    mail.answer = kill
    try:
        process = told.start("notify", "send")
        assert process.wait(120) == -signal.SIGKILL
    finally:
        mail.answer = lambda envelope: "250 OK"
    assert told.json("notify", "status")["counts"]["waiting"] >= 1
    told.run("notify", "send")  # another's claim
    assert len(mail.envelopes) == 1
    due(told)
    told.run("notify", "send")
    due(told)
    told.run("notify", "send")
    first, second = mail.envelopes
    assert first.content == second.content
    assert mail.mails[0]["Message-ID"] == mail.mails[1]["Message-ID"]
    assert Counter(body["title"] for _, body in web.requests).most_common(1)[0][1] <= 2


@pytest.mark.long
def test_two_senders_at_once_send_each_once(told, mail, web):
    for tutor in ("N4", "N5", "N6"):
        plant(told, tutor)
    processes = [told.start("notify", "send") for _ in range(2)]
    assert [process.wait(180) for process in processes] == [0, 0]
    expected = Counter(NO_SHOWS.format(tutor) for tutor in ("N4", "N5", "N6"))
    assert Counter(subjects(mail)) == expected
    assert Counter(body["title"] for _, body in web.requests) == expected


def test_snoozed_nothing_is_sent_and_acknowledged_nothing_is_repeated(told, mail, web):
    plant(told, "N7")
    plant(told, "N8")
    told.run("alerts", "snooze", "N7", "--days", "3", "--by", "ada")
    told.run("alerts", "ack", "N8", "--by", "ada")
    told.run("notify", "send")
    assert mail.mails == []
    assert web.requests == []
    why = dict(told.query("select tutor_id, dropped from ops.outbox where tutor_id in ('N7','N8')"))
    assert why == {"N7": "snoozed", "N8": "acknowledged before it was told"}


def test_a_session_is_reported_after_its_refresh(told, mail, tmp_path):
    refreshes = Refreshes(tmp_path, told.environment)
    try:
        told.execute(
            "insert into platform.sessions (id, tutor_id, scheduled_start, actual_start, status,"
            " session_number, tutor_showed_up, student_showed_up, overall_session_score, subject)"
            " select 'R1', min(user_id), now() - interval '1 hour', now() - interval '1 hour',"
            " 'completed', 2, true, true, 8.4, 'Algebra' from platform.tutors"
        )
        refreshes.run()
    finally:
        refreshes.stop()
    told.run("notify", "send")
    found = [each for each in mail.mails if "R1" in part(each, "plain")]
    assert len(found) == 1
    assert found[0]["To"] == "coach@example.com"
    assert "Session score (of 10): 8.4" in part(found[0], "plain")
    # One that a full refresh finds first, as in the night, is reported all the same.
    told.execute(
        "insert into platform.sessions (id, tutor_id, scheduled_start, actual_start, status,"
        " session_number, tutor_showed_up, student_showed_up, overall_session_score)"
        " select 'R2', min(user_id), now() - interval '1 hour', now() - interval '1 hour',"
        " 'completed', 3, true, true, 6.1 from platform.tutors"
    )
    told.run("enrich")
    told.run("notify", "send")
    assert sum("R2" in part(each, "plain") for each in mail.mails) == 1
    assert sum("R1" in part(each, "plain") for each in mail.mails) == 1


def test_the_digest_is_made_once_a_week(told, mail):
    told.run("notify", "digest")
    told.run("notify", "digest")
    (found,) = mail.mails
    assert found["To"] == "admin@example.com"
    assert found["Subject"].startswith("Week of ")
    assert "NEW THIS WEEK" in part(found, "plain")
    this_week = datetime.now(UTC).date().isoformat()
    for week in ("2199-01-01", this_week):
        assert "not over" in told.run("notify", "digest", "--week", week, status=2).stderr
    assert "write a day as" in told.run("notify", "digest", "--week", "x", status=2).stderr


def test_addresses_can_be_tried(told, mail, web):
    result = told.run("notify", "test")
    assert result.stderr.count(": sent") == 6
    assert len(mail.mails) == 5
    assert len(web.requests) == 1
    mail.refuses.add("call@example.com")
    try:
        failed = told.run("notify", "test", "--to", "critical", status=1)
    finally:
        mail.refuses.clear()
    assert "the server refused call@example.com: 550" in failed.stderr
    assert "unknown" not in failed.stderr
    assert told.run("notify", "test", "--to", "nobody", status=2)


def test_the_dead_are_seen_told_of_and_tried_again(told, mail):
    mail.refuses.add("call@example.com")
    plant(told, "N9")
    told.run("notify", "send", status=1)
    told.execute("update ops.deliveries set attempts = 7 where state = 'waiting'")
    due(told)
    told.run("notify", "send", status=1)
    assert told.json("status")["messages"]["dead"] == 1
    (dead,) = told.json("notify", "status")["deliveries"]
    assert (dead["state"], dead["attempts"]) == ("dead", 8)
    assert "550" in dead["last_error"]
    mail.refuses.clear()
    told.run("notify", "retry", dead["message_id"][:8])
    told.run("notify", "send")
    assert subjects(mail) == [NO_SHOWS.format("N9")]
    assert "Nothing is dead" in told.run("notify", "retry").stdout
    shown = told.run("notify", "show", dead["message_id"][:8]).stdout
    assert "3 tutor no-shows" in shown
    assert told.run("notify", "show", "none", status=2)


def test_no_secret_is_written_anywhere(told, mail, web):
    """Not where it worked, and not where it failed."""
    web.status = 500
    plant(told, "M1")
    try:
        results = [told.run("notify", "send", status=1), told.run("notify", "test", status=1)]
    finally:
        web.status = 200
    results += [
        told.run("notify", "status", "--all"), told.run("status"), told.run("incidents", "--all"),
    ]  # fmt: skip
    for result in results:
        assert SECRET not in result.stdout + result.stderr
    for path in told.home.rglob("*"):
        if path.is_file() and path.stat().st_size < 50_000_000:
            assert SECRET.encode() not in path.read_bytes(), path
    for url in (told.url, f"{told.url}_dagster"):
        with psycopg.connect(url) as connection:
            tables = connection.execute(
                "select format('%I.%I', table_schema, table_name) from information_schema.tables"
                " where table_type = 'BASE TABLE'"
                " and table_schema not in ('pg_catalog', 'information_schema')"
            ).fetchall()
            for (table,) in tables:
                found = connection.execute(
                    f"select count(*) from {table} as r where r::text like %s", (f"%{SECRET}%",)
                ).fetchone()
                assert found == (0,), table

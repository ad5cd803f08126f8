"""Settings: accounts, exceptions with their effect, thresholds that are tried, addresses."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from html import unescape

import pytest

from tests.integration.desk.conftest import serving
from tests.servers import MailServer, free_port
from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.people.access.roles import Role

pytestmark = pytest.mark.usefixtures("as_before")


@pytest.fixture
def configured(desk, as_before):
    """A desk that knows the pipeline's rules."""
    options = replace(desk.options, port=free_port(), rule_profile="conservative")
    with serving(replace(desk, options=options)) as served:
        yield served


@pytest.fixture
def admin(configured):
    with configured.person(Role.ADMIN, "boss") as client:
        yield client


def text(page):
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page.text)))


# Accounts


def test_an_account_from_adding_to_disabling(configured, admin):
    page = admin.post("/settings/accounts/add", data={"name": "Ada ", "role": "coach"})
    link = re.search(r"/password/[\w-]+", page.text)[0]
    assert "ada is added" in text(page)
    assert link not in admin.get("/settings").text, "it is shown once"
    with configured.person(None) as client:
        password = {"password": "correct horse battery", "again": "correct horse battery"}
        assert client.post(link, data=password).status_code == 303
        assert client.get("/account").status_code == 200
        assert client.get("/settings").status_code == 403

        admin.post("/settings/accounts/role", data={"name": "ada", "role": "viewer"})
        assert client.post("/notes", data={"text": "x", "tutor_id": "T"}).status_code == 403
        admin.post("/settings/accounts/sign-out", data={"name": "ada"})
        assert client.get("/account").status_code == 303
        sign_in = {"name": "ada", "password": "correct horse battery"}
        assert client.post("/sign-in", data=sign_in).status_code == 303
        again = admin.post("/settings/accounts/reset", data={"name": "ada"})
        assert client.get("/account").status_code == 303
        newer = re.search(r"/password/[\w-]+", again.text)[0]
        assert client.post(newer, data=password).status_code == 303
        admin.post("/settings/accounts/disable", data={"name": "ada"})
        assert client.post("/sign-in", data=sign_in).status_code == 403
        admin.post("/settings/accounts/enable", data={"name": "ada"})
        assert client.post("/sign-in", data=sign_in).status_code == 303


@pytest.mark.parametrize(
    ("act", "fields", "said"),
    [
        ("add", {"name": "", "role": "coach"}, "is no name of an account"),
        ("add", {"name": "boss", "role": "coach"}, "there is an account boss already"),
        ("add", {"name": "new", "role": "king"}, "Choose a role"),
        ("role", {"name": "boss", "role": "viewer"}, "boss is the last admin"),
        ("disable", {"name": "boss"}, "boss is the last admin"),
        ("reset", {"name": "nobody else"}, "There is no account nobody else"),
        ("sign-out", {"name": "<script>"}, "is no name of an account"),
    ],
)
def test_what_cannot_be_done_to_accounts(configured, admin, act, fields, said):
    before = configured.rows("select name, role, disabled_at from ops.accounts order by 1")
    answer = admin.post(f"/settings/accounts/{act}", data=fields)
    assert answer.status_code == 400
    assert said.casefold() in text(answer).casefold()
    assert "tutor-pipeline" not in text(answer), "advice for the command line"
    assert "<script>" not in answer.text
    assert configured.rows("select name, role, disabled_at from ops.accounts order by 1") == before


# Exceptions


def test_an_exception_shows_its_effect_is_made_and_removed(configured, admin):
    (row,) = configured.rows(
        "select alerts.tutor_id, alert_id, name from ops.alerts as alerts"
        " inner join marts.dim_tutors as tutors on alerts.tutor_id = tutors.tutor_id"
        " where alert_type = 'high_reschedule_rate' and resolved_at is null order by 1 limit 1"
    )
    asked = {"tutor": row["tutor_id"], "rule": "high_reschedule_rate", "how": "threshold"}
    for threshold, then in (("99", "closes"), ("1", "stays open")):
        page = admin.get("/settings/exceptions", params=asked | {"threshold": threshold})
        assert f"of {row['name']} {then}" in text(page)
    assert configured.rows("select * from ops.rule_overrides") == []
    form = asked | {"threshold": "99", "reason": "exam weeks", "until": "2099-01-31"}
    saved = admin.post("/settings/exceptions", data=form)
    assert saved.status_code == 303
    page = admin.get(saved.headers["location"])
    assert "exam weeks boss" in text(page)
    (made,) = configured.rows("select * from ops.rule_overrides")
    assert (made["threshold"], made["set_by"], made["tutor_id"]) == (99, "boss", row["tutor_id"])
    waits = configured.rows(
        "select tutor_id from ops.session_ledger where pending_since is not null"
    )
    assert waits == [{"tutor_id": row["tutor_id"]}], "the alert follows at once"
    with configured.person(Role.VIEWER) as viewer:
        shown = text(viewer.get(f"/alerts/{row['alert_id']}"))
    assert "An exception holds for this tutor: an alert from 99, until" in shown
    assert "exam weeks" not in shown
    off = admin.get("/settings/exceptions", params=asked | {"how": "off"})
    assert f"of {row['name']} closes" in text(off)
    admin.post(
        "/settings/exceptions/remove",
        data={"tutor": row["tutor_id"], "rule": "high_reschedule_rate", "kind": "alert"},
    )
    assert configured.rows("select * from ops.rule_overrides") == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tutor": "nobody at all"}, "no tutor"),
        ({"tutor": ""}, ""),
        ({"rule": "no_such_rule"}, "no alert no_such_rule"),
        ({"threshold": "many"}, "is no number"),
        ({"threshold": "2.5"}, "is a count"),
        ({"threshold": "0"}, "at least 1"),
        ({"threshold": "inf"}, "is no number"),
        ({"threshold": "nan"}, "is no number"),
        ({"threshold": ""}, "write the threshold"),
        ({"reason": ""}, "say why"),
        ({"until": "soon"}, "until when"),
        ({"until": "2001-01-01"}, "is past"),
        ({"rule": "high_churn_risk"}, "has no number for a threshold"),
    ],
)
def test_exceptions_that_cannot_be(configured, admin, fields, said):
    tutor = configured.rows("select min(tutor_id) as id from marts.dim_tutors")[0]["id"]
    form = {"tutor": tutor, "rule": "high_reschedule_rate", "how": "threshold", "threshold": "9",
            "reason": "why", "until": ""} | fields  # fmt: skip
    answer = admin.post("/settings/exceptions", data=form)
    assert answer.status_code == 400
    assert said.casefold() in text(answer).casefold()
    assert configured.rows("select * from ops.rule_overrides") == []
    shown = admin.get("/settings/exceptions", params=form)
    assert shown.status_code in (200, 400)


def test_what_no_form_sends_and_who_does_not_teach(configured, admin):
    form = {"tutor": "T1", "rule": "high_reschedule_rate", "kind": "xyz"}
    assert admin.post("/settings/exceptions/remove", data=form).status_code == 400
    assert "is made" not in admin.get("/settings/exceptions?saved=1").text
    (row,) = configured.rows(
        "select tutor_id from marts.dim_tutors where not is_active order by 1 limit 1"
    )
    asked = {"tutor": row["tutor_id"], "rule": "high_reschedule_rate", "how": "off"}
    answer = admin.get("/settings/exceptions", params=asked)
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text


# Thresholds


def test_a_threshold_is_tried_and_nothing_is_written(configured, admin):
    before = configured.rows("select * from ops.alerts order by 1, 2")
    references = configured.rows("select count(*) from ops.rule_references")
    page = admin.get("/settings/rules")
    assert "Rules of the profile conservative" in text(page)
    open_ = len([row for row in before if row["alert_type"] == "high_reschedule_rate"
                 and row["resolved_at"] is None])  # fmt: skip
    tried = {"rule": "high_reschedule_rate", "value": "99"}
    page = admin.get("/settings/rules", params=tried)
    assert f"at 99 instead of 5 would open 0 and close {open_}; 0 stay open" in text(page)
    page = admin.get("/settings/rules", params=tried | {"value": "1"})
    told = re.search(r"would open (\d+) and close 0; (\d+) stay", text(page))
    assert int(told[1]) > 0
    assert int(told[2]) == open_
    assert configured.rows("select * from ops.alerts order by 1, 2") == before
    assert configured.rows("select count(*) from ops.rule_references") == references


@pytest.mark.parametrize(
    "asked",
    [{"rule": "nothing", "value": "1"}, {"rule": "high_reschedule_rate", "value": "x"},
     {"rule": "high_reschedule_rate", "value": "1.5"},
     {"rule": "student_churn_risk", "value": "1"}],
)  # fmt: skip
def test_what_cannot_be_tried(admin, asked):
    assert admin.get("/settings/rules", params=asked).status_code == 400


def test_a_desk_without_the_profile_says_so(desk):
    options = replace(desk.options, port=free_port(), rule_profile="/nowhere/own.yml")
    with (
        serving(replace(desk, options=options)) as served,
        served.person(Role.ADMIN, "boss") as client,
    ):
        for path in ("/settings/rules", "/settings/exceptions"):
            answer = client.get(path)
            assert answer.status_code == 400
            assert "TUTOR_RULE_PROFILE of the desk" in text(answer)


def test_a_desk_of_other_rules_than_the_pipeline_says_so(desk):
    options = replace(desk.options, port=free_port(), rule_profile="standard")
    with (
        serving(replace(desk, options=options)) as served,
        served.person(Role.ADMIN, "boss") as client,
    ):
        assert "The newest alerts are by the profile" in text(client.get("/settings/rules"))


# Addresses


@pytest.fixture
def mail_server():
    server = MailServer()
    server.start()
    yield server
    server.stop()


def tried(client, form):
    """The page once a test is no longer on its way."""
    assert client.post("/settings/messages/test", data=form).status_code in (200, 303)
    page = client.get("/settings/messages")
    for _ in range(600):
        if "on its way" not in page.text:
            return page
        assert page.headers["refresh"]
        time.sleep(0.1)
        page = client.get("/settings/messages")
    raise AssertionError("the test of an address never ends")


def test_addresses_are_shown_without_secrets_and_tried(desk, mail_server):
    url = mail_server.url("ada@example.com").replace("mailto://", "mailto://user:s3cret-word@")
    slack = "slack://AAAAAAAAA/BBBBBBBBB/CCCCCCCCCCCCCCCCCCCCCCCC/#ops"
    addresses = {Audience.CRITICAL: (mail_server.url("ada@example.com"),),
                 Audience.OPS: (url, slack), Audience.DIGEST: ("nonsense://x",)}  # fmt: skip
    options = replace(desk.options, port=free_port(), addresses=addresses)
    with (
        serving(replace(desk, options=options)) as served,
        served.person(Role.ADMIN, "boss") as client,
    ):
        page = client.get("/settings/messages")
        assert "s3cret-word" not in page.text
        assert "CCCCCCCC" not in page.text
        assert "Apprise can't use it" in text(page)
        name = "email to ada@example.com via 127.0.0.1"
        assert name in text(page)
        form = {"audience": "critical", "address": name}
        assert "The test arrived." in text(tried(client, form))
        (mail,) = mail_server.mails
        assert mail["subject"] == "Test: messages for TUTOR_NOTIFY_CRITICAL arrive"
        mail_server.answer = lambda envelope: "554 no <b>thanks</b>"
        answer = tried(client, form)
        assert "The test did not arrive: the server said 554 no <b>thanks" not in answer.text
        assert "554 no &lt;b&gt;thanks" in answer.text
        for wrong in (
            {"audience": "nobody"},
            form | {"address": "elsewhere"},
            # The folder of messages is the pipeline's.
            {"audience": "ops", "address": "file"},
        ):
            assert client.post("/settings/messages/test", data=wrong).status_code == 400

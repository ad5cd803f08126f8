"""From the mail to done: a real SMTP server, the link of the mail, the form, the history."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.integration.desk.conftest import serving
from tests.servers import MailServer, free_port, part
from tutor_pipeline.people.access.roles import Role
from tutor_pipeline.people.notify import links

KEY = "k" * 40
pytestmark = pytest.mark.usefixtures("as_before")


@pytest.fixture(scope="module")
def mail_server():
    server = MailServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def linked(desk, as_before):
    """The desk, as people reach it from their mail."""
    options = replace(desk.options, port=free_port(), keys=(KEY,))
    with serving(replace(desk, options=options)) as served:
        yield served


@pytest.fixture
def send(linked, mail_server):
    """Sends what is due. Returns the new mails."""

    def run(*recipients, status=0, **settings):
        mail_server.envelopes.clear()
        project = linked.project
        before = dict(project.settings)
        project.settings |= {
            "TUTOR_NOTIFY_CRITICAL": mail_server.url(*(recipients or ("ada@example.com",))),
            "TUTOR_DESK_URL": linked.url,
            "TUTOR_SECRET_KEY": KEY,
        } | settings
        try:
            project.run("notify", "send", status=status)
        finally:
            project.settings = before
        return mail_server.mails

    return run


def links_of(mail, kind="plain"):
    return list(dict.fromkeys(re.findall(r"http://[^\s\"<]+/link/[^\s\"<]+", part(mail, kind))))


@pytest.fixture
def link(send):
    """A link of a mail, and the alert that it is about."""
    for mail in send():
        for found in links_of(mail):
            return found
    pytest.fail("no mail has a link")


def alert_of(desk, link):
    """The alert whose page a link shows, by the address behind `Sign in`."""
    with desk.person(None) as client:
        return re.search(r"/alerts/([0-9a-f]{12})", client.get(link).text)[1]


def press(client, link, page=None, text="calling at 3", **fields):
    page = page or client.get(link).text
    seen = re.search(r'name="seen" value="(\d+)"', page)[1]
    return client.post(link, data={"seen": seen, "text": text} | fields)


def test_every_critical_alert_of_a_mail_has_a_link_of_its_own_recipient(linked, send):
    mails = send("ada@example.com", "bob@example.com")
    by_recipient = {}
    for mail in mails:
        assert links_of(mail, "plain") == links_of(mail, "html")
        by_recipient.setdefault(mail["to"], []).extend(links_of(mail))
        assert "tutor-pipeline alerts ack" not in part(mail, "plain")
    critical = linked.rows(
        "select distinct subject_id from ops.outbox where message_id is not null and kind = 'alert'"
        " and audience = 'critical'"
    )
    links = [each for found in by_recipient.values() for each in found]
    assert len(links) == len(set(links)) == 2 * len(critical)
    stored = linked.rows("select text_body, html_body from ops.messages")
    assert not any("/link/" in row["text_body"] + row["html_body"] for row in stored)


def test_a_mail_that_is_sent_again_has_the_same_bytes(linked, send, mail_server):
    mail_server.answer = lambda envelope: contents.append(envelope.content) or "451 later"
    contents = []
    try:
        send(status=1)
        with linked.warehouse.connect() as database:
            database.execute("update ops.deliveries set due_at = now() where state = 'waiting'")
        send(status=1)
    finally:
        mail_server.answer = lambda envelope: "250 OK"
    assert len(contents) >= 2
    first = {each for each in contents if contents.count(each) > 1}
    assert first, "each was sent twice alike"


def test_a_link_acknowledges_and_the_second_person_sees_who_did_it(linked, link):
    alert_id = alert_of(linked, link)
    with linked.person(None) as client:
        page = client.get(link)
        assert page.status_code == 200
        assert "Acknowledge: I see to it" in page.text
        assert page.headers["cache-control"] == "private, no-store"
        assert "set-cookie" not in page.headers
        answer = press(client, link)
        assert answer.status_code == 200
        assert "Everybody sees now that you are on it" in answer.text
    assert linked.events(alert_id)[-1] == ("acknowledged", "ada@example.com (by link)")
    note = linked.rows("select acknowledged_note from ops.alerts where alert_id = %s", alert_id)
    assert note == [{"acknowledged_note": "calling at 3"}]
    with linked.person(None) as other:
        page = other.get(link).text
        assert "Acknowledged by ada@example.com (by link)" in page
        assert "Acknowledge: I see to it" not in page
        assert other.get("/alerts").status_code == 303, "it signed nobody in"
    with linked.person(Role.COACH) as coach:
        assert "ada@example.com (by link)" in coach.get(f"/alerts/{alert_id}").text


def test_two_who_press_at_once(linked, link):
    with linked.person(None) as first, linked.person(None) as second:
        page = second.get(link).text
        assert press(first, link).status_code == 200
        late = press(second, link, page)
        assert late.status_code == 409
        assert "acknowledged by ada@example.com (by link) meanwhile" in late.text


def test_a_scanner_that_opens_everything_changes_nothing(linked, send):
    mails = send()
    addresses = {
        each for mail in mails for each in re.findall(r"http://[^\s\"<]+", part(mail, "html"))
    }
    before = linked.rows("select * from ops.alert_events order by 1, 2, 3")
    with linked.person(None, follow_redirects=True) as scanner:
        for address in addresses:
            for method in ("GET", "HEAD"):
                scanner.request(method, address)
            scanner.post(address, headers={"Origin": "http://scanner.example"})
    assert linked.rows("select * from ops.alert_events order by 1, 2, 3") == before


@pytest.mark.parametrize("end", ["", "x", "%00", "a" * 3000])
def test_a_forged_or_broken_link_is_none(linked, link, end):
    with linked.person(None) as client:
        for broken in (link[:-3] + end, link + "x" + end, f"{linked.url}/link/{end or 'x'}"):
            answer = client.get(broken)
            assert answer.status_code == 404
            if len(broken) < 2000:
                assert "no link of ours" in answer.text
            assert press_anyway(client, broken).status_code == 404


@pytest.mark.parametrize("number", ["x", {}, [], True, None, 1.5, "\0", -1, 0, 2**63, "1 or 1=1"])
@pytest.mark.parametrize("until", [2**31, 2**62, -(10**18), "x"])
def test_what_we_never_sign_is_none_of_ours(linked, number, until):
    token = links._serializer([KEY]).dumps([number, "a", "b", until])
    with linked.person(None) as client:
        assert client.get(f"{linked.url}/link/{token}").status_code == 404


def press_anyway(client, link):
    return client.post(link, data={"seen": "1"})


def test_another_key_signs_other_links_and_the_one_before_is_still_taken(linked, link):
    newer, other = ("n" * 40, KEY), ("o" * 40,)
    for keys, status in ((newer, 200), (other, 404)):
        options = replace(linked.options, port=free_port(), keys=keys)
        with serving(replace(linked, options=options)) as again, again.person(None) as client:
            path = link.removeprefix(linked.url)
            assert client.get(path).status_code == status


def test_a_link_is_good_for_seven_days(linked, link):
    with linked.person(None) as client:
        linked.late = timedelta(days=6, hours=23)
        assert client.get(link).status_code == 200
        linked.late = timedelta(days=7, minutes=5)
        answer = client.get(link)
        assert (answer.status_code, "older than 7 days" in answer.text) == (410, True)
        assert press_anyway(client, link).status_code == 410


def test_what_a_newer_mail_tells_has_a_newer_link(linked, link, send):
    alert_id = alert_of(linked, link)
    with linked.warehouse.connect() as database:
        database.execute(
            "insert into ops.outbox (audience, kind, tutor_id, subject_id, transition, occurred_at,"
            " due_at) select audience, kind, tutor_id, subject_id, 'escalated 9', now(), now()"
            " from ops.outbox where subject_id = %s limit 1", (alert_id,),
        )  # fmt: skip
    with linked.person(None) as client:
        assert client.get(link).status_code == 200, "not yet told"
        (newer,) = [each for mail in send() for each in links_of(mail)]
        answer = client.get(link)
        assert answer.status_code == 410
        assert "a newer message about it was sent" in answer.text
        assert press_anyway(client, link).status_code == 410
        assert press(client, newer).status_code == 200


def test_of_what_is_resolved_or_erased_the_page_says_so(linked, link):
    alert_id = alert_of(linked, link)
    tutor = linked.rows("select tutor_id from ops.alerts where alert_id = %s", alert_id)[0]
    with linked.person(None) as client, linked.person(Role.COACH) as coach:
        page = client.get(link).text
        form = {"alert": linked.seen(alert_id), "verb": "resolve", "reason": "fixed"}
        coach.post("/alerts/act", data=form)
        assert "Resolved by coach" in client.get(link).text
        assert press(client, link, page).status_code == 409
        linked.project.run("forget", "--tutor", tutor["tutor_id"], "--yes")
        assert client.get(link).status_code == 410


def test_it_shows_no_more_than_the_mail(linked, link, send):
    with linked.person(None) as client:
        page = re.sub(r"<[^>]+>", " ", client.get(link).text)
        for row in linked.rows("select name from marts.dim_students where name is not null"):
            assert row["name"] not in page
        for row in linked.rows("select feedback_text from marts.fct_sessions"):
            assert not row["feedback_text"] or row["feedback_text"] not in page


def test_a_forwarded_link_says_whose_it_is(linked, link):
    with linked.person(None) as somebody_else:
        page = somebody_else.get(link).text
        assert "This link was sent to ada@example.com, and the history will say so" in page


def test_without_an_address_for_the_desk_messages_keep_the_command(send):
    for mail in send(TUTOR_DESK_URL=""):
        assert links_of(mail) == []
        assert "tutor-pipeline alerts ack" in part(mail, "plain")


def test_from_the_mail_to_done_in_a_browser(linked, link, chromium):
    context = chromium.new_context(viewport={"width": 390, "height": 800})
    try:
        page = context.new_page()
        page.goto(link)
        page.fill("#text", "calling at 3 pm")
        page.click("button.main")
        assert "Everybody sees now" in page.inner_text("main")
        page.click("text=Sign in to see everything about it")
        assert "/sign-in" in page.url
    finally:
        context.close()

"""The pages in a real browser: main paths with and without script, small and large, in any zone.

Every test fails if a page says anything on the console: a broken policy shows there.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta

import pytest

from tests.integration.desk.conftest import PATIENCE_SECONDS, some_events
from tutor_pipeline.people.access import accounts
from tutor_pipeline.people.access.accounts import Purpose
from tutor_pipeline.people.access.roles import Role

pytestmark = pytest.mark.usefixtures("as_before")

LARGE, SMALL = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


@pytest.fixture
def paths(desk):
    """Addresses of every kind of page."""
    with desk.warehouse.connect() as database:
        some_events(database)
    alert = desk.alert()
    tutor = desk.rows("select tutor_id from ops.alerts where alert_id = %s", alert)[0]["tutor_id"]
    session = desk.rows("select session_id from marts.fct_sessions where tutor_id = %s limit 1",
                        tutor)[0]["session_id"]  # fmt: skip
    return ["/", "/alerts", "/alerts?state=all&q=a", f"/alerts/{alert}", "/alerts/activity",
            "/tutors", "/tutors?group=attention", f"/tutors/{tutor}", "/sessions",
            f"/sessions/{session}?of={tutor}", "/help", "/account",
            "/data", "/students", "/students?group=all", "/patterns"]  # fmt: skip


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_from_the_link_to_the_first_alert_done(desk, browse, script):
    """What `up` prints signs in; then: who, why, acknowledge, undo a snooze, a note, resolve."""
    with desk.warehouse.connect() as database:
        secret = accounts.make_link(database, Purpose.SIGN_IN, "ops", desk.clock())
    page = browse(None, java_script_enabled=script)
    page.goto(f"/enter/{secret}")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{desk.url}/")
    page.get_by_role("button", name="Got it").click()
    page.get_by_role("button", name="Got it").wait_for(state="detached")
    first = page.locator(".card").first
    name = first.locator("h2").inner_text()
    assert "rescheduled by the tutor" in page.locator(".cards").inner_text()
    (row,) = desk.rows("select tutor_id from ops.tutors_needing_attention where attention_rank = 1")
    alert = desk.rows("select alert_id from ops.alerts where tutor_id = %s and subject_kind ="
                      " 'tutor' and resolved_at is null"
                      " order by severity, triggered_date desc, alert_id limit 1",
                      row["tutor_id"])[0]["alert_id"]  # fmt: skip

    first.get_by_text("Acknowledge", exact=True).first.click()
    first.get_by_label("What will you do?").first.fill("calling at 3 pm")
    first.get_by_role("button", name="Acknowledge: I see to it").first.click()
    page.get_by_text("You acknowledged it").first.wait_for()
    assert page.locator(".card").first.locator("h2").inner_text() == name, "the card stays"
    assert "calling at 3 pm" in page.locator(".card").first.inner_text()

    page.locator(".card").first.get_by_text("Snooze", exact=True).first.click()
    page.locator(".card").first.get_by_role("button", name="Snooze", exact=True).first.click()
    page.get_by_text("You snoozed it until").first.wait_for()
    page.get_by_role("button", name="Undo").click()
    page.get_by_text("You ended the snooze").first.wait_for()

    page.locator(".card").first.get_by_role("link").nth(1).click()
    page.wait_for_url(re.compile("/alerts/"))
    page.locator(".acts").get_by_text("Note", exact=True).click()
    page.get_by_label("For whoever reads next").fill("she moves house")
    page.get_by_role("button", name="Keep the note").click()
    page.get_by_text("she moves house").first.wait_for()
    page.locator(".acts").get_by_text("Resolve", exact=True).first.click()
    page.get_by_label("Why", exact=True).first.select_option(label="talked to the tutor")
    page.get_by_label("What was done").fill("a talk")
    page.get_by_role("button", name="Resolve", exact=True).click()
    page.get_by_text("You resolved it: talked to the tutor").first.wait_for()
    assert [event for event, actor in desk.events(alert) if actor == "ops"] == [
        "acknowledged", "snoozed", "woken", "resolved",
    ]  # fmt: skip


def test_a_password_and_a_wrong_one(desk, browse):
    with desk.warehouse.connect() as database:
        accounts.add(database, "ada", Role.VIEWER, desk.clock())
        accounts.set_password(database, "ada", "correct horse battery")
    page = browse(None)
    page.goto("/tutors?group=best")
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill("correct horse")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("The name or the password is wrong.").wait_for()
    # A browser notes that the answer was a refusal.
    assert [each for each in browse.said if "403" not in each] == []
    browse.said.clear()
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{desk.url}/tutors?group=best")
    assert page.get_by_role("button", name="Acknowledge").count() == 0


def test_rows_that_are_chosen_raise_one_bar(desk, browse):
    page = browse(Role.COACH, "ada")
    page.goto("/alerts")
    bar = page.locator(".bar")
    assert not bar.is_visible()
    page.get_by_label("Choose all of this page").check()
    count = page.locator("tbody tr").count()
    assert f"With those chosen ({count})" in bar.inner_text()
    page.get_by_label("Choose all of this page").uncheck()
    page.locator("tbody input").first.check()
    assert "(1)" in bar.inner_text()
    page.get_by_role("button", name="I take them").click()
    page.get_by_role("heading", name="1 alert assigned").wait_for()
    assert len(desk.rows("select 1 from ops.alerts where owner = 'ada'")) == 1


def test_enter_in_a_field_for_several_alerts_does_nothing_else(desk, browse):
    page = browse(Role.COACH, "ada")
    page.goto("/alerts")
    page.locator("tbody input").first.check()
    page.locator(".bar summary", has_text="Resolve").click()
    page.get_by_label("What was done").fill("a talk")
    page.keyboard.press("Enter")
    page.get_by_label("Why", exact=True).select_option(label="talked to the tutor")
    page.locator(".bar").get_by_role("button", name="Resolve", exact=True).click()
    page.get_by_role("heading", name="1 alert resolved").wait_for()
    assert desk.rows("select count(*) as n from ops.alerts where acknowledged_by = 'ada'") == [
        {"n": 0}
    ]
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("heading", name="1 alert reopened").wait_for()


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_two_people_act_on_one_alert(desk, browse, script):
    alert = desk.alert()
    ada = browse(Role.COACH, "ada", java_script_enabled=script)
    bob = browse(Role.COACH, "bob", java_script_enabled=script)
    for page in (ada, bob):
        page.goto(f"/alerts/{alert}")
        page.locator(".acts").get_by_text("Acknowledge", exact=True).click()
        page.get_by_label("What will you do?").fill("mine")
    ada.get_by_role("button", name="Acknowledge: I see to it").click()
    ada.get_by_text("You acknowledged it").first.wait_for()
    bob.get_by_role("button", name="Acknowledge: I see to it").click()
    bob.get_by_text("Somebody was faster: acknowledged by ada meanwhile").first.wait_for()
    assert [each for each in browse.said if "409" not in each] == []
    browse.said.clear()
    assert desk.events(alert)[-1] == ("acknowledged", "ada")


@pytest.fixture
def of_admins(desk, paths):
    """Addresses of the pages of admins, and of a session and an alert with an excuse."""
    (row,) = desk.rows(
        "select alert_id, tutor_id, session_id from ops.alerts where resolved_at is null"
        " and alert_type = 'high_reschedule_rate' order by alert_id limit 1"
    )
    with desk.person(Role.COACH, "ada") as client:
        client.post("/excuses", data={
            "tutor_id": row["tutor_id"], "session_id": row["session_id"], "kind": "reschedule",
            "reason": "agreed beforehand"})  # fmt: skip
    with desk.warehouse.connect() as database:
        database.execute(
            "insert into ops.rule_overrides (tutor_id, kind, rule_id, disabled, reason, set_by,"
            " set_at) values (%s, 'alert', 'chronic_lateness', true, 'why', 'ada', now())",
            (row["tutor_id"],),
        )
    rule = "rule=high_reschedule_rate"
    return [f"/alerts/{row['alert_id']}", f"/sessions/{row['session_id']}?of={row['tutor_id']}",
            f"/tutors/{row['tutor_id']}", "/settings", "/settings/exceptions", "/settings/messages",
            f"/settings/exceptions?tutor={row['tutor_id']}&{rule}&how=threshold&threshold=99",
            f"/settings/exceptions?tutor={row['tutor_id']}&{rule}&threshold=x",
            "/settings/rules", f"/settings/rules?{rule}&value=3"]  # fmt: skip


@pytest.mark.parametrize("role", [Role.VIEWER, Role.COACH, Role.ADMIN])
@pytest.mark.parametrize("size", [LARGE, SMALL], ids=["1280", "360"])
def test_nothing_is_wrong_for_people_who_hear_or_magnify(desk, browse, paths, size, role, request):
    """axe finds nothing, with every rule on; nothing is wider than the window."""
    from axe_playwright_python.sync_playwright import Axe

    if role is Role.ADMIN:
        paths = request.getfixturevalue("of_admins")
    for scheme in ("light", "dark"):
        page = browse(role, viewport=size, color_scheme=scheme)
        for path in paths:
            page.goto(path)
            page.evaluate(
                "document.querySelectorAll('details').forEach(each => {"
                " each.removeAttribute('name'); each.open = true })"
            )
            result = Axe().run(page)
            assert result.violations_count == 0, f"{path} {scheme}\n{result.generate_report()}"
            wider = page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert wider <= 0, f"{path} is {wider} pixels wider than the window"
    browse.said[:] = [each for each in browse.said if "400" not in each]


def test_pages_before_signing_in_are_sound_too(desk, browse):
    from axe_playwright_python.sync_playwright import Axe

    with desk.warehouse.connect() as database:
        accounts.add(database, "ada", Role.VIEWER, desk.clock())
        enter = accounts.make_link(database, Purpose.SIGN_IN, "ops", desk.clock())
        password = accounts.make_link(database, Purpose.PASSWORD, "ada", desk.clock())
    page = browse(None, viewport=SMALL)
    for path in ("/sign-in", f"/enter/{enter}", f"/password/{password}", "/enter/used"):
        page.goto(path)
        result = Axe().run(page)
        assert result.violations_count == 0, f"{path}\n{result.generate_report()}"
    assert [each for each in browse.said if "410" not in each] == []
    browse.said.clear()


@pytest.mark.parametrize("zone", ["Etc/GMT+11", "Etc/GMT-14"])
def test_times_are_the_pipelines_whatever_the_browsers(desk, browse, paths, zone):
    here = browse(Role.COACH, timezone_id="UTC")
    there = browse(Role.COACH, timezone_id=zone, locale="de-DE")
    for path in paths:
        shown = []
        for page in (here, there):
            page.goto(path)
            times = page.locator("time").evaluate_all(
                "all => all.map(each => [each.dateTime, each.title])"
            )
            days = re.findall(r"\w{3} \d+ \w+, \d\d:\d\d", page.locator("main").inner_text())
            shown.append((times, days))
        assert shown[0] == shown[1], path


def test_the_keyboard_reaches_and_does_everything(desk, browse):
    page = browse(Role.COACH, "ada")
    alert = desk.alert()
    page.goto(f"/alerts/{alert}")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.innerText.trim().slice(0, 30)"))
    assert {"Today", "Alerts", "Tutors", "Sessions", "Resolve", "Snooze", "Note"} <= {
        each.split("\n")[0].split(",")[0].strip() for each in reached
    }
    page.locator(".acts summary", has_text="Acknowledge").focus()
    page.keyboard.press("Enter")
    page.get_by_label("What will you do?").wait_for()
    page.get_by_label("What will you do?").focus()
    page.keyboard.press("Escape")
    assert not page.get_by_label("What will you do?").is_visible()
    assert page.evaluate("document.activeElement.innerText") == "Acknowledge"
    page.keyboard.press("Enter")
    page.get_by_label("What will you do?").focus()
    page.keyboard.type("calling")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("You acknowledged it").first.wait_for()
    assert page.evaluate("document.activeElement !== document.body")


def test_a_page_without_its_database_says_so_and_comes_back_by_itself(desk, browse):
    """The database lets nobody in; the page waits for it."""
    page = browse(Role.COACH)
    page.goto("/")
    name = desk.project.url.rsplit("/", 1)[1]
    import psycopg

    with psycopg.connect(desk.project.url.rsplit("/", 1)[0] + "/postgres",
                         autocommit=True) as server:  # fmt: skip
        server.execute(f"alter database {name} allow_connections false")
        server.execute("select pg_terminate_backend(pid, 10000) from pg_stat_activity"
                       " where datname = %s", (name,))  # fmt: skip
        try:
            page.goto("/")
            page.get_by_role("heading", name="The database does not answer").wait_for()
            assert "Your data is safe" in page.locator("main").inner_text()
        finally:
            server.execute(f"alter database {name} allow_connections true")
    page.get_by_role("heading", name="Today").wait_for(timeout=PATIENCE_SECONDS * 1000)
    assert [each for each in browse.said if "503" not in each] == []
    browse.said.clear()


def test_the_page_of_an_older_or_newer_program_says_so(desk, browse):
    page = browse(Role.COACH)
    with desk.warehouse.connect() as database:
        database.execute("update ops.alembic_version set version_num = '0022'")
        database.commit()
        page.goto("/")
        page.get_by_role("heading", name="The database is being updated").wait_for()
        assert "needs 00" in page.locator("main").inner_text()
        database.execute("update ops.alembic_version set version_num = '9999'")
        database.commit()
        page.goto("/")
        assert "installs the newer program" in page.locator("main").inner_text()
    with desk.person(None) as client:
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
    browse.said.clear()


def test_whoever_was_signed_out_elsewhere_is_asked_to_sign_in(desk, browse):
    page = browse(Role.COACH, "ada")
    page.goto("/alerts")
    desk.late = timedelta(days=8)
    page.goto("/tutors")
    page.get_by_role("heading", name="Sign in").wait_for()
    assert page.url == f"{desk.url}/sign-in?next=%2Ftutors"


@pytest.mark.skipif("SHOTS" not in os.environ, reason="SHOTS=folder takes pictures of every page")
@pytest.mark.parametrize("size", [LARGE, SMALL], ids=["1280", "360"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures(desk, browse, paths, of_admins, size, scheme):
    from pathlib import Path

    page = browse(Role.ADMIN, viewport=size, color_scheme=scheme)
    for path in (*paths, *of_admins):
        page.goto(path)
        name = re.sub(r"\W+", "-", path).strip("-") or "today"
        file = Path(os.environ["SHOTS"]) / f"{name}-{size['width']}-{scheme}.png"
        page.screenshot(path=file, full_page=True)

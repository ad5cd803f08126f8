"""Who gets in, and who does not: passwords, links, sign-ins that end."""

from __future__ import annotations

import re
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from threading import Event, Semaphore

import httpx
import pytest

from tests.integration.desk.conftest import Desk, serving
from tests.servers import free_port
from tutor_pipeline.desk.options import Options
from tutor_pipeline.desk.site import Limit
from tutor_pipeline.people.access import accounts, passwords, sign_ins
from tutor_pipeline.people.access.accounts import Purpose
from tutor_pipeline.people.access.roles import Role

pytestmark = pytest.mark.usefixtures("as_before")
PASSWORD = "correct horse battery"


@pytest.fixture
def ada(desk, as_before):
    """An account with a password."""
    with desk.warehouse.connect() as database:
        accounts.add(database, "ada", Role.COACH, desk.clock())
        accounts.set_password(database, "ada", PASSWORD)


def test_a_name_is_the_same_however_it_is_typed(desk):
    with desk.warehouse.connect() as database:
        accounts.add(database, "Jos\u00e9 O'Brien", Role.COACH, desk.clock())
        accounts.set_password(database, "jos\u00e9 o'brien", PASSWORD)
    with desk.person(None) as client:
        assert try_in(client, "Jose\u0301  O'BRIEN").status_code == 303
        assert "1 browser" in desk.project.run("users", "sign-out", "Jose\u0301 o'brien").stderr


def try_in(client, name="ada", password=PASSWORD, **fields):
    return client.post("/sign-in", data={"name": name, "password": password, **fields})


def is_in(client):
    return client.get("/account").status_code == 200


@pytest.mark.usefixtures("ada")
def test_a_password_lets_in_and_signing_out_ends_it(desk):
    with desk.person(None) as client:
        assert client.get("/alerts").headers["location"] == "/sign-in?next=%2Falerts"
        answer = try_in(client, name=" ADA ", back="/alerts?state=all")
        assert (answer.status_code, answer.headers["location"]) == (303, "/alerts?state=all")
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith(f"tutor_desk_{desk.options.port}=")
        assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
        assert is_in(client)
        kept = dict(client.cookies)
        client.post("/sign-out")
        assert not is_in(client)
    with httpx.Client(base_url=desk.url, cookies=kept) as thief:
        assert not is_in(thief)


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)",
             "/\nSet-Cookie: x=1", "x" * 3000, ""],
)  # fmt: skip
def test_nobody_is_sent_to_another_site(desk, path):
    with desk.person(None) as client:
        assert try_in(client, back=path).headers["location"] == "/"


@pytest.mark.usefixtures("ada")
def test_a_new_sign_in_ends_the_one_before(desk):
    with desk.person(None) as client:
        try_in(client)
        before = dict(client.cookies)
        try_in(client)
        assert is_in(client)
    with httpx.Client(base_url=desk.url, cookies=before) as old:
        assert not is_in(old)


@pytest.mark.usefixtures("ada")
def test_a_wrong_name_and_a_wrong_password_look_alike(desk):
    """The same words, the same status, and both take the time of a hash."""
    texts, times = {}, {"ada": [], "nobody": []}
    with desk.person(None) as client:
        for _ in range(4):
            for name, taken in times.items():
                began = time.perf_counter()
                answer = try_in(client, name=name, password="wrong")
                taken.append(time.perf_counter() - began)
                texts[name] = answer.status_code, answer.text.replace(name, "")
    assert texts["ada"] == texts["nobody"]
    assert texts["ada"][0] == 403
    # A name that is not there is not answered at once: that would be a hundred times faster.
    ratio = statistics.median(times["nobody"]) / statistics.median(times["ada"])
    assert ratio > 0.2


@pytest.mark.usefixtures("ada")
def test_after_some_wrong_passwords_there_is_a_pause_for_that_address_alone(desk):
    with desk.person(None) as client:
        for _ in range(5):
            assert try_in(client, password="wrong").status_code == 403
        paused = try_in(client)
        assert paused.status_code == 429
        assert "try again in" in paused.text
        assert try_in(client, name="bob", password="wrong").status_code == 403
        with desk.warehouse.connect() as database:
            elsewhere = sign_ins.sign_in(database, "ada", PASSWORD, "192.0.2.1", desk.clock())
        assert elsewhere
        desk.late = timedelta(minutes=16)
        assert try_in(client).status_code == 303
        desk.late = timedelta()
    assert desk.rows("select failures from ops.sign_in_failures") == [{"failures": 1}]


def test_the_pause_doubles_up_to_a_quarter_of_an_hour():
    pauses = [sign_ins.pause(number).total_seconds() for number in range(60)]
    assert pauses[:8] == [0, 0, 0, 0, 0, 1, 2, 4]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 900


@pytest.mark.usefixtures("ada")
def test_of_many_at_once_some_are_asked_to_wait_and_nobody_else_is(desk):
    """A hash takes long: at most two are made at once, and hold no more connections than that."""
    with (
        Limit.PASSWORDS.taken(), Limit.PASSWORDS.taken(), desk.person(None) as client,
        desk.person(Role.VIEWER) as viewer,
    ):  # fmt: skip
        answer = try_in(client)
        assert viewer.get("/alerts").status_code == 200
    assert answer.status_code == 429
    assert "Too many people sign in" in answer.text
    with desk.person(None) as client:
        assert try_in(client).status_code == 303


def test_where_many_wait_the_next_is_told_at_once(monkeypatch):
    """Each that waits holds one of the threads that serve all pages."""
    monkeypatch.setattr(Limit.ACTS, "_seconds", 600)
    inside, is_over = Semaphore(0), Event()

    def act():
        with Limit.ACTS.taken() as has_turn:
            inside.release()
            assert is_over.wait(600)
        return has_turn

    with ThreadPoolExecutor(12) as pool:
        try:
            first = [pool.submit(act) for _ in range(2)]
            assert all(inside.acquire(timeout=60) for _ in first)
            others = [pool.submit(act) for _ in range(10)]
            # Eight wait; the other two are told without waiting for any of them.
            assert all(inside.acquire(timeout=60) for _ in range(2))
        finally:
            is_over.set()
        assert all(each.result(60) for each in first)
        assert sorted(each.result(60) for each in others) == [False] * 2 + [True] * 8


@pytest.mark.usefixtures("ada")
def test_who_signs_in_while_the_password_is_reset_is_not_in(desk, monkeypatch):
    checked = passwords.is_right

    def slowly(password, stored):
        is_right = checked(password, stored)
        with desk.warehouse.connect() as database:
            accounts.reset(database, "ada", desk.clock())
        return is_right

    monkeypatch.setattr(passwords, "is_right", slowly)
    with desk.person(None) as client:
        assert try_in(client).status_code == 403
    assert desk.rows("select * from ops.sign_ins") == []


def test_whoever_came_by_a_link_is_signed_out_as_others_are(desk):
    def by_link():
        client = desk.person(None)
        with desk.warehouse.connect() as database:
            secret = accounts.make_link(database, Purpose.SIGN_IN, "bob", desk.clock())
        assert client.post(f"/enter/{secret}").status_code == 303
        return closing(client)

    with by_link() as client:
        assert "Signed 1 browser out" in desk.project.run("users", "sign-out", "bob").stderr
        assert not is_in(client)
    with desk.warehouse.connect() as database:
        accounts.add(database, "bob", Role.COACH, desk.clock())
    with by_link() as client, desk.person(Role.COACH, "bob") as other:
        with desk.warehouse.connect() as database:
            accounts.set_role(database, "bob", Role.VIEWER)
        assert not is_in(client), "it had a role of its own"
        assert "viewer" in other.get("/account").text
    with desk.warehouse.connect() as database:
        accounts.disable(database, "bob", desk.clock())
    with by_link() as client:
        assert not is_in(client)
    desk.project.run("users", "sign-out", "--all")
    desk.project.run("users", "sign-out", status=2)


def test_long_or_odd_headers_are_refused_before_anything_is_done(desk):
    with desk.person(None) as client:
        for headers in ({"Cookie": "a=" + "x" * 5000}, {"X-Long": "x" * 20_000},
                        {"Cookie": 'a="' + '\\"' * 3000 + '"'}):  # fmt: skip
            assert client.get("/sign-in", headers=headers).status_code == 431


def test_the_log_names_no_secret(desk, caplog):
    """A page without a database is logged by what it is, not by its address."""
    nowhere = replace(desk.warehouse, url=desk.warehouse.url.rsplit("/", 1)[0] + "/no_such")
    lost = Desk(nowhere, desk.project, Options("127.0.0.1", free_port()))
    with serving(lost), lost.person(None) as client:
        assert client.get("/enter/SECRET").status_code == 503
        assert client.get("/tutors/T0001?q=SECRET").status_code == 503
    assert "/enter/{secret}" in caplog.text
    assert "SECRET" not in caplog.text
    assert "T0001" not in caplog.text


def test_a_link_signs_in_once_and_looking_at_it_uses_nothing_up(desk):
    with desk.warehouse.connect() as database:
        secret = accounts.make_link(database, Purpose.SIGN_IN, "ops", desk.clock())
    with desk.person(None) as client, desk.person(None) as other:
        for _ in range(3):
            assert client.get(f"/enter/{secret}").status_code == 200
        assert client.head(f"/enter/{secret}").status_code in (200, 405)
        assert not is_in(client)
        assert client.post(f"/enter/{secret}").status_code == 303
        assert "admin" in client.get("/account").text
        assert other.post(f"/enter/{secret}").status_code == 410
        assert other.get(f"/enter/{secret}").status_code == 410
        assert not is_in(other)
    stored = desk.rows("select * from ops.sign_in_links")
    assert secret not in str(stored)


def test_an_old_or_foreign_link_opens_nothing(desk):
    with desk.warehouse.connect() as database:
        secret = accounts.make_link(database, Purpose.SIGN_IN, "ops", desk.clock())
        accounts.add(database, "bob", Role.VIEWER, desk.clock())
        other = accounts.make_link(database, Purpose.PASSWORD, "bob", desk.clock())
    with desk.person(None) as client:
        assert client.post(f"/enter/{other}").status_code == 410
        assert client.post("/enter/guessed").status_code == 410
        desk.late = timedelta(minutes=11)
        assert client.post(f"/enter/{secret}").status_code == 410


def test_a_password_is_set_by_a_link(desk):
    with desk.warehouse.connect() as database:
        accounts.add(database, "bob", Role.VIEWER, desk.clock())
        secret = accounts.make_link(database, Purpose.PASSWORD, "bob", desk.clock())
    page = f"/password/{secret}"
    with desk.person(None) as client:
        assert client.get(page).status_code == 200
        for password, again, says in (
            ("short", "short", "too short"), (PASSWORD, PASSWORD + "x", "differ"),
            ("x" * 1001, "x" * 1001, "too long"),
        ):  # fmt: skip
            answer = client.post(page, data={"password": password, "again": again})
            assert answer.status_code == 400
            assert says in answer.text
        answer = client.post(page, data={"password": PASSWORD, "again": PASSWORD})
        assert answer.status_code == 303
        assert is_in(client)
        assert client.get(page).status_code == 410
    with desk.person(None) as client:
        assert try_in(client, "bob").status_code == 303
    stored = desk.rows("select password from ops.accounts where name = 'bob'")[0]["password"]
    assert stored.startswith("scrypt$32768$8$3$")


@pytest.mark.usefixtures("ada")
def test_what_an_admin_changes_holds_at_once(desk):
    with desk.person(None) as client:
        try_in(client)
        with desk.warehouse.connect() as database:
            accounts.add(database, "root", Role.ADMIN, desk.clock())
            accounts.set_role(database, "ada", Role.VIEWER)
        assert "viewer" in client.get("/account").text
        assert client.post("/notes", data={"tutor_id": "T1", "text": "x"}).status_code == 403
        with desk.warehouse.connect() as database:
            accounts.disable(database, "ada", desk.clock())
        assert not is_in(client)
        assert try_in(client).status_code == 403
        with desk.warehouse.connect() as database:
            accounts.enable(database, "ada")
        assert try_in(client).status_code == 303
        with desk.warehouse.connect() as database:
            accounts.reset(database, "ada", desk.clock())
        assert not is_in(client)
        assert try_in(client).status_code == 403


@pytest.mark.usefixtures("ada")
def test_a_sign_in_ends_when_nothing_is_asked_for_and_after_a_week_in_any_case(desk):
    with desk.person(None) as client:
        try_in(client)
        for hours in (11, 22, 33):
            desk.late = timedelta(hours=hours)
            assert is_in(client)
        desk.late = timedelta(hours=46)
        assert not is_in(client)
        desk.late = timedelta()
        try_in(client)
        for hours in range(0, 24 * 7, 11):
            desk.late = timedelta(hours=hours)
            assert is_in(client)
        desk.late = timedelta(days=7, hours=1)
        assert not is_in(client)


@pytest.mark.usefixtures("ada")
def test_one_signs_out_everywhere(desk):
    with desk.person(None) as one, desk.person(None) as two:
        try_in(one)
        try_in(two)
        one.post("/account/sign-out")
        assert not is_in(one)
        assert not is_in(two)


def test_two_desks_on_one_host_do_not_disturb_each_other(desk):
    """A browser sends a host's cookies to all its ports: each desk has a name of its own."""
    other = Desk(desk.warehouse, desk.project, Options("127.0.0.1", free_port()))
    with serving(other), desk.person(Role.COACH) as client:
        first = dict(client.cookies)
        both = first | {other.options.cookie: other.secret(Role.VIEWER)}
        with httpx.Client(cookies=both) as browser:
            assert "coach" in browser.get(f"{desk.url}/account").text
            assert "viewer" in browser.get(f"{other.url}/account").text
            browser.post(f"{other.url}/sign-out", headers={"Origin": other.url})
            assert browser.get(f"{other.url}/account").status_code == 303
            assert browser.get(f"{desk.url}/account").status_code == 200


def test_behind_https_the_cookie_is_for_this_host_and_secure(desk):
    options = replace(desk.options, port=free_port(), public_url="https://desk.example.com")
    behind = Desk(desk.warehouse, desk.project, options)
    with serving(behind):
        with behind.warehouse.connect() as database:
            secret = accounts.make_link(database, Purpose.SIGN_IN, "ops", desk.clock())
        headers = {"Host": "desk.example.com", "Origin": "https://desk.example.com"}
        answer = httpx.post(f"{behind.url}/enter/{secret}", headers=headers)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"__Host-tutor_desk_{options.port}=")
    assert {"Secure", "HttpOnly", "Path=/"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:3040", "", "localhost.evil.example"]
)
def test_a_foreign_name_that_points_here_reads_nothing(desk, host):
    with desk.person(Role.ADMIN) as client:
        answer = client.get("/", headers={"Host": host})
    assert answer.status_code in (400, 421)
    assert "Today" not in answer.text


def test_who_runs_the_pipeline_makes_accounts_on_the_command_line(desk):
    project = desk.project
    added = project.run("users", "add", "Grace Hopper", "--role", "admin")
    assert re.search(r"/password/[\w-]{43}", added.stdout)
    assert "TUTOR_DESK_URL" in added.stderr
    again = project.run("users", "add", "grace  hopper", status=2)
    assert "there is an account grace hopper already" in again.stderr
    assert "last admin" in project.run("users", "disable", "grace hopper", status=3).stderr
    assert "last admin" in project.run("users", "role", "grace hopper", "coach", status=3).stderr
    project.run("users", "add", "ada", "--role", "admin")
    project.run("users", "role", "Grace Hopper", "coach")
    project.run("users", "disable", "grace hopper")
    project.run("users", "disable", "grace hopper")
    rows = {row["name"]: row for row in project.json("users", "list")}
    assert (rows["grace hopper"]["role"], rows["ada"]["role"]) == ("coach", "admin")
    assert rows["grace hopper"]["disabled_at"] is not None
    assert "password" not in str(rows).replace("has_password", "")
    project.run("users", "enable", "grace hopper")
    assert "/password/" in project.run("users", "reset", "grace hopper").stdout
    assert "no account noone" in project.run("users", "reset", "noone", status=2).stderr
    for wrong in ("", "-", "a/b", "pipeline", "x" * 65, "nobody", "this machine", "\u0430da",
                  "ada\u3164", "\u3164", "pipelin\u0435"):  # fmt: skip
        project.run("users", "add", wrong, status=2)
    assert "terminal" in project.run("users", "add", "x", "--ask", status=2).stderr
    link = project.run("desk", "link").stdout.strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:3040/enter/[\w-]{43}", link)

"""Who may what: every page and act for every role, and forms that another site sends."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tutor_pipeline.desk import queries
from tutor_pipeline.desk.app import PLACES
from tutor_pipeline.desk.gate import MAX_BODY
from tutor_pipeline.people.access.roles import Role

pytestmark = pytest.mark.usefixtures("as_before")

WHO = [None, *Role]
_ANYBODY = {"/sign-in", "/sign-out", "/enter/x", "/password/x", "/link/x"}
_VIEWERS = {"/", "/help", "/welcomed", "/alerts", "/alerts/ALERT", "/alerts/activity", "/tutors",
            "/tutors/TUTOR", "/sessions", "/sessions/SESSION", "/account", "/data",
            "/students", "/patterns",
            "/account/sign-out",
            *(f"/{name}.{kind}" for name in ("alerts", "tutors", "sessions", "students")
              for kind in ("csv", "json"))}  # fmt: skip
_COACHES = {"/alerts/act", "/notes", "/notes/remove", "/data/report", "/excuses", "/excuses/undo"}
_ADMINS = {"/settings", "/settings/exceptions", "/settings/exceptions/remove", "/settings/rules",
           "/settings/messages", "/settings/messages/test",
           *(f"/settings/accounts/{act}" for act in
             ("add", "role", "reset", "disable", "enable", "sign-out"))}  # fmt: skip
_FIELDS = {"/notes": {"text": "seen", "tutor_id": "TUTOR"},
           "/alerts/act": {"alert": "ALERT:1", "verb": "acknowledge"},
           "/settings/accounts/add": {"name": "new", "role": "viewer"},
           "/settings/accounts/role": {"name": "new", "role": "coach"},
           "/settings/accounts/reset": {"name": "new"},
           "/settings/accounts/disable": {"name": "new"},
           "/settings/accounts/enable": {"name": "new"},
           "/settings/accounts/sign-out": {"name": "new"}}  # fmt: skip
_NEEDS_MORE = {"/excuses": 404, "/excuses/undo": 400, "/settings/exceptions": 400,
               "/settings/messages/test": 400}  # fmt: skip
"""What an empty form of these is answered with, by who may send it."""


def address(place, desk):
    session = desk.rows("select tutor_id, session_id from marts.fct_sessions order by 1, 2")[0]
    known = {"{secret}": "x", "{alert_id:path}": "ALERT", "{tutor_id:path}": "TUTOR",
             "{session_id:path}": "SESSION", "{token}": "x"}  # fmt: skip
    path = place.path
    for name, value in known.items():
        path = path.replace(name, value)
    real = {"ALERT": desk.alert(), "TUTOR": session["tutor_id"], "SESSION": session["session_id"]}
    return path, real


def filled(text, real):
    for name, value in real.items():
        text = text.replace(name, value)
    return text


def test_the_table_names_every_place(desk):
    named = {address(place, desk)[0] for place in PLACES}
    assert named == _ANYBODY | _VIEWERS | _COACHES | _ADMINS


@pytest.mark.parametrize("who", WHO, ids=str)
def test_each_role_may_what_the_table_says(desk, who):
    for place in PLACES:
        path, real = address(place, desk)
        fields = {name: filled(value, real) for name, value in _FIELDS.get(path, {}).items()}
        with desk.person(who) as client:
            answer = client.request(place.method, filled(path, real), data=fields or None)
        where = f"{place.method} {path} as {who}"
        if path in _ANYBODY:
            assert answer.status_code in (200, 303, 403, 404, 410), where
        elif who is None:
            expected = 401 if path.endswith((".csv", ".json")) else 303
            assert answer.status_code == expected, where
            assert expected == 401 or answer.headers["location"].startswith("/sign-in"), where
        elif path in _COACHES and who is Role.VIEWER:
            assert answer.status_code == 403, where
            assert "takes the role coach" in answer.text
        elif path in _ADMINS and who is not Role.ADMIN:
            assert answer.status_code == 403, where
            assert "takes the role admin" in answer.text
        elif place.method == "POST" and path in _NEEDS_MORE:
            assert answer.status_code == _NEEDS_MORE[path], where
        else:
            # The desk of the tests has no folder of reports.
            allowed = {404} if path == "/data/report" else {200, 303}
            assert answer.status_code in allowed, where


def test_what_is_nobodys_changed_nothing(desk):
    """The acts above that were refused."""
    alert = desk.alert()
    before = desk.events(alert)
    for who in (None, Role.VIEWER):
        with desk.person(who) as client:
            client.post("/alerts/act", data={"alert": desk.seen(alert), "verb": "acknowledge"})
    assert desk.events(alert) == before


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "{url}.evil.example"},
        {"Origin": "{url}", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "{url}", "Sec-Fetch-Site": "same-site"},
        {"Origin": "{url}", "Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=str,
)
def test_no_other_site_sends_a_form(desk, headers):
    with desk.person(Role.ADMIN) as client:
        for place in PLACES:
            path, real = address(place, desk)
            fields = {name: filled(value, real) for name, value in _FIELDS.get(path, {}).items()}
            answer = client.post(
                filled(path, real), data=fields,
                headers={name: value.format(url=desk.url) for name, value in headers.items()},
            )  # fmt: skip
            assert answer.status_code == 403, path
            assert "nothing was changed" in answer.text
        assert client.get("/account").status_code == 200, "still signed in"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_else_than_reading_and_forms(desk, method):
    with desk.person(Role.ADMIN) as client:
        for place in PLACES:
            path, real = address(place, desk)
            assert client.request(method, filled(path, real)).status_code == 405


def test_every_answer_has_the_headers(desk):
    paths = ["/", "/alerts", "/sign-in", "/nowhere", "/alerts/nothing", "/alerts?state=wrong",
             "/healthz", "/readyz", "/alerts.csv"]  # fmt: skip
    with desk.person(Role.COACH) as client:
        for path in paths:
            headers = client.get(path).headers
            policy = headers["content-security-policy"]
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["cache-control"] == "private, no-store"
            assert headers["referrer-policy"] == "same-origin"
            assert headers["x-content-type-options"] == "nosniff"
            assert "server" not in headers
        page = client.get("/").text
        assert "style=" not in page
        assert "onclick" not in page
        sheet = next(part for part in page.split('"') if part.startswith("/static/desk.css"))
        assert "immutable" in client.get(sheet).headers["cache-control"]
        assert client.get("/static/..%2Fapp.py").status_code == 404


def test_a_form_that_is_too_long_or_no_form_is_refused_with_a_sentence(desk):
    with desk.person(Role.COACH) as client:
        long = client.post("/notes", data={"text": "x" * (MAX_BODY + 1)})
        assert (long.status_code, "kB at most" in long.text) == (413, True)

        def without_length():
            for _ in range(20):
                yield b"text=" + b"x" * (MAX_BODY // 10)

        chunked = client.post(
            "/notes", content=without_length(),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )  # fmt: skip
        assert chunked.status_code == 413
        many = client.post("/notes", data={f"f{n}": "1" for n in range(2000)})
        assert many.status_code == 400
        for kind in ("multipart/form-data; boundary=x", "text/plain", "application/json", "x"):
            odd = client.post("/notes", content=b"\xff\x00", headers={"Content-Type": kind})
            assert odd.status_code == 415


@pytest.mark.parametrize(
    "path",
    ["/alerts/" + quote("../../etc/passwd", safe=""), "/tutors/%00", "/tutors/%ff",
     "/sessions/a%0d%0ab", "/alerts/" + "x" * 4000, "/tutors/' or 1=1 --",
     "/enter/..%2f", "/tutors/T1/", "/tutors//"],
)  # fmt: skip
def test_an_odd_address_is_a_page_that_is_not_found(desk, path):
    with desk.person(Role.COACH) as client:
        assert client.get(path).status_code in (404, 410)


@pytest.mark.parametrize(
    "query",
    ["state=open", "page=0", "page=x", "page=99999999999999999999", "severity=%00", "older=2",
     "order=drop", "q=" + "x" * 201],
)  # fmt: skip
def test_an_odd_question_is_a_sentence(desk, query):
    with desk.person(Role.COACH) as client:
        answer = client.get(f"/alerts?{query}")
        assert answer.status_code == (200 if query == "severity=%00" else 400)
        assert "Traceback" not in answer.text
        assert client.get(f"/alerts.json?{query}").status_code == answer.status_code


@pytest.mark.parametrize(
    ("path", "status"),
    [("/sessions?day=0001-01-01", 400), ("/sessions?day=9999-12-31", 400),
     ("/sessions?day=soon", 400), ("/sessions?tutor=nobody", 200),
     ("/alerts/%E2%80%AEabc", 404), ("/tutors/%E2%80%AEabc", 404),
     ("/sessions/%E2%80%AEabc", 404)],
)  # fmt: skip
def test_odd_days_and_names_are_told_safely(desk, path, status):
    with desk.person(Role.COACH) as client:
        answer = client.get(path)
    assert answer.status_code == status
    assert "\u202e" not in answer.text


def test_an_odd_origin_is_refused_with_all_headers(desk):
    with desk.person(Role.COACH) as client:
        answer = client.post("/sign-out", headers={"Origin": "http://[x"})
    assert answer.status_code == 403
    assert "frame-ancestors" in answer.headers["content-security-policy"]


def test_a_page_that_is_broken_has_the_headers_too(desk, monkeypatch):
    def broken(*_):
        raise RuntimeError("secret of the program")

    monkeypatch.setattr(queries, "certifications", broken)
    with desk.person(Role.COACH) as client:
        answer = client.get("/tutors")
    assert answer.status_code == 500
    assert "This page is broken" in answer.text
    assert "secret of the program" not in answer.text
    assert answer.headers["cache-control"] == "private, no-store"


def test_health_and_readiness_tell_nothing_more(desk):
    with desk.person(None) as client:
        assert client.get("/healthz").text == "ok\n"
        assert client.get("/readyz").text == "ready\n"

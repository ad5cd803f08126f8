"""The API of events in the desk: programs post there, and no cookie counts."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from tests.integration.desk.conftest import PATIENCE_SECONDS, Desk
from tutor_pipeline.desk.gate import MAX_BODY, MAX_COOKIE
from tutor_pipeline.people.access.roles import Role
from tutor_pipeline.sources.events import secrets

pytestmark = pytest.mark.usefixtures("as_before")
EVENT = {"type": "subjects.upserted", "timestamp": "2026-03-02T16:00:00Z",
         "data": {"id": "by-event", "name": "Zoology"}}  # fmt: skip
BODY = json.dumps(EVENT)
ELSEWHERE = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}


@pytest.fixture
def secret(desk: Desk, as_before: None) -> str:
    """The secret of a source that the desk knows."""
    with desk.warehouse.connect() as database:
        made = secrets.add(database, "shop", datetime.now(UTC))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (answer := post(desk, signed(made, "nothing", ""), "", "shop/batch")).status_code != 200:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)
    return made


def signed(secret: str, id_: str, body: str = BODY) -> dict[str, str]:
    now = datetime.now(UTC)
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(id_, now, body),
    }


def post(desk: Desk, headers: Any, body: str = BODY, path: str = "shop") -> httpx.Response:
    return httpx.post(f"{desk.url}/v1/events/{path}", content=body, headers=headers,
                      timeout=PATIENCE_SECONDS)  # fmt: skip


def cookie(desk: Desk, role: Role) -> dict[str, str]:
    return {"Cookie": f"{desk.options.cookie}={desk.secret(role)}"}


def test_a_cookie_changes_nothing(desk: Desk, secret: str) -> None:
    """Who is signed in needs a signature like everybody, and gets the same answers."""
    wrong = signed(secrets.shown(bytes(32)), "refused")
    of_admin = cookie(desk, Role.ADMIN)
    for headers in ({}, wrong):
        plain, with_cookie = post(desk, headers), post(desk, headers | of_admin)
        assert plain.status_code == with_cookie.status_code == 401
        assert plain.content == with_cookie.content
    answers = [post(desk, signed(secret, "same") | each) for each in ({}, of_admin, {})]
    assert [each.json()["status"] for each in answers] == ["accepted", "duplicate", "duplicate"]
    pages = [
        [httpx.get(f"{desk.url}/v1/{page}", headers=headers) for headers in ({}, of_admin)]
        for page in ("docs", "openapi.json", "docs.css")
    ]
    for plain, with_cookie in pages:
        assert plain.status_code == 200
        assert plain.content == with_cookie.content
    for answer in [*answers, *(each for pair in pages for each in pair)]:
        assert "set-cookie" not in answer.headers
        assert "vary" not in answer.headers
    assert desk.rows("select 1 from ops.event_inbox where event_id = 'refused'") == []


def test_a_signature_is_enough_from_anywhere(desk: Desk, secret: str) -> None:
    """A form of another site is refused because a cookie goes with it; here none counts."""
    answer = post(desk, signed(secret, "cross") | ELSEWHERE | cookie(desk, Role.COACH))
    assert (answer.status_code, answer.json()["status"]) == (200, "accepted")
    assert not [name for name in answer.headers if name.startswith("access-control")]
    for kind in ("text/plain", "application/json", "x", "application/x-www-form-urlencoded"):
        headers = signed(secret, "cross") | {"Content-Type": kind}
        assert post(desk, headers).json()["status"] == "duplicate"
    unsigned = post(desk, ELSEWHERE | cookie(desk, Role.ADMIN))
    assert unsigned.status_code == 401
    # Nobody's script may ask for the headers that it would need.
    asked = httpx.options(f"{desk.url}/v1/events/shop", headers=ELSEWHERE | {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "webhook-signature",
    })  # fmt: skip
    assert asked.status_code == 405
    assert not [name for name in asked.headers if name.startswith("access-control")]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:3040", "localhost.evil.example"])
def test_another_name_of_this_host_is_refused(desk: Desk, secret: str, host: str) -> None:
    answer = post(desk, signed(secret, "by-name") | {"Host": host})
    assert answer.status_code == 421
    assert desk.rows("select 1 from ops.event_inbox where event_id = 'by-name'") == []


def test_bounds_of_forms_are_those_of_forms_alone(desk: Desk, secret: str) -> None:
    body = "\n".join(BODY for _ in range(900)) + " " * MAX_BODY
    headers = signed(secret, "long", body)
    assert len(post(desk, headers, body, "shop/batch").json()["events"]) == 900
    assert post(desk, signed(secret, "cookies") | {"Cookie": "x" * (MAX_COOKIE + 1)}
                ).status_code == 431  # fmt: skip
    # The desk's own pages do not take what the API takes.
    for path in ("/v1", "/v1events/shop", "/V1/events/shop"):
        with desk.person(Role.ADMIN) as client:
            answer = client.post(
                path, content=BODY, headers=signed(secret, "elsewhere") | ELSEWHERE
            )
        assert answer.status_code in (403, 404, 415)


def test_what_is_sent_becomes_a_row_of_the_platform(desk: Desk, secret: str) -> None:
    assert post(desk, signed(secret, "row")).json() == {"id": "row", "status": "accepted"}
    query = "select name from platform.subjects where id = 'by-event'"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (rows := desk.rows(query)):
        assert time.monotonic() < deadline, "the event is not applied"
        time.sleep(0.05)
    assert rows == [{"name": "Zoology"}]

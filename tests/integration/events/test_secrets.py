"""Secrets: what is made or ended holds in a running receiver soon, and no secret is ever told."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.conftest import Project
from tests.integration.events.conftest import Receiver
from tests.integration.events.signing import Answer, Connection, Sender, until
from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.sources.events import secrets

EVENT = {"type": "tutor.updated", "timestamp": "2026-03-02T16:00:00Z",
         "data": {"tutor_id": "T1", "name": "Ada"}}  # fmt: skip


def do(receiver: Receiver, act: Callable[..., Any], *arguments: Any) -> Any:
    with receiver.warehouse.connect() as database:
        return act(database, *arguments)


def now() -> datetime:
    return datetime.now(UTC)


def raw(sender: Sender) -> bytes:
    return base64.b64decode(sender.secret.removeprefix(secrets.PREFIX))


def is_good(sender: Sender) -> bool:
    answer = sender.batch("nothing", [])
    assert answer.status in (200, 401), answer
    return answer.status == 200


def test_secrets_are_made_exchanged_and_ended_while_it_runs(receiver: Receiver) -> None:
    first = receiver.sender("changing")

    def made(source: str, act: Callable[..., str] = secrets.add, *more: Any) -> Sender:
        return Sender(receiver.port, source, do(receiver, act, source, now(), *more))

    one, two, ending = made("numbered"), made("numbered"), made("ending")
    until(lambda: all(map(is_good, (one, two, ending))), "a secret is not taken")

    second = made("changing")
    third = made("changing", secrets.rotate, timedelta(hours=1))
    number = min(
        row["number"] for row in do(receiver, secrets.listed) if row["source"] == "numbered"
    )
    assert do(receiver, secrets.revoke, "numbered", now(), number) == 1
    made("ending", secrets.rotate, timedelta(seconds=1))  # nobody does anything when it is over
    until(lambda: is_good(second) and is_good(third), "a further secret is not taken")
    until(lambda: not is_good(one), "a secret that was ended is good still")
    until(lambda: not is_good(ending), "a secret whose time is over is good still")
    assert is_good(first)
    assert is_good(two)

    fourth = made("changing", secrets.rotate, timedelta())
    until(lambda: is_good(fourth), "the new secret is not taken")
    for each in (first, second, third):
        until(lambda each=each: not is_good(each), "one before is good still")
    assert do(receiver, secrets.revoke, "changing", now()) == 1
    until(lambda: not is_good(fourth), "a secret that was ended is good still")
    with pytest.raises(UsageError, match="no secret that is good"):
        do(receiver, secrets.revoke, "changing", now())


def refused(receiver: Receiver, source: str, headers: Any, body: bytes) -> Answer:
    with Connection(receiver.port) as connection:
        return connection.post(f"/v1/events/{source}", headers, body)


def test_whoever_is_refused_learns_nothing_and_the_pipeline_everything(
    receiver: Receiver,
) -> None:
    """One answer for every cause, the true one in the list of the rejected, and no body there."""
    good = receiver.sender("asking")
    former = receiver.sender("former")
    do(receiver, secrets.revoke, "former", now())
    until(lambda: not is_good(former), "a secret that was ended is good still")
    word = "a-word-of-the-body"
    body = json.dumps(EVENT | {"data": {"tutor_id": word}}).encode()
    right = good.headers("refused-1", body)
    late = good.headers("refused-1", body, now() - timedelta(minutes=6))
    early = good.headers("refused-1", body, now() + timedelta(minutes=6))
    other = replace(good, secret=secrets.shown(bytes(32))).headers("refused-1", body)
    latin = b'{"data": "\xe4"}'
    id_, at, _ = (value for _, value in right)
    text = hmac.digest(raw(good), b".".join([id_, at, latin]), hashlib.sha256)
    signed_latin = [*right[:2], (b"webhook-signature", b"v1," + base64.b64encode(text))]
    causes = {
        "no secret of the source makes this signature": ("asking", other, body),
        "Message timestamp too old": ("asking", late, body),
        "Message timestamp too new": ("asking", early, body),
        "webhook-id is missing": ("asking", right[1:], body),
        "webhook-id is malformed": ("asking", [(b"webhook-id", b"a b"), *right[1:]], body),
        "webhook-timestamp is malformed": (
            "asking", [right[0], (b"webhook-timestamp", b"1e9"), right[2]], body,
        ),
        "webhook-signature comes twice": ("asking", [*right, right[2]], body),
        "webhook-signature has too many signatures": (
            "asking", [*right[:2], (b"webhook-signature", b" ".join([right[2][1]] * 11))], body,
        ),
        "webhook-signature is malformed, or of another version": (
            "asking", [*right[:2], (b"webhook-signature", b"v1a," + right[2][1][3:])], body,
        ),
        "the body is not UTF-8": ("asking", signed_latin, latin),
        "the source has no secret": ("former", former.headers("refused-1", body), body),
    }  # fmt: skip
    answers = [refused(receiver, *request) for request in causes.values()]
    answers.append(refused(receiver, "nobody", right, body))
    answers.append(refused(receiver, "%F0%9F%92%A9", right, body))
    assert {each.status for each in answers} == {401}
    assert len({each.body for each in answers}) == 1
    told = [{name: each.headers[name] for name in each.headers if name != "date"}
            for each in answers]  # fmt: skip
    assert all(each == told[0] for each in told)

    def rejections() -> dict[tuple[str, str], dict[str, Any]]:
        rows = receiver.rows("select * from ops.event_rejections")
        return {(row["source"], row["reason"]): row for row in rows}

    expected = {
        ("(unknown)" if source == "former" else source, reason)
        for reason, (source, _, _) in causes.items()
    }
    until(lambda: rejections().keys() >= expected, "not all causes are counted")
    kept = list(rejections().values())
    assert word not in str(kept)
    assert word not in receiver.log
    assert {row["source"] for row in kept} <= {"(unknown)", *SOURCES}
    assert rejections()["asking", "webhook-id is missing"]["last_id"] == ""
    assert rejections()["asking", "Message timestamp too old"]["last_id"] == "refused-1"
    for reason in causes:
        assert reason in receiver.log
    assert not receiver.rows("select 1 from ops.event_inbox where event_id = 'refused-1'")


SOURCES = {"asking", "former", "changing", "numbered", "ending", "told"}


def test_reasons_are_few_whatever_is_sent(receiver: Receiver) -> None:
    """Who has no secret cannot fill the table of what was not accepted."""

    def counted() -> int:
        rows = receiver.rows("select coalesce(sum(requests), 0) as n from ops.event_rejections")
        return int(rows[0]["n"])

    body, before = json.dumps(EVENT).encode(), counted()
    with Connection(receiver.port) as connection:
        for number in range(100):
            name = b"webhook-%d" % number
            odd = [(name, b"1"), (name, b"2"), (b"webhook-id", b"\xe4%d" % number)]
            assert connection.post(f"/v1/events/s{number}", odd, body).status == 401
    until(lambda: counted() >= before + 100, "they are not counted")
    assert len(receiver.rows("select 1 from ops.event_rejections")) < 40


@pytest.mark.usefixtures("starts_something")
def test_no_secret_is_told(receiver: Receiver, tmp_path: Any, zygote: Any) -> None:
    """Neither by an answer, a page, a log, nor any list."""
    sender = receiver.sender("told")
    answers = [sender.event("told-1", EVENT), sender.event("told-2", {"type": "unknown.type"})]
    answers.append(sender.event("told-1", EVENT | {"data": {}}))
    answers.append(refused(receiver, "told", sender.headers("told-3", b"{}"), b"{ }"))
    receiver.until_applied()
    texts = [each.body.decode() + str(each.headers) for each in answers]
    for page in ("/v1/docs", "/v1/openapi.json", "/v1/docs.css", "/healthz", "/readyz"):
        with Connection(receiver.port) as connection:
            answer = connection.send(f"GET {page} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
        assert answer.status == 200
        texts.append(answer.body.decode())
    project = Project(tmp_path, receiver.warehouse.url, zygote)
    for command in (["list", "--json"], ["rejected"], ["show", "told-1"],
                    ["secrets", "list", "--json"]):  # fmt: skip
        said = project.run("events", *command)
        texts.append(said.stdout + said.stderr)
    with receiver.warehouse.connect() as database:
        tables = [name for (name,) in database.execute(
            "select table_name from information_schema.tables where table_schema = 'ops'"
            " and table_name <> 'event_secrets'")]  # fmt: skip
        texts += [str(database.rows(f"select * from {{ops}}.{table}")) for table in tables]
    texts.append(receiver.log)
    secret = raw(sender)
    forms = [base64.b64encode(secret).decode().rstrip("="), secret.hex(), repr(secret)[2:-1],
             base64.urlsafe_b64encode(secret).decode().rstrip("=")]  # fmt: skip
    for text in texts:
        assert not [each for each in forms if each in text], text
        assert "whsec_" not in text.replace("whsec_…", "")

"""What the sender sends to a real server, and what it does when that refuses or is away."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.servers import free_port
from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.sources.events.secrets import shown
from tutor_pipeline.sources.events.sending import (
    MOST_BYTES,
    MOST_LINES,
    NotTakenError,
    Receipt,
    Sender,
    StoppedError,
    batches,
)

SECRET = shown(bytes(range(32)))
Answer = tuple[int, Any, dict[str, str]]


def event(number: int, **data: Any) -> dict[str, Any]:
    return {"id": f"e{number}", "type": "tutor.updated", "timestamp": "2026-01-01T00:00:00+00:00",
            "data": {"tutor_id": f"T{number}", **data}}  # fmt: skip


class Receiver:
    """A server that verifies as the library does. `answers`: what it says next, before it takes
    anything; `requests`: what it took, as (path, id, body).
    """

    def __init__(self, port: int = 0) -> None:
        self.requests: list[tuple[str, str, bytes]] = []
        self.attempts: list[dict[str, str]] = []
        self.answers: list[Answer] = []
        self._connections: list[socket.socket] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                outer._connections.append(self.connection)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.attempts.append(headers)
                status, said, more = outer.answer(self.path, headers, body)
                text = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(text)), **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        Webhook(SECRET).verify(body, headers, json_parse=False)
        if self.answers:
            return self.answers.pop(0)
        self.requests.append((path, headers["webhook-id"], body))
        if path.endswith("/batch"):
            lines = [json.loads(line) for line in body.splitlines()]
            return 200, {"events": [{"id": e["id"], "status": "accepted"} for e in lines]}, {}
        return 200, {"id": headers["webhook-id"], "status": "accepted"}, {}

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def receiver(starts_something: None) -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.stop()


class Waiting:
    """Waits for nothing, and notes for how long it was to wait."""

    def __init__(self, then: Callable[[int], bool] = lambda _: False) -> None:
        self.seconds: list[float] = []
        self._then = then

    def __call__(self, seconds: float) -> bool:
        self.seconds.append(seconds)
        return self._then(len(self.seconds))


def sender(receiver: Receiver, **options: Any) -> Sender:
    return made(receiver.url, SECRET, **options)


def made(url: str, secret: str, **options: Any) -> Sender:
    return Sender(url, "shop", secret, **{"clock": lambda: datetime.now(UTC), **options})


def test_one_event_is_signed_and_its_id_is_in_the_header(receiver: Receiver) -> None:
    assert sender(receiver).send(event(1, name="Zoë")) == Receipt("e1", "accepted")
    ((path, id_, body),) = receiver.requests
    assert (path, id_) == ("/v1/events/shop", "e1")
    sent = event(1, name="Zoë")
    del sent["id"]
    assert json.loads(body) == sent


def test_many_events_go_in_batches_with_a_signature_each(receiver: Receiver) -> None:
    receipts = list(sender(receiver).send_all(event(number) for number in range(2_500)))
    assert [len(each) for each in receipts] == [1_000, 1_000, 500]
    assert [r.event_id for each in receipts for r in each] == [f"e{n}" for n in range(2_500)]
    paths, ids, bodies = zip(*receiver.requests, strict=True)
    assert set(paths) == {"/v1/events/shop/batch"}
    assert len(set(ids)) == 3
    assert [json.loads(line) for line in b"".join(bodies).splitlines()][7] == event(7)


def test_a_batch_keeps_both_bounds() -> None:
    long = [event(number, bio="é" * 3_000) for number in range(700)]
    made = list(batches(long))
    assert [line for lines in made for line in lines] == [json.dumps(e) + "\n" for e in long]
    sizes = [len("".join(lines).encode()) for lines in made]
    assert len(sizes) > 1
    assert max(sizes) <= MOST_BYTES
    assert sum(sizes[:2]) > MOST_BYTES, "one is as full as it may be"
    assert [len(lines) for lines in batches(map(event, range(2 * MOST_LINES)))] == [1_000, 1_000]
    assert list(batches([])) == []


def test_what_the_receiver_says_of_each_line_is_told(receiver: Receiver) -> None:
    told = [
        {"id": "e1", "status": "duplicate"},
        {"id": "e2", "status": "conflict"},
        {"id": "e3", "status": "accepted", "problems": ["hourly_rate_out_of_range"]},
    ]
    receiver.answers = [(200, {"events": told}, {}), (200, told, {})]
    events = [event(1), event(2), event(3)]
    wanted = [Receipt("e1", "duplicate"), Receipt("e2", "conflict"),
              Receipt("e3", "accepted", ("hourly_rate_out_of_range",))]  # fmt: skip
    assert list(sender(receiver).send_all(events)) == [wanted]
    assert list(sender(receiver).send_all(events)) == [wanted]


def test_another_event_of_that_id_is_a_conflict(receiver: Receiver) -> None:
    receiver.answers = [(409, {"message": "Another event has this id."}, {})]
    assert sender(receiver).send(event(1)) == Receipt("e1", "conflict")


def test_busy_receivers_are_asked_again_when_they_say(receiver: Receiver) -> None:
    busy: list[Answer] = [
        (429, {"message": "Too fast."}, {"Retry-After": "7"}),
        (503, {"message": "Away."}, {"Retry-After": "900"}),
        (500, b"<html>", {}),
        (502, b"", {"Retry-After": "soon"}),
    ]
    receiver.answers = list(busy)
    waiting = Waiting()
    assert sender(receiver, wait=waiting).send(event(1)) == Receipt("e1", "accepted")
    assert waiting.seconds == [7, 60, 2, 4], "as they say, a minute at most; else longer each time"
    assert len(receiver.attempts) == len(busy) + 1


def test_each_attempt_is_signed_anew(receiver: Receiver) -> None:
    receiver.answers = [(503, {}, {})]
    moments = iter([datetime.now(UTC) - timedelta(seconds=90), datetime.now(UTC)])
    sender(receiver, wait=Waiting(), clock=lambda: next(moments)).send(event(1))
    first, second = receiver.attempts
    assert first["webhook-id"] == second["webhook-id"]
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) in (90, 91)
    assert first["webhook-signature"] != second["webhook-signature"]


def test_a_receiver_that_goes_away_is_waited_for(receiver: Receiver) -> None:
    told: list[str] = []
    again: list[Receiver] = []

    def come_back(times: int) -> bool:
        if times == 3:
            again.append(Receiver(receiver.port))
        return False

    to = sender(receiver, tell=told.append, wait=Waiting(come_back))
    to.send(event(1))
    receiver.stop()
    try:
        assert to.send(event(2)) == Receipt("e2", "accepted")
        assert [body for _, body, _ in again[0].requests] == ["e2"]
    finally:
        again[0].stop()
    assert "takes nothing just now" in told[0]
    assert "takes events again" in told[1]
    assert len(told) == 2


def test_told_to_stop_it_no_longer_waits(receiver: Receiver) -> None:
    receiver.answers = [(503, {}, {})] * 5
    with pytest.raises(StoppedError):
        sender(receiver, wait=Waiting(lambda times: times == 2)).send(event(1))
    assert len(receiver.attempts) == 2


def test_an_address_that_never_answered_is_given_up(
    starts_something: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tutor_pipeline.sources.events.sending._UNREACHED_SECONDS", 0)
    to = made(f"http://127.0.0.1:{free_port()}", SECRET, wait=Waiting())
    with pytest.raises(NotTakenError, match=r"does not answer: .*[Cc]onnection refused"):
        to.send(event(1))


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, {"message": "Usual causes: another secret."}, "not accepted (401). It says: Usual"),
        (403, {"message": "Send to events serve."}, "(403). It says: Send to events serve."),
        (404, b"nothing here\x1b[2J", "nothing takes events at this address (404)"),
        (413, {"message": "Too long."}, "(413). It says: Too long."),
        (302, b"", "(302). It says: nothing"),
        (200, b"<html>welcome</html>", "this is no receiver of events"),
        (200, {"events": [{"id": "e1"}]}, "this is no receiver of events"),
    ],
)
def test_what_is_refused_is_told_and_not_sent_again(
    receiver: Receiver, status: int, body: Any, says: str
) -> None:
    for send in (lambda to: to.send(event(1)), lambda to: list(to.send_all([event(1)]))):
        receiver.answers = [(status, body, {"Location": "http://127.0.0.1:9/"})]
        with pytest.raises(NotTakenError) as refused:
            send(sender(receiver, wait=Waiting()))
        assert says in str(refused.value)
        assert "\x1b" not in str(refused.value)
    assert len(receiver.attempts) == 2


@pytest.mark.parametrize(
    "url",
    ["", "desk", "127.0.0.1:3040", "ftp://127.0.0.1/", "http://", "http://[::1", "http://a/?b"],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        made(url, SECRET)


def test_an_address_may_end_in_a_slash() -> None:
    assert made("https://a.test/desk/", SECRET).url == "https://a.test/desk/v1/events/shop"


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "pa55word", SECRET.removeprefix("whsec_"), "whsec_é"]
)
def test_what_is_no_secret_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(UsageError, match="it begins with whsec_") as refused:
        made("http://127.0.0.1", secret)
    assert (secret.removeprefix("whsec_") or "pa55word") not in str(refused.value)

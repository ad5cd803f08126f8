"""What a receiver takes at most: bytes, lines, seconds, requests at once, events a second."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from tests.integration.events.conftest import Receiver
from tests.integration.events.signing import Answer, Connection, Sender, chunked, head, until
from tutor_pipeline.core.warehouse.database import Warehouse

MB = 1024 * 1024
LONGEST, LONGEST_BATCH = 20 * 1024, 5 * MB
EVENT = {"type": "tutor.updated", "timestamp": "2026-03-02T16:00:00Z",
         "data": {"tutor_id": "T1", "name": "Ada"}}  # fmt: skip

Start = Callable[..., tuple[Receiver, Sender]]


@pytest.fixture(scope="module")
def shop(receiver: Receiver) -> Sender:
    return receiver.sender("shop")


@pytest.fixture
def start(platform_warehouse: Warehouse, tmp_path: Path) -> Iterator[Start]:
    """`start(name=bound, …)` serves a receiver with other bounds."""
    made = []

    def start(**limits: Any) -> tuple[Receiver, Sender]:
        receiver = Receiver(platform_warehouse, tmp_path, limits)
        made.append(receiver)
        receiver.start()
        return receiver, receiver.sender(f"source-{len(made)}-{time.monotonic_ns()}")

    yield start
    for receiver in made:
        receiver.kill()


def of_length(bytes_: int) -> bytes:
    """An event that is so long."""
    empty = len(json.dumps(EVENT | {"data": {"tutor_id": "T1", "name": ""}}))
    name = "x" * (bytes_ - empty)
    return json.dumps(EVENT | {"data": {"tutor_id": "T1", "name": name}}).encode()


def in_chunks(sender: Sender, id_: str, body: bytes, path: str = "") -> Answer:
    headers = [*sender.headers(id_, body), (b"transfer-encoding", b"chunked")]
    return sender.connection.send(head(sender.path + path, headers), chunked(body, 5_000))


def test_an_event_of_twenty_kilobytes_and_one_of_a_byte_more(shop: Sender) -> None:
    assert shop.event("exact", of_length(LONGEST)).status == 200
    assert shop.event("more", of_length(LONGEST + 1)).status == 413
    assert in_chunks(shop, "exact", of_length(LONGEST)).said == "duplicate"
    answer = in_chunks(shop, "more", of_length(LONGEST + 1))
    assert (answer.status, answer.json["message"]) == (
        413,
        "The body is longer than 20 kB. Several events go to …/batch, one a line.",
    )


def test_what_is_said_to_be_too_long_is_not_read(receiver: Receiver, shop: Sender) -> None:
    """The answer comes before any of the body, also where the sender waits to be asked for it."""
    for path, length in (("", LONGEST), ("/batch", LONGEST_BATCH)):
        for more in ([], [(b"expect", b"100-continue")]):
            headers = [*shop.headers("x", b""), (b"content-length", b"%d" % (length + 1)), *more]
            with Connection(receiver.port) as connection:
                assert connection.send(head(shop.path + path, headers)).status == 413


def test_a_batch_of_a_thousand_lines_and_of_one_more(shop: Sender) -> None:
    lines = [{"id": f"line-{number}", **EVENT} for number in range(1_001)]
    told = shop.batch("thousand", lines[:1_000]).json["events"]
    assert [each["status"] for each in told] == ["accepted"] * 1_000
    assert [each["id"] for each in told] == [each["id"] for each in lines[:1_000]]
    assert shop.batch("more", lines).status == 413
    # Blank lines are none.
    blanks = [b"", *([b" \r"] * 3_000), json.dumps(lines[0]).encode(), b""]
    assert shop.batch("blanks", blanks).json["events"] == [{"id": "line-0", "status": "duplicate"}]


def test_of_a_batch_one_line_may_be_too_long(receiver: Receiver, shop: Sender) -> None:
    told = shop.batch("some", [of_length(LONGEST + 1), of_length(LONGEST), of_length(400_000)])
    assert told.json["events"] == [
        {"id": "some:1", "status": "too_long"},
        {"id": "some:2", "status": "accepted"},
        {"id": "some:3", "status": "too_long"},
    ]
    assert len(receiver.rows("select 1 from ops.event_inbox where event_id like 'some:%%'")) == 1


def test_a_batch_of_five_megabytes_and_of_a_byte_more(shop: Sender) -> None:
    lines = [of_length(LONGEST) for _ in range(255)]
    body = b"\n".join(lines)
    body += b" " * (LONGEST_BATCH - len(body))
    assert len(shop.batch("exact-batch", [body]).json["events"]) == 255
    assert shop.batch("more-batch", [body + b" "]).status == 413
    assert in_chunks(shop, "more-batch", body + b" ", "/batch").status == 413


@pytest.mark.parametrize("line", [b"\n", b" \n", b"a\n"])
def test_of_a_batch_of_nothing_but_lines_little_is_kept(
    receiver: Receiver, shop: Sender, line: bytes
) -> None:
    body = line * (LONGEST_BATCH // len(line))
    with watched(receiver) as most:
        assert shop.batch("lines", [body]).status == (413 if line.strip() else 200)
    assert most() < 80 * MB


@pytest.mark.parametrize("kind", [b"gzip", b"br", b"deflate", b"GZIP", b"gzip, identity"])
def test_a_compressed_body_is_refused(shop: Sender, kind: bytes) -> None:
    body = json.dumps(EVENT).encode()
    headers = [*shop.headers("packed", body), (b"content-encoding", kind)]
    assert shop.connection.post(shop.path, headers, body).status == 415
    assert shop.connection.post(f"{shop.path}/batch", headers, body).status == 415


@contextmanager
def watched(receiver: Receiver) -> Iterator[Callable[[], int]]:
    """Yields a function that returns by how many bytes the receiver's memory grew at most."""
    assert receiver.process is not None
    process = psutil.Process(receiver.process.pid)
    before = process.memory_info().rss
    grown = [0]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.005):
            grown.append(process.memory_info().rss - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: max(grown)
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize(
    ("path", "is_signed", "expected"),
    [("", True, 413), ("/batch", True, 413), ("/batch", False, 401)],
)
def test_memory_does_not_follow_a_body(
    receiver: Receiver, shop: Sender, path: str, is_signed: bool, expected: int
) -> None:
    """200 MB in chunks. The answer is there before the end; the rest is thrown away."""
    headers = shop.headers("large", b"") if is_signed else []
    chunk = b"%x\r\n%b\r\n" % (MB, b"x" * MB)
    with watched(receiver) as most, Connection(receiver.port) as connection:
        stream = connection.open()
        stream.sendall(head(shop.path + path, [*headers, (b"transfer-encoding", b"chunked")]))
        for _ in range(200):
            stream.sendall(chunk)
        stream.sendall(b"0\r\n\r\n")
        assert connection.answer().status == expected
    assert most() < 40 * MB
    assert shop.event("exact", of_length(LONGEST)).status == 200


def test_a_slow_sender_is_told_so_and_loses_the_connection(start: Start) -> None:
    """By drips, and by nothing more; with a right signature or without one."""
    receiver, sender = start(seconds=1.5)
    body = json.dumps(EVENT).encode()

    def drip(every: float | None) -> tuple[Answer, float, bool]:
        with Connection(receiver.port) as connection:
            stream = connection.open()
            began = time.monotonic()
            headers = [*sender.headers("slow", body), (b"content-length", b"%d" % len(body))]
            stream.sendall(head(sender.path, headers) + body[:5])
            if every is not None:
                stream.settimeout(every)
                for at in range(5, len(body) - 1):
                    stream.sendall(body[at : at + 1])
                    try:
                        # What came is read below.
                        if stream.recv(1, 2):  # MSG_PEEK
                            break
                    except TimeoutError:
                        continue
                stream.settimeout(60)
            answer = connection.answer()
            return answer, time.monotonic() - began, connection._socket is None

    with ThreadPoolExecutor(3) as threads:
        for answer, took, is_closed in threads.map(drip, [None, 0.1, 0.02]):
            assert answer.status == 408
            assert answer.json["message"] == "The request took longer than 1.5 s; send it again."
            assert took >= 1.5
            assert is_closed
    assert sender.event("slow", body).said == "accepted"
    receiver_reasons = "select reason, last_id from ops.event_rejections where source = %s"
    until(
        lambda: (
            {"reason": "it took too long to come in", "last_id": "slow"}
            in receiver.rows(receiver_reasons, sender.source)
        ),
        "a slow request is not counted",
    )


def test_of_requests_that_are_not_verified_few_are_held(start: Start) -> None:
    receiver, sender = start(seconds=120, unverified=32)
    body = json.dumps(EVENT).encode()

    def is_full() -> bool:
        answer = sender.event("probe", body)
        if answer.status == 503:
            assert int(answer.headers["retry-after"]) >= 1
        return answer.status == 503

    with ExitStack() as stack:
        held = []
        for number in range(32):
            connection = stack.enter_context(Connection(receiver.port))
            held.append(connection)
            headers = sender.headers(f"held-{number}", body)
            length = (b"content-length", b"%d" % len(body))
            connection.open().sendall(head(sender.path, [*headers, length]) + body[:9])
        until(is_full, "an unlimited number of requests is held")
        for path in ("/healthz", "/readyz", "/v1/docs"):
            assert receiver.get(path) == 200
        # One that goes makes room, and so do those that are verified.
        held.pop().close()
        until(lambda: not is_full(), "whoever went takes room still")
        for connection in held:
            connection.open().sendall(body[9:])
        assert {connection.answer().said for connection in held} == {"accepted"}
    assert sender.event("probe", body).said == "duplicate"


def test_those_that_are_verified_take_no_room(start: Start) -> None:
    """More of them than may be unverified wait for the database; others come in all the same."""
    receiver, sender = start(seconds=120, unverified=4)
    with ExitStack() as stack, psycopg.connect(receiver.warehouse.url) as holder:
        holder.execute("lock table ops.event_inbox in share mode")
        waiting = [stack.enter_context(Connection(receiver.port)) for _ in range(12)]
        body = json.dumps(EVENT).encode()
        for number, connection in enumerate(waiting):
            connection.open().sendall(
                head(sender.path, [*sender.headers(f"w-{number}", body),
                                   (b"content-length", b"%d" % len(body))]) + body
            )  # fmt: skip
        # Something that is not stored is answered: a slot is free.
        until(lambda: sender.batch("nothing", []).status == 200, "those that wait take room")
        holder.rollback()
        answers = [connection.answer() for connection in waiting]
    # What found no room at once was asked to come again.
    assert {each.status for each in answers} <= {200, 503}
    stored = receiver.rows("select 1 from ops.event_inbox where event_id like 'w-%%'")
    assert len(stored) == sum(each.status == 200 for each in answers) > 4


def test_too_many_a_second_is_of_one_source_and_counted_when_signed(start: Start) -> None:
    # So slow that nothing comes back while the test runs.
    receiver, sender = start(per_second=0.001, burst=10)
    other = receiver.sender(f"{sender.source}-2")
    body = json.dumps(EVENT).encode()
    wrong = [(name, value.replace(b"v1,", b"v1,A")[:47]) for name, value in
             sender.headers("wrong", body)]  # fmt: skip
    for _ in range(30):
        assert sender.connection.post(sender.path, wrong, body).status == 401
    lines = [{"id": f"a-{number}", **EVENT} for number in range(11)]
    refused = sender.batch("eleven", lines)
    assert refused.status == 429
    assert int(refused.headers["retry-after"]) == 1_000
    assert sender.batch("ten", lines[:10]).status == 200
    for _ in range(3):
        one = sender.event("one", body)
        assert (one.status, int(one.headers["retry-after"]) > 900) == (429, True)
    assert other.event("one", body).said == "accepted"
    assert (
        len(receiver.rows("select 1 from ops.event_inbox where source = %s", sender.source)) == 10
    )
    until(
        lambda: (
            {"reason": "too fast", "requests": 4, "last_id": "one"}
            in receiver.rows(
                "select reason, requests, last_id from ops.event_rejections where source = %s",
                sender.source,
            )
        ),
        "what comes too fast is not counted",
    )


def test_headers_without_end(receiver: Receiver, shop: Sender) -> None:
    for number, length in ((1, 2_000_000), (20_000, 100)):
        with Connection(receiver.port) as connection:
            many = [(b"x-%d" % at, b"x" * length) for at in range(number)]
            try:
                status = connection.send(head(shop.path, many)).status
            except OSError:
                status = 0  # it stopped to listen
            assert status in (0, 400, 431)
    assert shop.event("exact", of_length(LONGEST)).status == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"])
def test_other_methods_take_nothing(receiver: Receiver, shop: Sender, method: str) -> None:
    body = json.dumps(EVENT).encode()
    lines = head(shop.path, [*shop.headers(f"by-{method}", body),
                             (b"content-length", b"%d" % len(body))])  # fmt: skip
    with Connection(receiver.port) as connection:
        connection.open().sendall(lines.replace(b"POST", method.encode(), 1) + body)
        assert connection.open().recv(12).split()[1] == b"405"
    assert not receiver.rows("select 1 from ops.event_inbox where event_id = %s", f"by-{method}")

"""An id is one event: sent again it is a duplicate, with another body a conflict, however many
send it at once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from tests.integration.events.conftest import Receiver
from tests.integration.events.signing import Answer, Connection, Sender

EVENT = {"type": "tutor.updated", "timestamp": "2026-03-02T16:00:00Z",
         "data": {"tutor_id": "T1", "name": "Ada"}}  # fmt: skip


@pytest.fixture(scope="module")
def shop(receiver: Receiver) -> Sender:
    return receiver.sender("shop")


@pytest.fixture(scope="module")
def second(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """Another receiver of the same database, as the desk is one beside `events serve`."""
    made = Receiver(receiver.warehouse, tmp_path_factory.mktemp("second"))
    made.start()
    yield made
    made.kill()


def at_once(ports: Sequence[int], path: str, requests: Sequence[tuple[object, bytes]]) -> list[
    Answer
]:  # fmt: skip
    """Posts requests (headers, body) at the same moment, each by a connection of its own."""
    barrier = Barrier(len(requests))

    def post(number: int) -> Answer:
        headers, body = requests[number]
        with Connection(ports[number % len(ports)]) as connection:
            connection.open()
            barrier.wait(60)
            return connection.post(path, headers, body)  # type: ignore[arg-type]

    with ThreadPoolExecutor(len(requests)) as threads:
        return list(threads.map(post, range(len(requests))))


def stored(receiver: Receiver, id_: str) -> list[str]:
    rows = receiver.rows("select body from ops.event_inbox where event_id = %s", id_)
    return [json.loads(row["body"])["data"]["name"] for row in rows]


def test_a_replay_is_a_duplicate(receiver: Receiver, shop: Sender) -> None:
    """The very same request, its headers in any case; signed anew; and with its body written in
    another way.
    """
    body = json.dumps(EVENT).encode()
    headers = shop.headers("replayed", body)
    said = [shop.connection.post(shop.path, headers, body).said for _ in range(3)]
    upper = [(name.upper(), value) for name, value in headers[::-1]]
    said.append(shop.connection.post(shop.path, upper, body).said)
    said.append(shop.event("replayed", EVENT).said)
    said.append(shop.event("replayed", json.dumps(EVENT, indent=2, sort_keys=True).encode()).said)
    assert said == ["accepted", *["duplicate"] * 5]
    assert stored(receiver, "replayed") == ["Ada"]
    receiver.until_applied()
    assert shop.event("replayed", EVENT).said == "duplicate"
    other = shop.event("replayed", EVENT | {"data": {"tutor_id": "T1", "name": "Bob"}})
    assert other.status == 409
    assert stored(receiver, "replayed") == ["Ada"]


def test_ids_of_two_sources_are_two(receiver: Receiver, shop: Sender) -> None:
    other = receiver.sender("other")
    assert [each.event("common", EVENT).said for each in (shop, other)] == ["accepted"] * 2
    assert len(stored(receiver, "common")) == 2


def test_fifty_at_once_are_one_event(receiver: Receiver, second: Receiver, shop: Sender) -> None:
    body = json.dumps(EVENT).encode()
    requests = [(shop.headers("fifty", body), body)] * 50
    ports = [receiver.port, second.port]
    answers = at_once(ports, shop.path, requests)
    # Each that is asked to come again comes again.
    while late := [each for each in answers if each.status == 503]:
        assert all(int(each.headers["retry-after"]) >= 1 for each in late)
        answers = [each for each in answers if each.status != 503]
        answers += at_once(ports, shop.path, requests[: len(late)])
    assert Counter(each.said for each in answers) == {"accepted": 1, "duplicate": 49}
    assert stored(receiver, "fifty") == ["Ada"]


@pytest.mark.parametrize("attempt", range(5))
def test_of_two_bodies_one_is_taken(
    receiver: Receiver, second: Receiver, shop: Sender, attempt: int
) -> None:
    id_ = f"race-{attempt}"
    requests = []
    for number in range(20):
        data = {"tutor_id": "T1", "name": "AB"[number % 2]}
        body = json.dumps(EVENT | {"data": data}).encode()
        requests.append((shop.headers(id_, body), body))
    # Both receivers get both bodies.
    ports = [receiver.port, receiver.port, second.port, second.port]
    answers = at_once(ports, shop.path, requests)
    (winner,) = stored(receiver, id_)
    by_name = {
        name: Counter(answer.status for answer in answers["AB".index(name) :: 2]) for name in "AB"
    }
    assert by_name.pop(winner) == {200: 10}
    assert list(by_name.values()) == [{409: 10}]
    assert Counter(each.said for each in answers if each.status == 200)["accepted"] == 1


def test_batches_with_the_same_ids_in_another_order(
    receiver: Receiver, second: Receiver, shop: Sender
) -> None:
    """Two receivers store the same ids at once: none waits for the other for ever."""
    ids = [f"line-{number}" for number in range(200)]
    requests = []
    for turn in range(8):
        order = ids if turn % 2 else ids[::-1]
        body = b"\n".join(json.dumps({"id": each, **EVENT}).encode() for each in order)
        requests.append((shop.headers(f"batch-{turn}", body), body))
    counts: Counter[str] = Counter()
    while requests:
        answers = at_once([receiver.port, second.port], f"{shop.path}/batch", requests)
        again = []
        for request, answer in zip(requests, answers, strict=True):
            assert answer.status in (200, 503)
            if answer.status == 503:
                again.append(request)
            else:
                counts.update(each["status"] for each in answer.json["events"])
        requests = again
    assert counts == {"accepted": 200, "duplicate": 1400}
    rows = receiver.rows("select count(*) from ops.event_inbox where event_id like 'line-%%'")
    assert rows == [{"count": 200}]


def test_an_id_twice_in_one_batch(receiver: Receiver, shop: Sender) -> None:
    other = EVENT | {"data": {"tutor_id": "T1", "name": "Bob"}}
    answer = shop.batch(
        "twice", [{"id": "t-1", **each} for each in (EVENT, EVENT, other)] + [b"", b"  ", b"no"]
    )
    assert answer.json["events"] == [
        {"id": "t-1", "status": "accepted"},
        {"id": "t-1", "status": "duplicate"},
        {"id": "t-1", "status": "conflict"},
        {"id": "twice:6", "status": "accepted", "problems": ["malformed_json"]},
    ]
    assert stored(receiver, "t-1") == ["Ada"]


def test_who_is_asked_to_come_again_and_does_is_not_doubled(
    receiver: Receiver, shop: Sender, tmp_path: Path
) -> None:
    """A receiver that ends while it stores: what it acknowledged is there, once."""
    made = Receiver(receiver.warehouse, tmp_path)
    made.start()
    own = Sender(made.port, shop.source, shop.secret)
    assert own.event("before-the-end", EVENT).said == "accepted"
    made.stop()
    assert made.log.count("Traceback") == 0, made.log
    assert shop.event("before-the-end", EVENT).said == "duplicate"

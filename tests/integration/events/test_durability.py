"""What was acknowledged has its effect, once, whatever is killed or away meanwhile."""

from __future__ import annotations

import itertools
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Databases
from tests.integration.events.conftest import Receiver
from tests.integration.events.signing import Answer, Sender, until
from tests.postgres import PostgresServer, Proxy
from tests.unit.sources.events.lives import Event, in_peace, life, outcomes, platform
from tutor_pipeline.core.warehouse import migrate
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.platform import ensure_platform
from tutor_pipeline.sources.events.receiver.known_secrets import FRESH_SECONDS


@dataclass
class Client:
    """Sends a life, one event or several at once, and each again until it is acknowledged."""

    sender: Sender
    events: Iterator[Event]
    chance: random.Random
    acknowledged: list[Event] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    is_ending: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        for number in itertools.count():
            if self.is_ending.is_set():
                return
            some = list(itertools.islice(self.events, self.chance.choice([1, 1, 1, 2, 5, 40])))
            # What was sent is sent until it is known what became of it.
            while not self._is_taken(number, some):
                time.sleep(0.01)
            self.acknowledged += some

    def _is_taken(self, number: int, some: list[Event]) -> bool:
        try:
            if len(some) == 1 and number % 2:
                (event,) = some
                rest = {name: each for name, each in event.items() if name != "id"}
                answer = self.sender.event(event["id"], rest)
            else:
                answer = self.sender.batch(f"batch-{number}", some)
        except OSError:
            return False
        self.answers.append(answer)
        assert answer.status in (200, 503), answer
        return answer.status == 200


@pytest.fixture
def calm(databases: Databases) -> Warehouse:
    """Another platform."""
    made = Warehouse(databases.create())
    with made.connect() as database:
        ensure_platform(database)
    return made


def sending(client: Client, meanwhile: Callable[[], None]) -> None:
    """Sends while something happens."""
    with ThreadPoolExecutor(1) as threads:
        told = threads.submit(client.run)
        try:
            meanwhile()
        finally:
            client.is_ending.set()
            if told.running():
                told.result(120)


def killed_at_any_moment(receiver: Receiver, calm: Warehouse, seed: int, kills: int) -> None:
    chance = random.Random(seed)
    client = Client(receiver.sender(), life(random.Random(seed)), random.Random(seed + 1))

    def kill() -> None:
        for _ in range(kills):
            time.sleep(chance.choice([0, 0.01, 0.05, 0.2, 0.5]) * chance.random())
            receiver.kill()
            receiver.start()

    sending(client, kill)
    receiver.until_applied()
    in_peace(calm, client.acknowledged)
    assert client.acknowledged
    assert outcomes(receiver.warehouse) == outcomes(calm)
    assert platform(receiver.warehouse) == platform(calm)


def test_kills_at_any_moment(
    platform_warehouse: Warehouse, tmp_path: Path, calm: Warehouse
) -> None:
    receiver = Receiver(platform_warehouse, tmp_path)
    receiver.start()
    try:
        killed_at_any_moment(receiver, calm, random.SystemRandom().getrandbits(32), 5)
    finally:
        receiver.kill()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_many_kills(databases: Databases, tmp_path: Path, calm: Warehouse, seed: int) -> None:
    warehouse = Warehouse(databases.create())
    with warehouse.connect() as database:
        ensure_platform(database)
    receiver = Receiver(warehouse, tmp_path)
    receiver.start()
    try:
        killed_at_any_moment(receiver, calm, seed, 25)
    finally:
        receiver.kill()


def died(receiver: Receiver) -> bool:
    assert receiver.process is not None
    return receiver.process.poll() == -signal.SIGKILL


def is_applied(receiver: Receiver, id_: str) -> bool:
    waiting = "select 1 from ops.event_inbox where state = 'waiting' limit 1"
    stored = "select 1 from ops.event_inbox where event_id = %s"
    return bool(receiver.rows(stored, id_)) and not receiver.rows(waiting)


@pytest.mark.long
def test_a_kill_before_each_statement(
    databases: Databases, tmp_path: Path, calm: Warehouse
) -> None:
    """Of receiving and applying. What is killed was not told; it is sent again."""
    warehouse = Warehouse(databases.create())
    with warehouse.connect() as database:
        ensure_platform(database)
    receiver = Receiver(warehouse, tmp_path)
    receiver.start()
    sender = receiver.sender()
    events = life(random.Random(1))
    sent: list[Event] = []
    try:
        for number in itertools.count():
            receiver.kill()
            receiver.start(dies_at=number)
            assert receiver.process is not None
            receiver.process.send_signal(signal.SIGUSR1)
            some = list(itertools.islice(events, 30))
            sent += some
            with suppress(OSError):
                sender.batch(f"batch-{number}", some)
            last = some[-1]["id"]
            until(lambda last=last: died(receiver) or is_applied(receiver, last), "neither")
            if not died(receiver):
                break
        receiver.kill()
        receiver.start()
        for start in range(0, len(sent), 500):
            assert sender.batch(f"again-{start}", sent[start : start + 500]).status == 200
        receiver.until_applied()
    finally:
        receiver.kill()
    assert len(sent) > 30 * 30, "it has more statements than that"
    in_peace(calm, sent)
    assert outcomes(warehouse) == outcomes(calm)
    assert platform(warehouse) == platform(calm)


@pytest.fixture(scope="module")
def server(starts_something: None) -> Iterator[PostgresServer]:
    """A server of its own, which may go."""
    with PostgresServer() as server:
        server.create("pushed")
        warehouse = Warehouse(server.url("pushed"))
        migrate.upgrade(warehouse)
        with warehouse.connect() as database:
            ensure_platform(database)
        yield server


def together(sender: Sender, requests: int) -> list[Answer]:
    """Sends events at once, each by a connection of its own."""

    def send(number: int) -> Answer:
        own = replace(sender)
        event = {"type": "tutor.updated", "timestamp": "2026-03-02T16:00:00Z", "data": {}}
        return own.event(f"at-once-{number}", event)

    with ThreadPoolExecutor(requests) as threads:
        return list(threads.map(send, range(requests)))


def test_a_database_that_goes_and_comes_back(
    server: PostgresServer, tmp_path: Path, calm: Warehouse
) -> None:
    receiver = Receiver(Warehouse(server.url("pushed")), tmp_path)
    receiver.start()
    sender = receiver.sender()
    client = Client(sender, life(random.Random(3)), random.Random(4))
    seen: dict[str, Any] = {}

    def meanwhile() -> None:
        until(lambda: len(client.acknowledged) > 50, "nothing is sent")
        server.stop()
        try:
            # What was asked before it went may be answered still.
            until(lambda: client.answers[-1].status == 503, "nobody is told that it is away")
            seen["away from"] = len(client.answers)
            until(lambda: len(client.answers) > seen["away from"] + 1, "no answer while it is away")
            seen["together"] = together(sender, 40)
            seen["away to"] = len(client.answers)
        finally:
            server.start()
        count = len(client.acknowledged)
        until(lambda: len(client.acknowledged) > count + 50, "it does not recover")

    try:
        sending(client, meanwhile)
        away = client.answers[seen["away from"] : seen["away to"]] + seen["together"]
        assert {each.status for each in away} == {503}
        assert all(int(each.headers["retry-after"]) >= 1 for each in away)
        assert {each.json["message"] for each in away} <= {
            "Nothing was stored: the database does not answer. Send it again later.",
            "Too many requests come in at this moment. Send it again later.",
        }
        receiver.until_applied()
        assert "Traceback" not in receiver.log, receiver.log
    finally:
        receiver.kill()
    in_peace(calm, client.acknowledged)
    assert outcomes(receiver.warehouse) == outcomes(calm)
    assert platform(receiver.warehouse) == platform(calm)


def test_a_database_that_does_not_answer(server: PostgresServer, tmp_path: Path) -> None:
    """It is there and says nothing: whoever sends is told in time, and not that he is slow."""
    proxy = Proxy(server.url("pushed"))
    warehouse = Warehouse(server.url("pushed"))
    receiver = Receiver(Warehouse(proxy.url), tmp_path, {"seconds": 2})
    try:
        receiver.start()
        sender = receiver.sender("frozen")
        assert together(sender, 1)[0].said == "accepted"
        with proxy.frozen():
            answers = together(sender, 20)
            # The secrets are old now, and cannot be read anew.
            time.sleep(FRESH_SECONDS)
            answers += together(sender, 20)
        assert {each.status for each in answers} == {503}
        assert all(int(each.headers["retry-after"]) >= 1 for each in answers)
        until(lambda: together(sender, 1)[0].status == 200, "it does not recover")
        assert {each.status for each in together(sender, 20)} == {200}
    finally:
        receiver.kill()
        proxy.stop()
    with warehouse.connect() as database:
        stored = "select count(*) from {ops}.event_inbox where source = 'frozen'"
        assert database.value(stored) == 20
        reasons = database.rows("select reason from {ops}.event_rejections where source = 'frozen'")
    assert reasons == [], "none of it was the sender's fault"

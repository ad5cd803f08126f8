"""Events that are pushed: how fast they are acknowledged, how soon they count, what kills lose.

    .venv/bin/python benchmarks/events.py acknowledge            # 60 s at 500 events a second
    .venv/bin/python benchmarks/events.py alert                  # beside rows that are committed
    .venv/bin/python benchmarks/events.py endurance              # an hour at 50/s, with kills
    .venv/bin/python benchmarks/events.py endurance --for 180 --every 20

acknowledge  milliseconds from the moment at which an event is due to its answer, one event a
             request, each signed; and until it is applied. Beside it, as the baseline of the same
             run, requests for /healthz at the same pace: what the server takes for nothing at all.
alert        under `tutor-pipeline up`: seconds from the answer of a POST to the commit of the pass
             that took the session, beside those from the COMMIT of a row that is written to the
             platform directly, in turns.
endurance    `tutor-pipeline events serve` and its PostgreSQL are killed at random (-9) and started
             again, while a sender goes on, and sends again what was not acknowledged. At the end
             every acknowledged event is compared with the platform's rows. Shows what was lost and
             what counts twice, the age of the queue after each kill, and the receiver's memory.

Each gets an embedded server and a home of its own in a temporary folder.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import psycopg

COMMAND = [sys.executable, "-c", "from tutor_pipeline.cli import main; main()"]
SOURCE = "benchmark"
TUTORS = 50
_LOCAL = threading.local()


def command(*arguments: str) -> str:
    """Runs a verb. Returns what it prints."""
    return subprocess.run(
        [*COMMAND, *arguments], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True,
    ).stdout  # fmt: skip


def connect() -> psycopg.Connection[Any]:
    """A connection to the home's database."""
    from tutor_pipeline.core.settings import load_settings

    return psycopg.connect(load_settings().locate().warehouse.url, autocommit=True)


class Door:
    """Where events go: a port of this machine and a secret."""

    def __init__(self, port: int, secret: str) -> None:
        self.port = port
        self._secret = base64.b64decode(secret.removeprefix("whsec_"))

    def post(self, id_: str, body: dict[str, Any]) -> int:
        """Sends an event. Returns the status; raises OSError where nobody answers."""
        raw, now = json.dumps(body).encode(), str(int(time.time()))
        signature = hmac.digest(self._secret, f"{id_}.{now}.".encode() + raw, hashlib.sha256)
        return self.request("POST", f"/v1/events/{SOURCE}", raw, {
            "webhook-id": id_, "webhook-timestamp": now,
            "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
        })  # fmt: skip

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Any = None
    ) -> int:
        """Sends a request on this thread's connection. Returns the status."""
        # The server gives up a connection on which nothing comes for some seconds.
        if getattr(_LOCAL, "of", None) is not self or time.monotonic() - _LOCAL.used > 2:
            _LOCAL.of = self
            _LOCAL.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        _LOCAL.used = time.monotonic()
        try:
            _LOCAL.connection.request(method, path, body, headers or {})
            answer = _LOCAL.connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            _LOCAL.connection.close()
            raise OSError(str(error)) from error
        return int(answer.status)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(port: int) -> psutil.Popen:
    """Starts `tutor-pipeline events serve`."""
    return psutil.Popen(
        [*COMMAND, "events", "serve", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_until(is_so: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(OSError, psycopg.Error):
            if is_so():
                return
        time.sleep(0.1)
    raise SystemExit("it did not come in time")


def ready(door: Door) -> bool:
    return door.request("GET", "/readyz") == 200


def session(number: int, at: datetime) -> list[tuple[str, dict[str, Any]]]:
    """The events of a session: booked, held, rated."""
    id_ = f"B{number:07d}"
    start = at - timedelta(hours=1)
    said: tuple[tuple[str, datetime, dict[str, Any]], ...] = (
        ("session.scheduled", start - timedelta(days=1), {
            "tutor_id": f"T{number % TUTORS}", "student_id": f"P{number % 500}",
            "scheduled_start": start.isoformat(), "scheduled_duration": 60,
        }),
        ("session.completed", at, {
            "actual_start": start.isoformat(), "actual_duration": number % 60 + 1,
            "completed_at": at.isoformat(), "overall_session_score": number % 10,
        }),
        ("session.feedback", at + timedelta(seconds=1), {
            "student_satisfaction_rating": number % 5 + 1,
        }),
    )  # fmt: skip
    return [
        (f"{id_}-{kind}", {"type": kind, "timestamp": when.isoformat(),
                           "data": {"session_id": id_, **data}})
        for kind, when, data in said
    ]  # fmt: skip


def tutors() -> Iterator[tuple[str, dict[str, Any]]]:
    at = (datetime.now(UTC) - timedelta(days=30)).isoformat()
    for number in range(TUTORS):
        data = {"tutor_id": f"T{number}", "name": f"Tutor {number}"}
        yield f"tutor-{number}", {"type": "tutor.updated", "timestamp": at, "data": data}


def describe(name: str, values: list[float], unit: str = "ms") -> str:
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return (
        f"{name:<28} n {len(ordered):>6,}  median {median(ordered):8.1f}  p99 {p99:8.1f}"
        f"  max {ordered[-1]:8.1f} {unit}"
    )


def paced(send: Callable[[int], object], rate: float, count: int) -> tuple[list[float], float]:
    """Calls `send` at a steady pace. Returns milliseconds from when each was due, and the pace."""
    took: list[float] = []
    began = time.perf_counter() + 0.2

    def one(number: int) -> None:
        due = began + number / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        send(number)
        took.append(1_000 * (time.perf_counter() - due))

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(one, range(count)))
    return took, count / (time.perf_counter() - began)


def acknowledge(options: argparse.Namespace) -> None:
    port = free_port()
    door = Door(port, json.loads(command("events", "secrets", "add", SOURCE, "--json"))["secret"])
    server = serve(port)
    try:
        wait_until(lambda: ready(door))
        for id_, body in tutors():
            assert door.post(id_, body) == 200
        count, now = int(options.rate * options.seconds), datetime.now(UTC)
        bare, _ = paced(lambda _: door.request("GET", "/healthz"), options.rate, count // 3)
        made = [each for n in range(count // 3 + 1) for each in session(n, now)][:count]
        wrong: list[int] = []

        def send(number: int) -> None:
            if (status := door.post(*made[number])) != 200:
                wrong.append(status)

        took, pace = paced(send, options.rate, count)
        with connect() as database:
            waiting = "select count(*) from ops.event_inbox where state = 'waiting'"
            wait_until(lambda: database.execute(waiting).fetchone() == (0,))
            applied = database.execute(
                "select 1000 * extract(epoch from state_at - received_at)::float"
                " from ops.event_inbox where event_id like 'B%%'"
            ).fetchall()
        print(describe("GET /healthz (baseline)", bare))
        print(describe("POST one event, acknowledged", took))
        print(describe("… until it is applied", [each for (each,) in applied]))
        print(f"{pace:,.0f} events/s, {len(wrong)} not accepted; median"
              f" {median(took) / median(bare):.1f} times the baseline")  # fmt: skip
    finally:
        server.terminate()
        server.wait()


def alert(options: argparse.Namespace) -> None:
    from live import up

    command("generate", "--mode", "dev")
    command("enrich")
    secret = json.loads(command("events", "secrets", "add", SOURCE, "--json"))["secret"]
    desk = free_port()
    door = Door(desk, secret)
    took: dict[str, list[float]] = {"COMMIT of a row (baseline)": [], "POST of an event": []}
    with up(TUTOR_DESK_PORT=str(desk)), connect() as database:
        wait_until(lambda: ready(door))
        for number in range(options.sessions):
            at = datetime.now(UTC)
            for name, write in zip(took, (_commit, _post), strict=True):
                id_ = f"{write.__name__}-{number}"
                write(door, database, id_, at)
                began = time.time()
                wait_until(lambda id_=id_: _taken(database, id_) is not None)
                took[name].append(_taken(database, id_).timestamp() - began)
                time.sleep(random.uniform(0.5, 2))
    for name, values in took.items():
        print(describe(name, values, "s"))
    first, second = map(median, took.values())
    print(f"median {second / first:.2f} times the baseline")


def _commit(door: Door, database: psycopg.Connection[Any], id_: str, at: datetime) -> None:
    database.execute(
        "insert into platform.sessions (id, tutor_id, student_id, scheduled_start, actual_start,"
        " scheduled_duration, actual_duration, status, completed_at)"
        " values (%s, 'T0001', 'ST1', %s, %s, 60, 55, 'completed', %s)",
        (id_, at - timedelta(hours=1), at - timedelta(hours=1), at),
    )


def _post(door: Door, database: psycopg.Connection[Any], id_: str, at: datetime) -> None:
    start = (at - timedelta(hours=1)).isoformat()
    status = door.post(id_, {
        "type": "session.completed", "timestamp": at.isoformat(), "data": {
            "session_id": id_, "tutor_id": "T0001", "student_id": "ST1", "scheduled_start": start,
            "actual_start": start, "scheduled_duration": 60, "actual_duration": 55,
            "completed_at": at.isoformat(),
        },
    })  # fmt: skip
    assert status == 200, status


def _taken(database: psycopg.Connection[Any], id_: str) -> Any:
    row = database.execute(
        "select processed_at from ops.session_ledger where session_id = %s and version is not null"
        " and pending_since is null",
        (id_,),
    ).fetchone()
    return row and row[0]


class Sender:
    """Sends events at a steady pace, in several threads, each until it is acknowledged."""

    def __init__(self, door: Door, rate: float, seed: int) -> None:
        self.door, self.rate = door, rate
        self.acknowledged: dict[str, int] = {}
        self.sent = 0
        self.again = 0
        self._chance = random.Random(seed)
        self._ending = threading.Event()

    def run(self, until: float) -> None:
        """Sends until then (a monotonic clock), then what is not acknowledged yet."""
        number, began, count = 0, time.monotonic(), 0
        queue: list[tuple[str, dict[str, Any]]] = list(tutors())
        with ThreadPoolExecutor(12) as threads:
            while time.monotonic() < until:
                if len(queue) < 100:
                    some = [each for n in range(number, number + 60)
                            for each in session(n, datetime.now(UTC))]  # fmt: skip
                    self._chance.shuffle(some)
                    number += 60
                    queue += some
                event = queue.pop(0)
                threads.submit(self._send, *event)
                if self._chance.random() < 0.02:
                    self.again += 1
                    threads.submit(self._send, *event)
                count += 1
                time.sleep(max(0.0, began + count / self.rate - time.monotonic()))
            for event in queue:
                threads.submit(self._send, *event)
        self.sessions = number

    def _send(self, id_: str, body: dict[str, Any]) -> None:
        self.sent += 1
        while True:
            with suppress(OSError):
                status = self.door.post(id_, body)
                if status == 200:
                    self.acknowledged[id_] = self.acknowledged.get(id_, 0) + 1
                    return
                if status not in (429, 503):
                    raise SystemExit(f"{id_}: {status}")
            time.sleep(0.3)


def endurance(options: argparse.Namespace) -> None:
    from tutor_pipeline.cli.installation import embedded_server
    from tutor_pipeline.core.settings import load_settings

    chance = random.Random(options.seed)
    port = free_port()
    door = Door(port, json.loads(command("events", "secrets", "add", SOURCE, "--json"))["secret"])
    postgres = embedded_server(load_settings())
    server = serve(port)
    wait_until(lambda: ready(door))
    sender = Sender(door, options.rate, options.seed)
    until = time.monotonic() + options.seconds
    sending = threading.Thread(target=sender.run, args=(until,))
    sending.start()
    memory: list[list[tuple[float, float]]] = [[]]
    kills, late = {"receiver": 0, "postgres": 0}, []
    next_kill = time.monotonic() + options.every
    try:
        while time.monotonic() < until:
            time.sleep(1)
            with suppress(psutil.Error):
                memory[-1].append((time.monotonic(), server.memory_info().rss / 2**20))
            if time.monotonic() < next_kill or until - time.monotonic() < 35:
                continue
            victim = chance.choice(sorted(kills))
            kills[victim] += 1
            if victim == "receiver":
                server.kill()
                server.wait()
                server = serve(port)
                memory.append([])
            else:
                os.kill(_postmaster(), signal.SIGKILL)
                time.sleep(chance.uniform(0.5, 3))
                postgres.ensure_running()
            time.sleep(30)
            late.append(_age())
            next_kill = time.monotonic() + chance.uniform(0.2, 1) * options.every
        sending.join()
        wait_until(lambda: _waiting() == 0)
        report(sender, kills, late, memory, as_json=options.json)
    finally:
        server.terminate()
        server.wait()


def _postmaster() -> int:
    with connect() as database:
        row = database.execute("select pg_backend_pid()").fetchone()
        assert row is not None
        return int(psutil.Process(row[0]).ppid())


def _age() -> float:
    """Seconds for which the oldest event waits, or why that is not known."""
    try:
        with connect() as database:
            row = database.execute(
                "select coalesce(extract(epoch from now() - min(received_at)), 0)::float"
                " from ops.event_inbox where state = 'waiting'"
            ).fetchone()
            return float(row[0]) if row else 0.0
    except Exception:
        return float("inf")


def _waiting() -> int:
    with connect() as database:
        row = database.execute(
            "select count(*) from ops.event_inbox where state = 'waiting'"
        ).fetchone()
        return int(row[0]) if row else 0


def report(
    sender: Sender,
    kills: dict[str, int],
    late: list[float],
    memory: list[list[tuple[float, float]]],
    *,
    as_json: bool,
) -> None:
    """Compares what was acknowledged with what the platform has."""
    with connect() as database:
        inbox = [row[0] for row in database.execute("select event_id from ops.event_inbox")]
        states = dict(
            database.execute("select state, count(*) from ops.event_inbox group by 1").fetchall()
        )
        rows = {
            row[0]: row[1:]
            for row in database.execute(
                "select s.id, s.tutor_id, s.status, s.actual_duration,"
                " s.overall_session_score::int, f.student_satisfaction_rating::int"
                " from platform.sessions as s"
                " left join platform.session_feedback as f on f.session_id = s.id"
            )
        }
        doubled = len(inbox) - len(set(inbox))
    expected = {
        f"B{n:07d}": (f"T{n % TUTORS}", "completed", n % 60 + 1, n % 10, n % 5 + 1)
        for n in range(sender.sessions)
    }
    lost = sorted(set(sender.acknowledged) - set(inbox))
    wrong = [id_ for id_, values in expected.items() if rows.get(id_) != values]
    lives = [life for life in memory if len(life) > 60]
    slopes = [
        3_600 * (life[-1][1] - life[len(life) // 2][1]) / (life[-1][0] - life[len(life) // 2][0])
        for life in lives
    ]
    found = {
        "acknowledged": len(sender.acknowledged),
        "sent_again_on_purpose": sender.again,
        "kills": kills,
        "lost": len(lost),
        "doubled": doubled + len(rows.keys() - expected.keys()),
        "rows_that_differ": len(wrong),
        "states": states,
        "oldest_waiting_30_s_after_a_kill": max(late, default=0.0),
        "memory_mb": round(max((mb for life in memory for _, mb in life), default=0.0), 1),
        "memory_slope_mb_per_hour": [round(each, 2) for each in slopes],
    }
    if as_json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name.replace('_', ' '):<36} {value}")
    if lost or wrong or found["doubled"]:
        raise SystemExit(1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True)
    one = verbs.add_parser("acknowledge")
    one.add_argument("--for", dest="seconds", type=float, default=60)
    one.add_argument("--rate", type=float, default=500)
    one.set_defaults(run=acknowledge)
    two = verbs.add_parser("alert")
    two.add_argument("--sessions", type=int, default=40)
    two.set_defaults(run=alert)
    three = verbs.add_parser("endurance")
    three.add_argument("--for", dest="seconds", type=float, default=3_600)
    three.add_argument("--rate", type=float, default=50)
    three.add_argument("--every", type=float, default=120, help="Seconds between kills at most.")
    three.add_argument("--seed", type=int, default=7)
    three.add_argument("--json", action="store_true")
    three.set_defaults(run=endurance)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tutor-events-") as folder:
        Path(folder).chmod(0o755)  # as root, the server runs as another user
        os.environ |= {"TUTOR_HOME": folder}
        try:
            options.run(options)
        finally:
            command("down")


if __name__ == "__main__":
    main()

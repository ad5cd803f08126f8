"""`simulate --post`: the life of a made-up platform, from where there is no database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import COMMAND, Project, Zygote
from tests.integration.refreshes import until
from tests.servers import free_port

SMALL = ("--tutors", "8", "--days", "10", "--end", "2026-03-18")


class Receiver:
    """A project that takes events, and whoever sends some."""

    def __init__(self, project: Project, zygote: Zygote, elsewhere: Path) -> None:
        self.project = project
        self.secret = project.json("events", "secrets", "add", "demo")["secret"]
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._zygote = zygote
        # Whoever sends has neither a database nor a home that can be written.
        nothing = {
            name: value for name, value in os.environ.items() if not name.startswith("TUTOR")
        }
        self.environment = {
            **nothing,
            "COLUMNS": "200",
            "TUTOR_HOME": str(elsewhere / "a file" / "home"),
            "TUTOR_DATABASE_URL": f"postgresql://nobody@127.0.0.1:{free_port()}/nothing",
            "TUTOR_EVENT_SECRET": self.secret,
        }
        (elsewhere / "a file").touch()
        self._serving = project.start("events", "serve", "--port", str(port))
        until(self._is_ready, "events serve answers")

    def _is_ready(self) -> bool:
        assert self._serving.poll() is None
        address = f"{self.url}/readyz"
        with suppress(OSError), urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
        return False

    def send(
        self, *arguments: str, status: int = 0, url: str | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        result = self._zygote.run(
            ["simulate", "--post", url or self.url, "--source", "demo", *arguments],
            {**self.environment, **environment},
        )
        assert result.returncode == status, result.stdout + result.stderr
        return result

    def events(self, state: str) -> int:
        ((number,),) = self.project.query(
            f"select count(*) from ops.event_inbox where state = '{state}'"
        )
        return int(number)

    def applied(self) -> None:
        until(lambda: not self.events("waiting"), "all events are applied")

    def stop(self) -> None:
        self._serving.terminate()
        self._serving.wait(20)


@pytest.fixture(scope="module")
def receiver(
    project: Project, zygote: Zygote, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Receiver]:
    receiver = Receiver(project, zygote, tmp_path_factory.mktemp("elsewhere"))
    yield receiver
    receiver.stop()


@pytest.fixture(scope="module")
def past(receiver: Receiver) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(receiver.send("--rate", "0", *SMALL, "--json").stdout)
    receiver.applied()
    return said


def test_the_past_comes_in_without_a_database_of_the_sender(
    receiver: Receiver, past: dict[str, Any], new_project: Callable[..., Project]
) -> None:
    assert past["past"] == {"accepted": receiver.events("applied")}
    assert (past["since"], past["transactions"], past["end"]) == ({}, 0, "2026-03-18")
    other = new_project()
    other.run("generate", *SMALL)
    for table in ("sessions", "tutors", "students", "users", "engagement_events"):
        count = (
            f"select count(*), sum(hashtextextended(to_jsonb(t)::text, 0)) from platform.{table} t"
        )
        assert receiver.project.query(count) == other.query(count)


def test_sent_again_it_is_a_duplicate(receiver: Receiver, past: dict[str, Any]) -> None:
    result = receiver.send("--rate", "0", *SMALL)
    wanted = past["past"]["accepted"]
    assert f"Sent {wanted:,} events (10 days to 2026-03-18): duplicate {wanted:,}" in result.stderr


def test_then_it_goes_on_as_it_happens(
    receiver: Receiver, past: dict[str, Any], tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    arguments = ["simulate", "--post", receiver.url, "--source", "demo", "--rate", "40/s", *SMALL]
    running = subprocess.Popen(
        [*COMMAND, *arguments, "--log", str(log), "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env=receiver.environment,
    )
    try:
        until(lambda: log.exists() and len(log.read_text().splitlines()) > 150, "it goes on")
        running.send_signal(signal.SIGINT)
        said = json.loads(running.communicate(timeout=60)[0])
    finally:
        running.kill()
    assert running.returncode == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert said["transactions"] == len(lines) == sum(said["by_kind"].values())
    assert said["past"] == {"duplicate": past["past"]["accepted"]}
    assert said["since"].keys() == {"accepted"}
    receiver.applied()
    assert receiver.events("quarantined") == receiver.events("dead") == 0
    new = {line["session_id"] for line in lines if line["kind"] == "session"}
    gone = {line["session_id"] for line in lines if line["kind"] == "deletion"}
    there = receiver.project.query("select id from platform.sessions where id ~ '-'")
    assert {session for (session,) in there} == new - gone


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "says"),
    [
        ((), {"TUTOR_EVENT_SECRET": "whsec_" + "bm90IHRoZSBzZWNyZXQgb2YgZGVtbyE="}, 1,
         "the signature was not accepted (401). It says: The signature was not accepted. Usual"),
        ((), {"TUTOR_EVENT_SECRET": ""}, 2, "TUTOR_EVENT_SECRET is not set"),
        ((), {"TUTOR_EVENT_SECRET": "demo"}, 2, "it begins with whsec_"),
        (("--source", "other"), {}, 1, "the signature was not accepted (401)"),
        (("--secret-file", "/nowhere/secret"), {}, 2, "/nowhere/secret: No such file"),
        (("--end", "2999-01-01"), {}, 2, "name a day that is over"),
        (("--end", "yesterday"), {}, 2, "--end yesterday: write a day"),
        (("--tutors", "0"), {}, 2, "--tutors is 0"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(
    receiver: Receiver,
    arguments: tuple[str, ...],
    environment: dict[str, str],
    status: int,
    says: str,
) -> None:
    result = receiver.send("--rate", "0", *arguments, status=status, **environment)
    assert says in " ".join(result.stderr.split())
    assert receiver.secret not in result.stderr


@pytest.mark.parametrize(
    ("path", "says"),
    [("/elsewhere", "nothing takes events at this address (404)"), ("?x", "is no address")],
)
def test_another_address_is_told(receiver: Receiver, path: str, says: str) -> None:
    result = receiver.send("--rate", "0", url=receiver.url + path, status=1 if "/" in path else 2)
    assert says in result.stderr


def test_nobody_at_the_address_is_told(receiver: Receiver) -> None:
    result = receiver.send("--rate", "0", url=f"http://127.0.0.1:{free_port()}", status=1)
    assert "does not answer: " in result.stderr
    assert "Connection refused" in result.stderr


def test_the_secret_may_be_in_a_file(
    receiver: Receiver, past: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{receiver.secret}\n")
    arguments = ("--rate", "0", *SMALL, "--secret-file", str(file))
    assert "duplicate" in receiver.send(*arguments, TUTOR_EVENT_SECRET="whsec_b3RoZXI=").stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--post", "http://127.0.0.1:1"), "--post needs --source NAME"),
        (("--source", "demo", "--burst", "1"), "--source goes with --post"),
        (("--tutors", "3", "--burst", "1"), "--tutors goes with --post"),
        (("--end", "2026-01-01", "--burst", "1"), "--end goes with --post"),
    ],
)
def test_what_does_not_go_together_is_told(
    project: Project, arguments: tuple[str, ...], says: str
) -> None:
    assert says in project.run("simulate", "--rate", "0", *arguments, status=2).stderr

"""A receiver of events as a process of its own, and somebody who sends signed events."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.integration.events.signing import Connection, Sender, until
from tests.servers import free_port
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.sources.events import secrets

_PROGRAM = Path(__file__).with_name("receiver_process.py")


@dataclass
class Receiver:
    """A receiver that serves a database, and what it says on its streams."""

    warehouse: Warehouse
    folder: Path
    limits: dict[str, Any] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self, *, dies_at: int | None = None) -> None:
        """Starts it, and waits until it is ready. `dies_at`: see receiver_process.py."""
        asked = {"url": self.warehouse.url, "port": self.port, "limits": self.limits,
                 "dies_at": dies_at}  # fmt: skip
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(_PROGRAM), json.dumps(asked)],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=Path(__file__).parents[3],
            )
        until(self.is_ready, "the receiver does not start")

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        return self.get("/readyz") == 200

    def get(self, path: str) -> int | None:
        """The status of a page, None where nothing answers."""
        try:
            with Connection(self.port) as connection:
                return connection.send(
                    f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()
                ).status
        except OSError:
            return None

    def kill(self) -> None:
        """Ends it at once, whatever it does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """Ends it as Ctrl-C does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)
            self.process = None

    @property
    def log_file(self) -> Path:
        return self.folder / "log"

    @property
    def log(self) -> str:
        """What it said so far."""
        return self.log_file.read_text(encoding="utf-8")

    def sender(self, source: str = "shop") -> Sender:
        """Somebody with a new secret of a source, which the receiver knows."""
        with self.warehouse.connect() as database:
            secret = secrets.add(database, source, datetime.now(UTC))
        sender = Sender(self.port, source, secret)
        if self.process is not None:
            until(
                lambda: sender.batch("nothing", []).status == 200,
                "the receiver does not learn of a secret",
            )
        return sender

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        with self.warehouse.connect() as database:
            return database.rows(query, parameters)

    def until_applied(self) -> None:
        """Waits until no event waits."""
        waiting = "select 1 from ops.event_inbox where state = 'waiting' limit 1"
        until(lambda: not self.rows(waiting), "events are not applied")


@pytest.fixture(scope="module")
def receiver(
    platform_warehouse: Warehouse, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Receiver]:
    """The module's receiver."""
    made = Receiver(platform_warehouse, tmp_path_factory.mktemp("receiver"))
    made.start()
    yield made
    made.kill()

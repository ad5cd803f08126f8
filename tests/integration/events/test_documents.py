"""The senders in docs/events.md work as they stand there."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.integration.events.conftest import Receiver
from tutor_pipeline.core.paths import PROJECT_DIR

PAGE = (PROJECT_DIR / "docs" / "events.md").read_text(encoding="utf-8")


def snippet(language: str, port: int) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(text).replace(":3040/", f":{port}/")


def ran(receiver: Receiver, secret: str, *command: str) -> list[str]:
    """What a sender prints, line by line."""
    done = subprocess.run(
        command, env={**os.environ, "TUTOR_EVENT_SECRET": secret}, capture_output=True, text=True,
        check=True, timeout=120,
    )  # fmt: skip
    return done.stdout.split("\n")


@pytest.fixture
def secret(receiver: Receiver) -> str:
    return receiver.sender("shop").secret


def test_the_sender_in_python_and_that_in_the_shell(receiver: Receiver, secret: str) -> None:
    python = snippet("python", receiver.port)
    for status in ("accepted", "duplicate"):
        answers = ran(receiver, secret, sys.executable, "-c", python)
        assert answers == [
            *(f'{{"id":"evt-{number}","status":"{status}"}}' for number in (1, 2, 3)),
            "",
        ]
    if all(map(shutil.which, ("curl", "openssl", "bash", "base64", "od"))):
        shell = snippet("sh", receiver.port)
        assert ran(receiver, secret, "bash", "-ec", shell) == ['{"id":"evt-4","status":"accepted"}']
    receiver.until_applied()
    states = receiver.rows("select event_id, state from ops.event_inbox where source = 'shop'")
    assert {row["state"] for row in states if row["event_id"].startswith("evt")} == {"applied"}

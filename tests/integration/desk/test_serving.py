"""The desk as a process: `tutor-pipeline desk`, its port, its end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys

import httpx
import psutil
import pytest

from tests.integration.refreshes import until
from tests.servers import free_port

PATIENCE_SECONDS = 120


def answers(port, path="/healthz"):
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=10).status_code == 200
    return False


@pytest.fixture
def served(computed):
    """`tutor-pipeline desk` on a port."""
    port = free_port()
    process = computed.start("desk", "--port", str(port))
    until(lambda: answers(port, "/readyz"), "the desk answers", PATIENCE_SECONDS)
    yield process, port
    with contextlib.suppress(psutil.Error):
        for each in psutil.Process(process.pid).children(recursive=True):
            each.kill()
    process.kill()
    process.wait()


def test_it_serves_and_ends_when_it_is_asked_to(served, computed):
    process, port = served
    link = computed.run("desk", "link").stdout.strip()
    assert link.startswith(f"http://127.0.0.1:{port}/enter/")
    with httpx.Client(headers={"Origin": f"http://127.0.0.1:{port}"}) as browser:
        assert browser.post(link).headers["location"] == "/"
        assert browser.get(f"http://127.0.0.1:{port}/").status_code == 200
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE_SECONDS)
    until(lambda: not answers(port), "the desk ends", PATIENCE_SECONDS)


def test_it_ends_with_whoever_started_it(served):
    """A parent that is killed can ask for nothing."""
    process, port = served
    process.kill()
    until(lambda: not answers(port), "the desk ends", PATIENCE_SECONDS)


def test_a_port_that_is_taken_is_told_or_gone_past(computed):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = computed.run("desk", "--port", str(port), status=1).stderr
    assert f"port {port} on 127.0.0.1 is taken" in said


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("TUTOR_DESK_URL", "desk.example.com", "write it as https://"),
        ("TUTOR_DESK_PROXIES", "the proxy", "is no address"),
        ("TUTOR_DESK_STUDENT_NAMES", "nick", "full"),
        ("TUTOR_DESK_PORT", "99999", "65535"),
    ],
)
def test_a_wrong_setting_is_a_sentence(computed, setting, value, says):
    result = subprocess.run(
        [sys.executable, "-m", "tutor_pipeline.desk", "--port", str(free_port())],
        env={**os.environ, **computed.environment, setting: value},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert setting in result.stderr
    assert says in result.stderr
    assert "Traceback" not in result.stderr

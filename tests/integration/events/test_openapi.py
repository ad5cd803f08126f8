"""Requests that the API's own description makes up: valid ones, and such as are nearly."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.events.conftest import Receiver

_HOOK = Path(__file__).with_name("signing_hook.py")


@pytest.mark.long
def test_what_the_api_says_of_itself_holds(receiver: Receiver, tmp_path: Path) -> None:
    shop = receiver.sender("shop")
    before = len(receiver.rows("select 1 from ops.event_inbox"))
    environment = os.environ | {
        "SCHEMATHESIS_HOOKS": str(_HOOK), "SECRET": shop.secret, "SOURCE": shop.source,
    }  # fmt: skip
    ran = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "run",
            f"http://127.0.0.1:{receiver.port}/v1/openapi.json",
            "--checks", "all",
            # An event that is malformed, or of an unknown type, is taken and kept: the answer says
            # what is wrong with it, and nobody has to send it again.
            "--exclude-checks", "negative_data_rejection",
            "--max-examples", "300", "--continue-on-failure", "--no-color",
        ],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=560, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr[-5_000:]
    receiver.until_applied()
    states = receiver.rows("select state, count(*) as n from ops.event_inbox group by 1")
    counts = {row["state"]: row["n"] for row in states}
    assert sum(counts.values()) > before + 300, "its requests were not taken"
    assert counts.get("applied")
    assert "dead" not in counts
    assert not re.search("Traceback|Exception", receiver.log), receiver.log

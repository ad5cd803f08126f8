"""Three minutes of the benchmark that kills the receiver and its PostgreSQL at random."""

import json
import os
import subprocess
import sys

import pytest

from tutor_pipeline.core.paths import PROJECT_DIR


@pytest.mark.long
def test_kills_lose_nothing_and_double_nothing() -> None:
    environment = {name: value for name, value in os.environ.items() if "TUTOR_" not in name}
    ran = subprocess.run(
        [sys.executable, "benchmarks/events.py", "endurance", "--for", "180", "--every", "10",
         "--json"],
        cwd=PROJECT_DIR, env=environment, capture_output=True, text=True, timeout=560, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = json.loads(ran.stdout)
    assert found["acknowledged"] > 1_000
    assert sum(found["kills"].values()) >= 3
    assert (found["lost"], found["doubled"], found["rows_that_differ"]) == (0, 0, 0)
    assert set(found["states"]) == {"applied"}

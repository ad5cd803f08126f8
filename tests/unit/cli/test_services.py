"""What `up` starts ends as a whole: Dagster, and the runs that outlive it."""

import subprocess
import sys

import pytest

from tutor_pipeline.cli import services

WAITS = "print(flush=True); import time; time.sleep(60)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "


@pytest.fixture
def start(starts_something):
    """Start a process with such a command line, in the group of the first."""
    made = []

    def start(line, code=WAITS):
        process = subprocess.Popen(
            [sys.executable, "-c", code, line],
            stdout=subprocess.PIPE,
            process_group=made[0].pid if made else 0,
        )
        made.append(process)
        process.stdout.readline()  # it runs
        return process

    yield start
    for process in made:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("code", [WAITS, DEAF + WAITS], ids=["obeys", "must be killed"])
def test_a_run_ends_with_the_dagster_that_launched_it(start, monkeypatch, code):
    monkeypatch.setattr(services, "_END_SECONDS", 1)
    dagster = start("dagster dev")
    start("spawn_main", code)
    assert [each.pid for each in services.members(dagster.pid)] == [dagster.pid]
    services.end_group(dagster.pid)
    assert services.members(dagster.pid, part="") == []


def test_dagster_ends_first_so_it_reports_no_run_as_failed(start, monkeypatch):
    ended = []
    monkeypatch.setattr(services, "_end", lambda group, part, polite_seconds: ended.append(part))
    services.end_group(start("dagster dev").pid)
    assert ended == [services.DAGSTER, services.RUN, ""]


def test_other_groups_stay(start):
    dagster = start("dagster dev")
    other = subprocess.Popen([sys.executable, "-c", WAITS, "dagster dev"], start_new_session=True)
    try:
        services.end_group(dagster.pid)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()

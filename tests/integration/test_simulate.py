"""`simulate` as users run it: what it says it committed is there, and the pipeline takes it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

COMMAND = [sys.executable, "-c", "from tutor_pipeline.cli import main; main()"]


@pytest.fixture(scope="module")
def platform(project):
    project.run("generate", "--mode", "dev")
    return project


def logged(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def simulated(platform, tmp_path_factory):
    """What a simulation said when it was terminated, and the lines that it logged."""
    log = tmp_path_factory.mktemp("simulation") / "log.jsonl"
    arguments = ["simulate", "--rate", "60/s", "--poor-firsts", "0.2", "--log", str(log), "--json"]
    running = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, text=True, env=platform.environment
    )
    try:
        while running.poll() is None and (not log.exists() or len(logged(log)) < 300):
            time.sleep(0.2)
        running.send_signal(signal.SIGTERM)
        said, _ = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 0
    return json.loads(said), logged(log)


def ids(platform, lines):
    """The sessions that are there, and those that should be."""
    there = platform.query("select id from platform.sessions where id ~ '-'")
    kinds = {
        kind: {line["session_id"] for line in lines if line["kind"] == kind}
        for kind in ("session", "deletion")
    }
    return {session for (session,) in there}, kinds["session"] - kinds["deletion"]


def test_a_terminated_simulation_tells_what_it_did(platform, simulated):
    summary, lines = simulated
    assert summary["transactions"] == len(lines) == sum(summary["by_kind"].values())
    there, wanted = ids(platform, lines)
    assert there == wanted
    assert summary["by_kind"]["session"] >= len(wanted) > 100
    assert platform.json("check-source")["problems"] == []


@pytest.mark.long
def test_the_pipeline_takes_all_that_was_simulated(platform, simulated):
    platform.run("enrich")
    assert platform.query("select * from ops.quarantine") == []
    counted = platform.query("select session_id from marts.fct_sessions where session_id ~ '-'")
    assert {session for (session,) in counted} == ids(platform, simulated[1])[1]


def test_only_the_synthetic_platform_is_simulated(new_project, tmp_path):
    project = new_project()
    said = project.run("simulate", "--rate", "1/s", status=3).stderr
    assert "Run first: tutor-pipeline generate" in said
    project.execute("create schema live; create table live.tutors (user_id text)")
    project.settings["TUTOR_PLATFORM_SCHEMA"] = "live"
    assert "nothing is ever written" in project.run("simulate", "--rate", "1/s", status=3).stderr
    del project.settings["TUTOR_PLATFORM_SCHEMA"]
    exported = tmp_path / "csv"
    project.run("generate", "--mode", "dev", "--export-csv", str(exported))
    project.run("import", str(exported))
    assert "imported data" in project.run("simulate", "--rate", "1/s", status=3).stderr


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--rate", "many"), "--rate many: write 10000/day"),
        (("--rate", "0"), "nothing to simulate"),
        (("--rate", "1/s", "--for", "long"), "--for long: write 30s"),
        (("--rate", "1/s", "--log", "/nowhere/log"), "--log /nowhere/log: No such file"),
    ],
)
def test_wrong_arguments_are_told(platform, wrong, said):
    assert said in platform.run("simulate", *wrong, status=2).stderr

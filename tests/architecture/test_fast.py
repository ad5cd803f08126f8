"""`--no-database` leaves out who asks to start something, and fails who starts it without."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
TESTS = """
import socket, sqlite3, subprocess, sys
import psycopg

def test_nothing(): subprocess.run(["sh", "-n", "/dev/null"], check=True)
def test_asks(starts_something): socket.socket().listen()
def test_asks_late(request): request.getfixturevalue("starts_something")
def test_server(): socket.create_server(("127.0.0.1", 0))
def test_postgresql(): psycopg.connect("host=127.0.0.1 port=1")
def test_dbt(): import dbt.cli.main
def test_instance(): sqlite3.connect(":memory:")
def test_process(): subprocess.run([sys.executable, "-c", ""])
def test_process_that_is_caught():
    try: subprocess.run([sys.executable, "-c", ""])
    except BaseException: pass
"""


@pytest.mark.usefixtures("starts_something")
def test_what_starts_something_asks_or_fails(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]")
    (tmp_path / "test_it.py").write_text(TESTS)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", tmp_path / "pytest.ini", "-p", "tests.fast",
         "-p", "no:cacheprovider", "--no-database", "-rA", tmp_path],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = {outcome: set() for outcome in ("PASSED", "FAILED", "ERROR")}
    for outcome, test in re.findall(r"^([A-Z]+) \S*::test_(\w+)", result.stdout, re.M):
        found[outcome].add(test)
    starting = {"server", "postgresql", "dbt", "instance", "process"}
    assert found["PASSED"] == {"nothing", "process_that_is_caught"}, result.stdout
    assert found["FAILED"] == starting | {"asks_late"}, result.stdout
    assert found["ERROR"] == starting | {"process_that_is_caught"}, result.stdout
    assert "1 deselected" in result.stdout

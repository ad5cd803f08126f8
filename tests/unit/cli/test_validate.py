"""`validate` as users run it: the first line, the exit status, the document, the page."""

import json
import os
import subprocess
import sys
from dataclasses import fields

import pytest

from tutor_pipeline.people.reports.validation import Check, Validation

COMMAND = [sys.executable, "-c", "from tutor_pipeline.cli import main; main()", "validate"]
HEAVY = ("dagster", "great_expectations", "pandas", "jinja2")


@pytest.fixture
def run(warehouse, tmp_path):
    def run(*arguments):
        return subprocess.run(
            [*COMMAND, *arguments],
            env={
                **os.environ,
                "TUTOR_HOME": str(tmp_path),
                "TUTOR_DATABASE_URL": warehouse.url,
                "TUTOR_DAGSTER_DATABASE_URL": warehouse.url,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def outcome(warehouse):
    """Writes the outcome of a check, the same one each time it is called."""

    def write(status, **values):
        row = {"says": "Every session has a known status.", "blocking": True, **values}
        with warehouse.connect() as database:
            database.execute("delete from {ops}.dq_results")
            database.execute(
                "insert into {ops}.dq_results (run_id, asset, check_name, owner, says,"
                " severity, blocking, status, sample, as_of) values ('r', 'marts/fct_sessions',"
                " 'known_status', 'suite', %s, 'error', %s, %s, %s, now())",
                (row["says"], row["blocking"], status, '[{"session_id": "S1\\u001b[2J[/bold]"}]'),
            )

    return write


def test_the_first_line_is_the_verdict_and_blocking_is_status_1(run, outcome):
    outcome("failed", says="Known [bold]status[/bold]\x1b[2J.")
    result = run()
    assert result.returncode == 1, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == (
        "Blocked: 1 of 1 check stops alerts, insights and achievements"
        " (Known [bold]status[/bold]\\u001b[2J)"
    )
    assert "\x1b" not in result.stdout
    assert "  session_id = S1\\u001b[2J[/bold]" in lines


def test_what_holds_is_status_0(run, outcome):
    outcome("passed")
    result = run()
    assert (result.returncode, result.stdout.splitlines()[0]) == (0, "Sound: 1 check")


def test_a_failure_that_stops_nothing_is_status_0(run, outcome):
    outcome("failed", blocking=False)
    result = run()
    assert result.returncode == 0
    assert result.stdout.startswith("1 of 1 check does not hold (1 error; nothing stops)\n")


def test_one_document_with_everything_and_the_page_beside_it(run, outcome, tmp_path):
    outcome("failed")
    result = run("--json", "--html", str(tmp_path / "page.html"))
    assert result.returncode == 1
    document = json.loads(result.stdout)
    assert set(document) == {each.name for each in fields(Validation)}
    assert document["verdict"]["level"] == "blocked"
    assert document["verdict"]["sentence"].startswith("Blocked: 1 of 1 check stops")
    (check,) = document["checks"]
    assert {each.name for each in fields(Check)} <= set(check)
    assert (check["state"], check["stops"]) == ("failed", True)
    assert document["verdict"]["headline"] in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_file_that_cannot_be_written_is_an_error(run, outcome, tmp_path):
    outcome("passed")
    result = run("--html", str(tmp_path / "none" / "page.html"))
    assert result.returncode == 1
    assert f"cannot write {tmp_path}/none/page.html" in result.stderr


@pytest.mark.usefixtures("starts_something")
def test_it_reads_and_imports_nothing_heavy():
    code = (
        "import sys, tutor_pipeline.cli.validate, tutor_pipeline.cli.app;"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert found.strip() == "[]"

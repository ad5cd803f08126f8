"""What failed comes last, and ends with what to do."""

from __future__ import annotations

from dataclasses import replace

import psycopg2
import pytest
from sqlalchemy.exc import OperationalError

from tutor_pipeline.cli import _of_storage
from tutor_pipeline.cli.enrich import report
from tutor_pipeline.cli.launch import Outcome


def failed(message: str, **values: object) -> Outcome:
    outcome = Outcome(run_id="0123456789", success=False, **values)  # type: ignore[arg-type]
    outcome.failed["metrics"] = message
    outcome.skipped = ["a/a", "b/b", "c/c", "d/d", "e/e"]
    return outcome


@pytest.mark.parametrize(
    ("message", "last"),
    [
        ("canceling statement due to statement timeout", "Have the limit lifted"),
        ("no such day\nSay another one.", "Say another one."),
    ],
)
def test_the_last_line_of_a_failed_run_says_what_to_do(
    message: str, last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report(failed(message), as_json=False)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("a/a, b/b, c/c and 2 more")
    assert last in lines[-1]
    said = [line for line in lines if line.startswith("failed: metrics: ")]
    assert lines.index(said[0]) > lines.index(next(each for each in lines if "Run 0123" in each))


def test_a_check_that_stops_is_looked_at_with_validate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report(failed("a blocking check does not hold", blocking={"a: b": "c"}), as_json=False)
    assert "see tutor-pipeline validate" in capsys.readouterr().err.splitlines()[-1]


def test_what_was_forced_is_not_said_to_be_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    forced = replace(failed("", blocking={"a: b": "c"}), success=True, failed={})
    report(forced, as_json=False)
    said = capsys.readouterr().err
    assert "made although data quality checks object: see tutor-pipeline validate" in said
    assert "stop what follows" not in said


def test_only_an_error_of_the_storage_is_told_as_one() -> None:
    cause = psycopg2.OperationalError("too many clients\nand more")
    wrapped = OperationalError("select 1", {}, cause)
    wrapped.__cause__ = cause
    assert _of_storage(wrapped) == "too many clients"
    bug = KeyError("a bug")
    bug.__context__ = cause
    assert _of_storage(bug) is None

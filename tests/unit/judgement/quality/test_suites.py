"""Reading suites: errors name what is wrong, and the shipped suites are right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.judgement.quality.suites import (
    PERSONAL,
    QUERY,
    ROW_COUNT,
    ROWS,
    VALUE,
    Suite,
    load_suites,
)

COUNT = {
    "name": "there_are_some",
    "says": "There are some.",
    "expectation": ROW_COUNT,
    "kwargs": {"min_value": 1},
    "severity": "error",
    "blocking": True,
}
KNOWN = {
    "name": "known",
    "says": "Every thing is\n  known.",
    "expectation": "expect_column_values_to_not_be_null",
    "kwargs": {"column": "known"},
    "severity": "warn",
}
QUERY_CHECK = {**KNOWN, "name": "query", "expectation": ROWS, "kwargs": {QUERY: "select 1"}}
BODY = {"asset": "marts/things", "about": "Things.", "keys": ["id"], "checks": [COUNT, KNOWN]}


def load(folder: Path, body: Any, name: str = "things") -> tuple[Suite, ...]:
    text = body if isinstance(body, str) else yaml.safe_dump(body)
    (folder / f"{name}.yml").write_text(text, encoding="utf-8")
    return load_suites(folder)


def test_a_suite_is_read_whole(tmp_path: Path) -> None:
    (suite,) = load(tmp_path, BODY)
    assert (suite.name, suite.asset, suite.keys) == ("things", "marts/things", ("id",))
    count, known = suite.checks
    assert (count.severity, count.blocking, known.severity, known.blocking) == (
        "error", True, "warn", False,
    )  # fmt: skip
    assert known.says == "Every thing is known."
    assert (known.is_query, known.kwargs) == (False, {"column": "known"})


def test_suites_come_by_file_name(tmp_path: Path) -> None:
    load(tmp_path, {**BODY, "asset": "marts/b"}, "b")
    assert [suite.name for suite in load(tmp_path, BODY, "a")] == ["a", "b"]


def check(**changes: Any) -> dict[str, Any]:
    """BODY with its second check changed; ... = left out."""
    changed = {name: value for name, value in {**KNOWN, **changes}.items() if value is not ...}
    return {**BODY, "checks": [COUNT, changed]}


def suite(**changes: Any) -> dict[str, Any]:
    """BODY with something changed; ... = left out."""
    return {name: value for name, value in {**BODY, **changes}.items() if value is not ...}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("a: [", "things.yml: cannot be read: "),
        ("", "things.yml: is not a mapping"),
        ([], "things.yml: is not a mapping"),
        (suite(colour="red"), "things.yml: colour is not known here"),
        (suite(about=..., keys=...), "things.yml: about, keys is missing"),
        (suite(asset="things"), "things.yml: asset 'things' is not <schema>/<table>"),
        (suite(asset="public/things"), "asset 'public/things' is not <schema>/<table>"),
        (suite(asset="marts/a b"), "asset 'marts/a b' is not <schema>/<table>"),
        (suite(asset=None), "asset None is not <schema>/<table>"),
        (suite(keys="id"), "things.yml: keys is a list"),
        (suite(checks={}), "things.yml: checks is a list"),
        (suite(checks=[]), "things.yml: either counts the rows"),
        (suite(checks=[KNOWN]), "things.yml: either counts the rows"),
        (suite(may_be_empty="it may"), "things.yml: either counts the rows"),
        (suite(checks=[KNOWN], may_be_empty=""), "things.yml: either counts the rows"),
        (suite(checks=[COUNT, "x"]), "things.yml: a check: is not a mapping"),
        (suite(checks=[COUNT, KNOWN, KNOWN]), "things.yml: the check known is there twice"),
        (check(name=...), "things.yml: a check: name is missing"),
        (check(name=7), "things.yml: 7: a name has small letters, digits and _"),
        (check(name="No Good"), "things.yml: No Good: a name has small letters"),
        (check(name="x" * 64), "a name has small letters"),
        (check(when="now"), "things.yml: known: when is not known here"),
        (check(blocks=True), "known: blocks is not known here (did you mean blocking?)"),
        (suite(about=3), "things.yml: about is text"),
        (check(says=...), "things.yml: known: says is missing"),
        (check(says="no sentence"), "things.yml: known: says is a sentence"),
        (check(says=3), "things.yml: known: says is a sentence"),
        (check(severity="fatal"), "things.yml: known: severity is error or warn"),
        (check(severity=...), "things.yml: known: severity is missing"),
        (check(blocking="yes"), "things.yml: known: blocking is true or false"),
        (check(blocking=1), "things.yml: known: blocking is true or false"),
        (check(blocking=True), "things.yml: known: a warning never blocks"),
        (check(kwargs=[]), "things.yml: known: kwargs: is not a mapping"),
        (check(kwargs=None), "things.yml: known: kwargs: is not a mapping"),
        (check(expectation=...), "things.yml: known: expectation is missing"),
        (check(expectation=ROWS), f"things.yml: known: {ROWS} and {VALUE}, and only they, have"),
        (check(kwargs={QUERY: "select 1"}), f"known: {ROWS} and {VALUE}, and only they, have"),
        (check(rows_of="things"), "things.yml: known: rows_of 'things' is not <schema>/<table>"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, body: Any, message: str) -> None:
    with pytest.raises(TutorPipelineError) as error:
        load(tmp_path, body)
    assert str(error.value).startswith("things.yml: ")
    assert message in str(error.value)


def test_a_check_of_a_table_stands_in_one_file(tmp_path: Path) -> None:
    load(tmp_path, BODY, "first")
    with pytest.raises(TutorPipelineError, match=r"second.yml: .* stands in first.yml too"):
        load(tmp_path, BODY, "second")


def test_what_is_shipped(suites: Sequence[Suite]) -> None:
    assert {suite.asset for suite in suites} >= {
        "staging/session_rows",
        "ops/quarantine",
        "marts/fct_sessions",
        "marts/tutor_aggregates",
        "marts/dim_tutors",
    }
    checks = [(suite, check) for suite in suites for check in suite.checks]
    names = [check.name for _, check in checks]
    assert sorted(set(names)) == sorted(names), "one name, one rule, whatever the table"
    for suite, check in checks:
        where = f"{suite.name}: {check.name}"
        assert len(check.says) > 15, where
        assert check.says[0].isupper(), where
        assert not (check.blocking and check.severity == "warn"), where
        assert suite.about.endswith("."), suite.name


def test_what_is_shown_is_not_personal(suites: Sequence[Suite]) -> None:
    # No personal column is even named, and none comes in by a star.
    words = re.compile(rf"\b({'|'.join(PERSONAL)})\b|(select|,) \*|\.\*")
    for suite in suites:
        assert not PERSONAL & set(suite.keys)
        for check in suite.checks:
            assert check.kwargs.get("column") not in PERSONAL
            sql = str(check.kwargs.get(QUERY, ""))
            assert words.search(sql) is None, f"{suite.name}: {check.name}"


def test_the_gate_blocks(suites: Sequence[Suite]) -> None:
    """Incoming bad rows block nothing: they are quarantined. Sessions that count must be sound."""
    for suite in suites:
        blocks = {check.name for check in suite.checks if check.blocking}
        errors = {check.name for check in suite.checks if check.severity == "error"}
        if suite.asset == "staging/session_rows":
            assert not blocks
        else:
            # Old data is no reason to say nothing.
            assert errors - blocks <= {"newest_session_is_under_72_hours_old"}

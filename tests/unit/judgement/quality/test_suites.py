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


def test_sentences_and_sql_name_thresholds(tmp_path: Path) -> None:
    named = {
        **QUERY_CHECK,
        "expectation": VALUE,
        "says": "At most {threshold.max_value} %, over {threshold.low_score:.1f}.",
        "kwargs": {QUERY: "select {threshold.low_score} from {marts}.things", "max_value": 2},
    }
    (suite,) = load(tmp_path, {**BODY, "checks": [COUNT, named]})
    assert suite.checks[1].says == "At most 2 %, over 5.0."
    assert suite.checks[1].kwargs[QUERY] == "select 5.0 from {marts}.things"


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
        ("a: [", "this is not YAML: "),
        ("", "line 1: must be a mapping"),
        ([], "line 1: must be a mapping"),
        (suite(colour="red"), "colour: there is no such key"),
        (suite(about=..., keys=...), "about: is missing\n  line 1: keys: is missing"),
        (suite(asset="things"), "asset 'things' is not <schema>/<table>"),
        (suite(asset="public/things"), "asset 'public/things' is not <schema>/<table>"),
        (suite(asset="marts/a b"), "asset 'marts/a b' is not <schema>/<table>"),
        (suite(asset=None), "asset None is not <schema>/<table>"),
        (suite(keys="id"), "keys: must be a list"),
        (suite(checks={}), "checks: must be a list"),
        (suite(checks=[]), "either counts the rows"),
        (suite(checks=[KNOWN]), "either counts the rows"),
        (suite(may_be_empty="it may"), "either counts the rows"),
        (suite(checks=[KNOWN], may_be_empty=""), "either counts the rows"),
        (suite(checks=[COUNT, "x"]), "checks.1: must be a mapping"),
        (suite(checks=[COUNT, KNOWN, KNOWN]), "the check known is there twice"),
        (check(name=...), "checks.1.name: is missing"),
        (check(name=7), "checks.7.name: a name has small letters, digits and _"),
        (check(name="No Good"), "checks.No Good.name: a name has small letters"),
        (check(name="x" * 64), "a name has small letters"),
        (check(when="now"), "checks.known.when: there is no such key"),
        (
            check(says="Over {threshold.low_scor}."),
            "checks.known: unknown threshold low_scor (did you mean low_score?)",
        ),
        (check(blocks=True), "checks.known.blocks: there is no such key; did you mean blocking?"),
        (suite(about=3), "about: must be text"),
        (check(says=...), "checks.known.says: is missing"),
        (check(says="no sentence"), "checks.known.says: says is a sentence"),
        (check(says=3), "checks.known.says: says is a sentence"),
        (check(severity="fatal"), "checks.known.severity: must be error or warn"),
        (check(severity=...), "checks.known.severity: is missing"),
        (check(blocking="yes"), "checks.known.blocking: must be true or false"),
        (check(blocking=1), "checks.known.blocking: must be true or false"),
        (check(blocking=True), "checks.known: a warning never blocks"),
        (check(kwargs=[]), "checks.known.kwargs: must be a mapping"),
        (check(kwargs=None), "checks.known.kwargs: must be a mapping"),
        (check(expectation=...), "checks.known.expectation: is missing"),
        (check(expectation=ROWS), f"checks.known: {ROWS} and {VALUE}, and only they, have"),
        (check(kwargs={QUERY: "select 1"}), f"known: {ROWS} and {VALUE}, and only they, have"),
        (check(rows_of="things"), "known.rows_of: rows_of 'things' is not <schema>/<table>"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, body: Any, message: str) -> None:
    with pytest.raises(TutorPipelineError) as error:
        load(tmp_path, body)
    assert str(error.value).startswith(f"{tmp_path / 'things.yml'} is no suite of checks:")
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

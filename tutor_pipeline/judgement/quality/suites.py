"""Suites of checks, read from YAML and checked.

A suite is about one table. Its checks are expectations of Great Expectations, by type and kwargs,
with a sentence for people. SQL in kwargs names schemas as {staging}, {marts}, {ops} and the moment
of the refresh as {as_of}. Belongs here: parsing. Does not belong here: evaluating (`run`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tutor_pipeline.core.errors import TutorPipelineError

SUITES = Path(__file__).with_name("suites")

ROWS = "expect_query_to_return_no_rows"
"""Type of a check given by the SQL that lists the rows which break it."""
VALUE = "expect_query_value_to_be_between"
"""Type of a check given by SQL for one value, `observed`; no row = it does not apply."""
QUERY = "query"
"""The kwarg that holds the SQL of either."""
ROW_COUNT = "expect_table_row_count_to_be_between"

_SUITE_KEYS = {"asset", "about", "keys", "may_be_empty", "checks"}
_CHECK_KEYS = {"name", "says", "expectation", "kwargs", "severity", "blocking", "rows_of"}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
# A sample goes where many can read it: these columns never belong into one.
PERSONAL = frozenset({"name", "email", "feedback_text", "payload", "raw"})


@dataclass(frozen=True, slots=True)
class Check:
    """One rule. `blocking`: while it fails, nothing is derived from the table; `rows_of`: the
    table whose rows it looks at, where that is not the suite's.
    """

    name: str
    says: str
    expectation: str
    kwargs: Mapping[str, Any]
    severity: str
    blocking: bool
    rows_of: str | None = None

    @property
    def is_query(self) -> bool:
        """Whether it is given by SQL instead of a column."""
        return QUERY in self.kwargs


@dataclass(frozen=True, slots=True)
class Suite:
    """The checks of one table. `asset` is `<schema>/<table>`; `keys` identify a failing row."""

    name: str
    asset: str
    about: str
    keys: tuple[str, ...]
    checks: tuple[Check, ...]


def load_suites(folder: Path = SUITES) -> tuple[Suite, ...]:
    """Every suite of a folder, by file name.

    Raises TutorPipelineError naming file and check when one is wrong.
    """
    suites = tuple(_suite(path) for path in sorted(folder.glob("*.yml")))
    seen: dict[tuple[str, str], str] = {}
    for suite in suites:
        for check in suite.checks:
            other = seen.setdefault((suite.asset, check.name), suite.name)
            if other != suite.name:
                raise TutorPipelineError(
                    f"{suite.name}.yml: {check.name} of {suite.asset} stands in {other}.yml too"
                )
    return suites


def _suite(path: Path) -> Suite:
    try:
        body = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise TutorPipelineError(f"{path.name}: cannot be read: {error}") from error
    where = path.name
    body = _mapping(body, where, _SUITE_KEYS, required={"asset", "about", "keys", "checks"})
    _table(body["asset"], f"{where}: asset")
    if not isinstance(body["checks"], list) or not isinstance(body["keys"], list):
        raise TutorPipelineError(f"{where}: keys and checks are lists")
    checks = tuple(_check(each, where) for each in body["checks"])
    names = [check.name for check in checks]
    for name in names:
        if names.count(name) > 1:
            raise TutorPipelineError(f"{where}: the check {name} is there twice")
    # Every expectation about rows holds of no rows.
    counts = any(check.expectation == ROW_COUNT for check in checks)
    if counts == bool(body.get("may_be_empty")):
        raise TutorPipelineError(
            f"{where}: either counts the rows ({ROW_COUNT}) or says why the table may be empty"
            " (may_be_empty)"
        )
    return Suite(path.stem, body["asset"], body["about"], tuple(body["keys"]), checks)


def _check(body: Any, where: str) -> Check:
    name = body.get("name") if isinstance(body, dict) else None
    where = f"{where}: {name or 'a check'}"
    required = _CHECK_KEYS - {"blocking", "rows_of"}
    body = _mapping(body, where, _CHECK_KEYS, required=required)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise TutorPipelineError(f"{where}: a name has small letters, digits and _")
    if not isinstance(body["says"], str) or not body["says"].rstrip().endswith("."):
        raise TutorPipelineError(f"{where}: says is a sentence that ends with a full stop")
    if body["severity"] not in ("error", "warn"):
        raise TutorPipelineError(f"{where}: severity is error or warn")
    blocking = body.get("blocking", False)
    if blocking is not True and blocking is not False:
        raise TutorPipelineError(f"{where}: blocking is true or false")
    if blocking and body["severity"] != "error":
        raise TutorPipelineError(f"{where}: a warning never blocks")
    kwargs = _mapping(body["kwargs"], f"{where}: kwargs")
    if (body["expectation"] in (ROWS, VALUE)) != (QUERY in kwargs):
        raise TutorPipelineError(f"{where}: {ROWS} and {VALUE}, and only they, have {QUERY}")
    return Check(
        name,
        " ".join(body["says"].split()),
        str(body["expectation"]),
        kwargs,
        body["severity"],
        blocking,
        _table(body["rows_of"], f"{where}: rows_of") if "rows_of" in body else None,
    )


def _table(name: Any, where: str) -> str:
    if not re.fullmatch(r"(staging|intermediate|marts|ops)/[a-z0-9_]+", str(name)):
        raise TutorPipelineError(f"{where} {name!r} is not <schema>/<table>")
    return str(name)


def _mapping(
    body: Any, where: str, known: set[str] | None = None, required: set[str] | None = None
) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise TutorPipelineError(f"{where}: is not a mapping")
    if known is not None and (unknown := set(map(str, body)) - known):
        raise TutorPipelineError(f"{where}: {', '.join(sorted(unknown))} is not known here")
    if missing := (required or set()) - body.keys():
        raise TutorPipelineError(f"{where}: {', '.join(sorted(missing))} is missing")
    return body

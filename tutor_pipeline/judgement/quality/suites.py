"""Suites of checks, read from YAML.

A suite is about one table. Its checks are expectations of Great Expectations, by type and kwargs,
with a sentence for people. SQL in kwargs names schemas as {staging}, {marts}, {ops} and the moment
of the refresh as {as_of}. Sentences and SQL name a threshold as {threshold.name}: a var of the dbt
project, or a number of the kwargs.

Belongs here: what a suite may say, and the errors that name file and check.
Does not belong here: evaluation (`run`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import PlainValidator, StrictBool, ValidationInfo, model_validator

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.thresholds import fill, fill_sql
from tutor_pipeline.core.yaml_models import YamlModel, read_yaml
from tutor_pipeline.metrics.thresholds import thresholds

SUITES = Path(__file__).with_name("suites")

ROWS = "expect_query_to_return_no_rows"
"""Type of a check given by the SQL that lists the rows which break it."""
VALUE = "expect_query_value_to_be_between"
"""Type of a check given by SQL for one value, `observed`; no row = it does not apply."""
QUERY = "query"
"""The kwarg with the SQL of either type."""
ROW_COUNT = "expect_table_row_count_to_be_between"

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_TABLE = re.compile(r"(staging|intermediate|marts|ops)/[a-z0-9_]+")
# Many people can read a sample: it must never have these columns.
PERSONAL = frozenset({"name", "email", "feedback_text", "payload", "raw"})


def _name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("a name has small letters, digits and _")
    return value


def _sentence(value: Any, info: ValidationInfo) -> str:
    if not isinstance(value, str) or not value.rstrip().endswith("."):
        raise ValueError(f"{info.field_name} is a sentence that ends with a full stop")
    return " ".join(value.split())


def _table(value: Any, info: ValidationInfo) -> str:
    if not _TABLE.fullmatch(str(value)):
        raise ValueError(f"{info.field_name} {value!r} is not <schema>/<table>")
    return str(value)


class Check(YamlModel):
    """One rule about a table.

    While a `blocking` check fails, nothing is derived from the table. `rows_of` is the table whose
    rows the check reads, if it is not that of the suite.
    """

    name: Annotated[str, PlainValidator(_name)]
    says: Annotated[str, PlainValidator(_sentence)]
    expectation: str
    kwargs: dict[str, Any]
    severity: Literal["error", "warn"]
    blocking: StrictBool = False
    rows_of: Annotated[str | None, PlainValidator(_table)] = None

    @property
    def is_query(self) -> bool:
        """Whether it is given by SQL instead of a column."""
        return QUERY in self.kwargs

    @model_validator(mode="before")
    @classmethod
    def _fill_thresholds(cls, given: Any) -> Any:
        """Replace the references in the sentence and in SQL."""
        if not isinstance(given, dict) or not isinstance(given.get("kwargs"), dict):
            return given
        kwargs = given["kwargs"]
        own = {name: value for name, value in kwargs.items() if type(value) in (int, float)}
        known = {**thresholds(), **own}
        filled = {
            **given,
            "kwargs": {
                name: fill_sql(value, known) if isinstance(value, str) else value
                for name, value in kwargs.items()
            },
        }
        if isinstance(given.get("says"), str):
            filled["says"] = fill(given["says"], known)
        return filled

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.blocking and self.severity != "error":
            raise ValueError("a warning never blocks")
        if (self.expectation in (ROWS, VALUE)) != self.is_query:
            raise ValueError(f"{ROWS} and {VALUE}, and only they, have {QUERY}")
        return self


class _SuiteFile(YamlModel):
    """The content of a file."""

    asset: Annotated[str, PlainValidator(_table)]
    about: str
    keys: tuple[str, ...]
    may_be_empty: str | None = None
    checks: tuple[Check, ...]

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        names = [check.name for check in self.checks]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the check {name} is there twice")
        # Every expectation about rows passes on an empty table.
        counts = any(check.expectation == ROW_COUNT for check in self.checks)
        if counts == bool(self.may_be_empty):
            raise ValueError(
                f"either counts the rows ({ROW_COUNT}) or says why the table may be empty"
                " (may_be_empty)"
            )
        return self


class Suite(_SuiteFile):
    """The checks of one table.

    `asset` is `<schema>/<table>`; `keys` are the columns that identify a failing row; `name` is
    that of the file.
    """

    name: str


def load_suites(folder: Path = SUITES) -> tuple[Suite, ...]:
    """Return all suites of a folder, by file name.

    Raises TutorPipelineError naming file and check if one is wrong.
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
    return Suite(name=path.stem, **vars(read_yaml(path, _SuiteFile, "suite of checks")))

"""The outcome of a check: one type for suites, dbt tests and the checks of the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from psycopg import sql

from tutor_pipeline.core.warehouse.database import Database

MAX_SAMPLE = 10
"""The number of failing rows that an outcome keeps."""
_MAX_TEXT = 120


class Status(StrEnum):
    """How a check ended. `errored` = it could not be evaluated, which is worse than failed."""

    PASSED = "passed"
    FAILED = "failed"
    ERRORED = "errored"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of evaluating one check.

    `asset` is the table by Dagster's name; `owner` is where the rule is defined: suite, dbt or
    pipeline; `severity` is error or warn. `sample` has at most MAX_SAMPLE failing rows, as values
    for JSON (keys and the offending value); `query` lists all of them. Counts are None if unknown.
    """

    asset: str
    check: str
    owner: str
    says: str
    severity: str
    blocking: bool
    status: Status
    observed: str | None = None
    rows_checked: int | None = None
    rows_failing: int | None = None
    sample: Sequence[Mapping[str, Any]] = ()
    query: str | None = None
    message: str | None = None
    seconds: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the check passed."""
        return self.status is Status.PASSED

    @property
    def is_error(self) -> bool:
        """Whether it counts as an error. A check that could not be evaluated always does."""
        return self.severity == "error" or self.status is Status.ERRORED

    @property
    def stops(self) -> bool:
        """Whether nothing may be derived from the table now."""
        return self.blocking and not self.passed

    @property
    def percent_failing(self) -> float | None:
        """Failing rows in percent of those checked; None if either is unknown."""
        if self.rows_failing is None or not self.rows_checked:
            return None
        return 100 * self.rows_failing / self.rows_checked


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of a sample as JSON-ready values, with long texts cut."""
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value[:MAX_SAMPLE]]
    if isinstance(value, float) and abs(value) < float("inf"):
        return value
    # A json column may hold what a text of PostgreSQL can't: NUL, and half a character.
    text = str(value).replace("\x00", "\ufffd").encode(errors="replace").decode()
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"


def first_rows(database: Database, query: str) -> list[dict[str, Any]]:
    """Return the first MAX_SAMPLE rows of a trusted query, in the order of their texts: the same
    rows on any server.
    """
    listed = sql.SQL(
        "select * from ({}) as failing_row order by failing_row::text limit {}"
    ).format(sql.SQL(query), sql.Literal(MAX_SAMPLE))
    return database.rows(listed)

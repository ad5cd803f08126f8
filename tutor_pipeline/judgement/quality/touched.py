"""Evaluates the blocking checks on the rows of some tutors, in one SQL statement.

For the refresh after a session, which cannot wait for Great Expectations. The rules come from the
suites. Checks of a whole table (counts, uniqueness, values over all rows) wait for a full refresh.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from psycopg import sql

from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.judgement.quality.run import placeholders
from tutor_pipeline.judgement.quality.suites import QUERY, ROWS, Check, Suite

TABLES = ("marts/fct_sessions", "intermediate/int_tutor_days", "marts/tutor_aggregates")
"""The tables that a refresh of some tutors rebuilds, with one or more rows per tutor."""


def failing_tutors(
    database: Database, suites: Iterable[Suite], tutors: Sequence[str], as_of: datetime
) -> dict[str, str]:
    """Return {tutor_id: the rules that rows of the tutor break}."""
    checks = [
        (suite, check, failing)
        for suite in suites
        if suite.asset in TABLES
        for check in suite.checks
        if check.blocking
        and (failing := _failing_rows(suite, check, database.warehouse, as_of)) is not None
    ]
    if not checks:
        return {}
    parts = [
        sql.SQL("select tutor_id, {} as position from {} where tutor_id = any(%(tutors)s)").format(
            sql.Literal(position), failing
        )
        for position, (_, _, failing) in enumerate(checks)
    ]
    statement = sql.SQL("{} order by tutor_id, position").format(sql.SQL(" union ").join(parts))
    found: dict[str, list[str]] = {}
    for tutor_id, position in database.execute(statement, {"tutors": list(tutors)}):
        suite, check, _ = checks[position]
        found.setdefault(tutor_id, []).append(f"{suite.asset}: {check.name}: {check.says}")
    return {tutor_id: "; ".join(rules) for tutor_id, rules in found.items()}


def _between(column: sql.Identifier, kwargs: dict[str, Any]) -> sql.Composable:
    lowest, highest = kwargs.get("min_value"), kwargs.get("max_value")
    bounds = [
        sql.SQL("{} {} {}").format(column, sql.SQL(comparison), sql.Literal(bound))
        for comparison, bound in (
            (">" if kwargs.get("strict_min") else ">=", lowest),
            ("<" if kwargs.get("strict_max") else "<=", highest),
        )
        if bound is not None
    ]
    return sql.SQL("not ({})").format(sql.SQL(" and ").join(bounds))


def _in_set(column: sql.Identifier, kwargs: dict[str, Any]) -> sql.Composable:
    return sql.SQL("{} <> all({})").format(column, sql.Literal(list(kwargs["value_set"])))


def _not_null(column: sql.Identifier, kwargs: dict[str, Any]) -> sql.Composable:
    return sql.SQL("{} is null").format(column)


# SQL that holds for a row that breaks an expectation about its column.
_BROKEN = {
    "expect_column_values_to_be_between": _between,
    "expect_column_values_to_be_in_set": _in_set,
    "expect_column_values_to_not_be_null": _not_null,
}


def _failing_rows(
    suite: Suite, check: Check, warehouse: Warehouse, as_of: datetime
) -> sql.Composable | None:
    """Return the rows that break the check, as a relation; None if it is not about single rows."""
    if check.expectation == ROWS:
        query = placeholders(warehouse, as_of)(check.kwargs[QUERY]).replace("%", "%%")
        return sql.SQL("({}) as failing").format(sql.SQL(query))
    broken = _BROKEN.get(check.expectation)
    if broken is None:
        return None
    schema, table = suite.asset.split("/")
    return sql.SQL("(select * from {} where {}) as failing").format(
        sql.Identifier(getattr(warehouse.schemas, schema), table),
        broken(sql.Identifier(check.kwargs["column"]), dict(check.kwargs)),
    )

"""Evaluates suites with Great Expectations, in PostgreSQL. The only module that imports it.

PostgreSQL returns only results: counts, at most ten failing rows, and the SQL that lists all of
them. Great Expectations gets connections but never the password. It has one ephemeral context and
writes no file.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import cache
from time import perf_counter
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import sql

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Database, Schemas, Warehouse
from tutor_pipeline.judgement.quality.outcome import MAX_SAMPLE, Outcome, Status, first_rows, plain
from tutor_pipeline.judgement.quality.suites import QUERY, VALUE, Check, Suite

_NAME = "check"
_OF_ROWS = "expect_column_values_"
"""Prefix of the types that check each row of a column."""
_MAX_MESSAGE = 500


def run_suite(
    suite: Suite,
    warehouse: Warehouse,
    as_of: datetime,
    only: Collection[str] | None = None,
) -> list[Outcome]:
    """Evaluate the checks of a suite (`only` = the checks with these names), in its order.

    Does not raise if the data or a check is wrong: the outcome is `errored` then.
    """
    checks = [check for check in suite.checks if only is None or check.name in only]
    fill = placeholders(warehouse, as_of)
    began = perf_counter()
    try:
        with warehouse.connect() as database, _batch(suite, warehouse) as batch:
            count = cache(lambda table: _count(database, table))
            results = _validate(batch, suite, checks, fill)
            outcomes = [
                _answer(suite, check, results[check.name], count, fill, database)
                for check in checks
            ]
    except Exception as error:
        # The table does not exist, or the connection broke: no check has a result.
        outcomes = [_errored(suite, check, _first_lines(error)) for check in checks]
    seconds = round((perf_counter() - began) / max(len(checks), 1), 3)
    return [replace(outcome, seconds=seconds) for outcome in outcomes]


def placeholders(warehouse: Warehouse, as_of: datetime) -> Callable[[str], str]:
    """Return a function that fills {staging}, {marts}, {as_of}, {today} … into a check's SQL."""
    schemas = warehouse.schemas
    names = {name: getattr(schemas, name) for name in ("staging", "intermediate", "marts", "ops")}
    today = as_of.astimezone(ZoneInfo(warehouse.timezone)).date()
    values = {
        **{name: sql.Identifier(schema).as_string() for name, schema in names.items()},
        "as_of": f"timestamptz '{as_of.isoformat()}'",
        "today": f"date '{today}'",
    }
    return lambda query: query.format(**values)


def _count(database: Database, asset: str) -> int:
    table = sql.Identifier(*_table(asset, database.schemas))
    return int(database.value(database.sql("select count(*) from {table}", table=table)))


def _table(asset: str, schemas: Schemas) -> tuple[str, str]:
    schema, table = asset.split("/")
    return getattr(schemas, schema), table


@cache
def great_expectations() -> Any:
    """Return Great Expectations, imported when a check first runs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import great_expectations
        import tqdm

        import tutor_pipeline.judgement.quality.expectations  # noqa: F401 - registers the types

    # Progress bars are not shown; their monitor would keep a thread.
    tqdm.tqdm.monitor_interval = 0
    return great_expectations


@cache
def _context() -> Any:
    library = great_expectations()
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = library.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


@contextmanager
def _batch(suite: Suite, warehouse: Warehouse) -> Iterator[Any]:
    """Yield the suite's table as a batch. Its connections are closed at the end."""
    context = _context()
    schema, table = _table(suite.asset, warehouse.schemas)
    with warnings.catch_warnings():
        # It warns because it does not get the URL, which has the password.
        warnings.simplefilter("ignore")
        source = context.data_sources.add_or_update_sql(
            name="warehouse",
            # Names the driver only: `creator` makes the connections.
            connection_string="postgresql+psycopg://",
            create_temp_table=False,
            kwargs={"creator": lambda: warehouse.connect().connection},
        )
    try:
        with warnings.catch_warnings():
            # It warns because the URL names no schema.
            warnings.simplefilter("ignore")
            asset = source.add_table_asset(table, table_name=table, schema_name=schema)
            batch = asset.add_batch_definition_whole_table("whole table").get_batch()
        yield batch
    finally:
        # One engine found the table, the other validated it.
        source.get_engine().dispose()
        source.get_execution_engine().engine.dispose()
        context.data_sources.delete("warehouse")


def _validate(
    batch: Any, suite: Suite, checks: Sequence[Check], fill: Callable[[str], str]
) -> dict[str, Any]:
    """Return {name of the check: result}."""
    of_rows = [check for check in checks if check.expectation.startswith(_OF_ROWS)]
    others = [check for check in checks if check not in of_rows]
    results = _run(batch, others, fill, {"result_format": "BASIC"})
    # Examples cost a scan of the table per check, so they are asked only of checks that failed.
    results |= _run(batch, of_rows, fill, {"result_format": "BOOLEAN_ONLY"})
    failed = [check for check in of_rows if _has_failed(results[check.name])]
    return results | _run(
        batch,
        failed,
        fill,
        {
            "result_format": "SUMMARY",
            "partial_unexpected_count": MAX_SAMPLE,
            "unexpected_index_column_names": list(suite.keys),
            "return_unexpected_index_query": True,
        },
    )


def _has_failed(result: Any) -> bool:
    return not result.success and _exception(result) is None


def _run(
    batch: Any, checks: Iterable[Check], fill: Callable[[str], str], result_format: Any
) -> dict[str, Any]:
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    suite = great_expectations().ExpectationSuite("suite")
    broken: dict[str, Any] = {}
    for check in checks:
        try:
            suite.add_expectation(
                ExpectationConfiguration(
                    type=check.expectation, kwargs=_kwargs(check, fill), meta={_NAME: check.name}
                ).to_domain_obj()
            )
        except Exception as error:  # the library does not know the type or its kwargs
            broken[check.name] = _Unusable(_first_lines(error))
    if not suite.expectations:
        return broken
    result = batch.validate(suite, result_format=result_format)
    # Results are in another order than the checks.
    return broken | {each.expectation_config.meta[_NAME]: each for each in result.results}


class _Unusable:
    """The result of an expectation that could not be constructed."""

    success = False

    def __init__(self, message: str) -> None:
        self.exception_info = {"raised_exception": True, "exception_message": message}
        self.result: dict[str, Any] = {}


def _kwargs(check: Check, fill: Callable[[str], str]) -> dict[str, Any]:
    kwargs = dict(check.kwargs)
    if QUERY in kwargs:
        # The library fills placeholders too. Without its own it prints a warning on stdout.
        query = fill(kwargs.pop(QUERY)).replace("{", "{{").replace("}", "}}")
        kwargs["unexpected_rows_query"] = f"{query} /* {{batch}} */"
    return kwargs


def _exception(result: Any) -> str | None:
    """Return why a result has no answer, or None."""
    info = result.exception_info or {}
    if "raised_exception" in info:
        infos = [info]
    else:
        infos = [each for each in info.values() if isinstance(each, dict)]
    for each in infos:
        if each.get("raised_exception"):
            return _first_lines(each.get("exception_message") or "no message")
    return None


def _first_lines(error: object) -> str:
    """Return the first lines of an error, without the SQL that follows."""
    text = str(error).split("\n[SQL:")[0].split("\nLINE ")[0]
    name = "" if isinstance(error, str | TutorPipelineError) else f"{type(error).__name__}: "
    return f"{name}{' '.join(text.split())}"[:_MAX_MESSAGE]


def _of(suite: Suite, check: Check, status: Status, **found: Any) -> Outcome:
    return Outcome(
        suite.asset,
        check.name,
        "suite",
        check.says,
        check.severity,
        check.blocking,
        status,
        **found,
    )


def _errored(suite: Suite, check: Check, message: str) -> Outcome:
    return _of(suite, check, Status.ERRORED, message=message)


def _answer(
    suite: Suite,
    check: Check,
    result: Any,
    count: Callable[[str], int],
    fill: Callable[[str], str],
    database: Database,
) -> Outcome:
    message = _exception(result)
    if message is not None:
        return _errored(suite, check, message)
    try:
        # A savepoint: an error in one check must not break the transaction for the others.
        with database.transaction():
            rows = count(check.rows_of or suite.asset)
            return _outcome(suite, check, result, rows, fill, database)
    except Exception as error:
        return _errored(suite, check, _first_lines(error))


def _outcome(
    suite: Suite,
    check: Check,
    result: Any,
    rows: int,
    fill: Callable[[str], str],
    database: Database,
) -> Outcome:
    found = result.result
    failing = sample = query = observed = None
    if check.is_query:
        query = fill(check.kwargs[QUERY])
    if check.expectation == VALUE:
        observed = _shown(found["observed_value"]) if found["judged"] else "not judged"
    elif query is not None:
        failing = found["unexpected_count"]
        sample = first_rows(database, query) if failing else None
    elif check.expectation.startswith(_OF_ROWS):
        failing = found.get("unexpected_count", 0)
        sample = found.get("partial_unexpected_index_list")
        query = found.get("unexpected_index_query")
        if query is not None:
            sample = first_rows(database, query.rstrip("; \n"))
    else:
        observed = _shown(found.get("observed_value"))
    return _of(
        suite,
        check,
        Status.PASSED if result.success else Status.FAILED,
        observed=observed,
        rows_checked=rows,
        rows_failing=failing,
        sample=[plain(row) for row in sample or ()],
        query=query,
    )


def _shown(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, float | Decimal):
        number = float(value)
        return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"
    return str(value)

"""Evaluating checks: one that can't be evaluated is errored with the reason, and nothing leaks."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from time import sleep
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest

from tutor_pipeline.core.warehouse.database import Schemas, Warehouse
from tutor_pipeline.judgement.quality import run
from tutor_pipeline.judgement.quality.outcome import Outcome, Status
from tutor_pipeline.judgement.quality.run import run_suite
from tutor_pipeline.judgement.quality.suites import ROWS, VALUE, Check, Suite

AS_OF = datetime(2026, 3, 18, 23, 30, tzinfo=UTC)
BETWEEN = "expect_column_values_to_be_between"
NOT_NULL = "expect_column_values_to_not_be_null"


@pytest.fixture(scope="module", autouse=True)
def things(warehouse: Warehouse) -> None:
    """marts.things: 100 rows, n from 1 to 100; x is NaN in the first, NULL in the second."""
    with warehouse.connect() as database:
        database.execute(
            "create table {marts}.things (id text, n integer, x double precision);"
            " insert into {marts}.things select 't' || lpad(n::text, 3, '0'), n,"
            " case n when 1 then float8 'NaN' when 2 then null else 1 end"
            " from generate_series(1, 100) as n"
        )


def suite(*checks: Check, table: str = "things", key: str = "id") -> Suite:
    return Suite.model_construct(
        name="things",
        asset=f"marts/{table}",
        about="Things.",
        keys=(key,),
        checks=checks,
    )


def outcomes(warehouse: Warehouse, suite: Suite) -> dict[str, Outcome]:
    found = run_suite(suite, warehouse, AS_OF)
    assert [each.check for each in found] == [check.name for check in suite.checks]
    return {each.check: each for each in found}


@pytest.fixture(scope="module")
def fine(make_check: Callable[..., Check]) -> tuple[Check, Check, Check]:
    """Checks of each sort that have an answer."""
    return (
        make_check("there_are_things", "expect_table_row_count_to_be_between", min_value=1),
        make_check("small", BETWEEN, column="n", max_value=98),
        make_check("even", ROWS, query="select id, n from {marts}.things where n % 2 = 1"),
    )


def test_an_answer_is_whole(warehouse: Warehouse, fine: tuple[Check, ...]) -> None:
    found = outcomes(warehouse, suite(*fine))
    there = found["there_are_things"]
    assert (there.status, there.observed, there.rows_checked) == (Status.PASSED, "100", 100)
    small = found["small"]
    assert (small.status, small.rows_checked, small.rows_failing) == (Status.FAILED, 100, 2)
    assert small.sample == [{"id": "t099", "n": 99}, {"id": "t100", "n": 100}]
    assert small.percent_failing == 2
    even = found["even"]
    assert (even.status, even.rows_failing, len(even.sample)) == (Status.FAILED, 50, 10)
    assert even.query == 'select id, n from "marts".things where n % 2 = 1'
    assert small.stops and even.is_error and not there.stops
    assert all(each.seconds is not None and each.owner == "suite" for each in found.values())


UNANSWERABLE = {
    "column_of_values": (BETWEEN, {"column": "weight", "max_value": 5}, '"weight"'),
    "column_of_nulls": (NOT_NULL, {"column": "weight"}, '"weight"'),
    "type": (BETWEEN, {"column": "id", "max_value": 5}, "type TEXT"),
    "unknown_kwarg": (BETWEEN, {"column": "n", "most": 5}, "most"),
    "missing_kwarg": (BETWEEN, {"max_value": 5}, "column"),
    "unknown_expectation": ("expect_pigs_to_fly", {}, "expect_pigs_to_fly"),
    "column_in_sql": (ROWS, {"query": "select weight from {marts}.things"}, '"weight"'),
    "table_in_sql": (ROWS, {"query": "select 1 from {marts}.nothing"}, '"marts.nothing"'),
    "schema_in_sql": (ROWS, {"query": "select 1 from {nowhere}.things"}, "nowhere"),
    "sql": (ROWS, {"query": "selectt 1"}, "syntax error"),
    "two_statements": (ROWS, {"query": "select 1; drop table {marts}.things"}, "syntax error"),
    "cast": (ROWS, {"query": "select id::integer from {marts}.things"}, "invalid input syntax"),
    "no_observed": (VALUE, {"query": "select 1 as other", "min_value": 1}, "observed"),
    "zero": (VALUE, {"query": "select 1 / 0 as observed", "min_value": 1}, "division by zero"),
    "text": (VALUE, {"query": "select 'much' as observed", "min_value": 1}, "str"),
}


@pytest.fixture(scope="module")
def beside_broken_ones(
    warehouse: Warehouse, fine: tuple[Check, ...], make_check: Callable[..., Check]
) -> dict[str, Outcome]:
    """Outcomes of all of UNANSWERABLE, and of three that have an answer, in one suite."""
    broken = [make_check(name, kind, **kwargs) for name, (kind, kwargs, _) in UNANSWERABLE.items()]
    return outcomes(warehouse, suite(*broken[:8], *fine, *broken[8:]))


@pytest.mark.parametrize("name", UNANSWERABLE)
def test_what_cannot_be_evaluated_is_errored_and_says_why(
    beside_broken_ones: dict[str, Outcome], name: str
) -> None:
    outcome = beside_broken_ones[name]
    assert outcome.status is Status.ERRORED
    assert outcome.is_error and outcome.stops
    assert outcome.message is not None
    assert UNANSWERABLE[name][2] in outcome.message
    assert "\n" not in outcome.message
    assert (outcome.rows_failing, list(outcome.sample)) == (None, [])


def test_the_others_have_their_answers(beside_broken_ones: dict[str, Outcome]) -> None:
    answered = {name: each for name, each in beside_broken_ones.items() if each.message is None}
    assert {name: str(each.status) for name, each in answered.items()} == {
        "there_are_things": "passed",
        "small": "failed",
        "even": "failed",
    }
    assert (answered["small"].rows_failing, answered["even"].rows_failing) == (2, 50)


def test_a_warning_that_cannot_be_evaluated_is_an_error_and_stops_nothing(
    warehouse: Warehouse,
) -> None:
    check = Check.model_construct(
        name="broken",
        says="It holds.",
        expectation=NOT_NULL,
        kwargs={"column": "weight"},
        severity="warn",
    )
    outcome = outcomes(warehouse, suite(check))["broken"]
    assert outcome.status is Status.ERRORED
    assert outcome.is_error and not outcome.stops


def test_without_its_table_no_check_has_an_answer(
    warehouse: Warehouse, fine: tuple[Check, ...]
) -> None:
    found = outcomes(warehouse, suite(*fine, table="nothing"))
    assert {str(each.status) for each in found.values()} == {"errored"}
    for each in found.values():
        assert '"marts.nothing" does not exist' in (each.message or "")
        assert "\n" not in (each.message or "")


def test_another_table_that_is_missing_concerns_only_who_reads_it(
    warehouse: Warehouse, make_check: Callable[..., Check], fine: tuple[Check, ...]
) -> None:
    query = "select id from {marts}.things where n > 98"
    other = Check.model_construct(
        name="other",
        says="It holds.",
        expectation=ROWS,
        kwargs={"query": query},
        severity="error",
        blocking=True,
        rows_of="marts/nothing",
    )
    found = outcomes(warehouse, suite(other, *fine))
    assert "marts.nothing" in (found.pop("other").message or "")
    assert [str(each.status) for each in found.values()] == ["passed", "failed", "failed"]


def test_a_column_that_comes_back_is_seen(
    warehouse: Warehouse, make_check: Callable[..., Check]
) -> None:
    late = suite(make_check("late", NOT_NULL, column="late"))
    assert outcomes(warehouse, late)["late"].status is Status.ERRORED
    with warehouse.connect() as database:
        database.execute("alter table {marts}.things add late integer default 1")
    assert outcomes(warehouse, late)["late"].status is Status.PASSED
    with warehouse.connect() as database:
        database.execute("alter table {marts}.things drop late")
    assert outcomes(warehouse, late)["late"].status is Status.ERRORED


def test_nobody_answers(warehouse: Warehouse, fine: tuple[Check, ...]) -> None:
    parts = urlsplit(warehouse.url)
    closed = warehouse.url.replace(f":{parts.port}/", ":1/")
    found = outcomes(Warehouse(closed), suite(*fine))
    for each in found.values():
        assert each.status is Status.ERRORED
        assert "cannot connect" in (each.message or "")
        assert str(parts.password) not in (each.message or "")


VALUES = {
    "0.3::double precision": False,
    "0.3::numeric": False,
    "0.31": True,
    "2": True,
    "2.01": False,
    "10": False,
    "null::numeric": False,
    "'NaN'::double precision": False,
    "'NaN'::numeric": False,
    "'Infinity'::double precision": False,
    "'-Infinity'::numeric": False,
}


def test_a_value_lies_between(warehouse: Warehouse, make_check: Callable[..., Check]) -> None:
    bounds = {"min_value": 0.3, "strict_min": True, "max_value": 2}
    found = outcomes(
        warehouse,
        suite(
            *(
                make_check(value, VALUE, query=f"select {value} as observed", **bounds)
                for value in VALUES
            )
        ),
    )
    assert {value: each.status for value, each in found.items()} == {
        value: Status.PASSED if passes else Status.FAILED for value, passes in VALUES.items()
    }


def test_a_value_that_does_not_apply_passes_and_says_so(
    warehouse: Warehouse, make_check: Callable[..., Check]
) -> None:
    check = make_check("value", VALUE, query="select 1 as observed where false", min_value=5)
    outcome = outcomes(warehouse, suite(check))["value"]
    assert (outcome.status, outcome.observed) == (Status.PASSED, "not judged")


def test_null_passes_and_no_number_does_not(
    warehouse: Warehouse, make_check: Callable[..., Check]
) -> None:
    check = make_check("x", BETWEEN, column="x", min_value=0, max_value=1)
    outcome = outcomes(warehouse, suite(check))["x"]
    assert (outcome.rows_failing, outcome.sample) == (1, [{"id": "t001", "x": "nan"}])


def test_sql_means_what_it_says(warehouse: Warehouse, make_check: Callable[..., Check]) -> None:
    """Braces (doubled, as beside {marts}) and percent signs survive two libraries."""
    conditions = (
        "'{{}}' = '{{}}'",
        "'{{1,2}}'::integer[] = array[1, 2]",
        "id like 't%'",
        "n % 7 >= 0",
        "'%s' = '%' || 's'",
    )
    checks = [
        make_check(each, ROWS, query=f"select id from {{marts}}.things where {each}")
        for each in conditions
    ]
    found = outcomes(warehouse, suite(*checks))
    assert {(each.message, each.rows_failing) for each in found.values()} == {(None, 100)}


def test_schemas_may_have_any_name_and_today_is_the_pipelines(
    warehouse: Warehouse, make_check: Callable[..., Check]
) -> None:
    """23:30 in UTC is the next day in Tokyo."""
    odd = Warehouse(warehouse.url, Schemas("tutor_"), timezone="Asia/Tokyo")
    with odd.connect() as database:
        database.execute("create schema {marts}")
        database.execute("create table {marts}.things (id text, n integer)")
        database.execute("insert into {marts}.things values ('t1', 1)")
    days = "select id, {today} as today, {as_of} as as_of from {marts}.things"
    found = outcomes(
        odd,
        suite(
            make_check("n", BETWEEN, column="n", max_value=0),
            make_check("days", ROWS, query=days),
        ),
    )
    assert found["n"].sample == [{"id": "t1", "n": 1}]
    assert found["days"].sample == [
        {"id": "t1", "today": "2026-03-19", "as_of": "2026-03-18 23:30:00+00:00"}
    ]
    for each in found.values():
        with odd.connect() as database:
            assert len(database.execute(each.query or "").fetchall()) == 1


def test_every_shipped_check_is_an_expectation_that_the_library_knows(
    suites: tuple[Suite, ...], warehouse: Warehouse
) -> None:
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    fill = run.placeholders(warehouse, AS_OF)
    for each in suites:
        for check in each.checks:
            kwargs = run._kwargs(check, fill)
            made = ExpectationConfiguration(type=check.expectation, kwargs=kwargs).to_domain_obj()
            assert made.expectation_type == check.expectation, (each.name, check.name)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Home, working and temporary folder are one empty folder; nobody can be reached by Python
    (PostgreSQL's own library can); Great Expectations starts anew.
    """

    def refuse(*_: Any) -> None:
        raise AssertionError("somebody was called")

    for name in ("HOME", "USERPROFILE", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    run._context.cache_clear()
    yield tmp_path
    run._context.cache_clear()


def _everything(value: Any, seen: set[int], depth: int = 0) -> Iterator[str]:
    """What an object and whatever it holds look like as texts."""
    if id(value) in seen or depth > 12 or isinstance(value, type | ModuleType | Warehouse):
        return
    seen.add(id(value))
    with suppress(TypeError):  # some say so as JSON, which what makes connections is not
        yield repr(value)
    if isinstance(value, dict):
        held = [*value, *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        held = list(value)
    else:
        held = list(getattr(value, "__dict__", {}).values())
    for each in held:
        yield from _everything(each, seen, depth + 1)


def test_nothing_is_written_nobody_called_and_the_password_stays_here(
    warehouse: Warehouse,
    fine: tuple[Check, ...],
    elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    password = urlsplit(warehouse.url).password
    assert password
    held: list[str] = []
    validate = run._validate

    def look(batch: Any, *rest: Any) -> Any:
        results = validate(batch, *rest)
        held.extend(_everything([batch, batch.datasource, run._context(), results], set()))
        return results

    monkeypatch.setattr(run, "_validate", look)
    found = outcomes(warehouse, suite(*fine))
    assert "errored" not in {str(each.status) for each in found.values()}, found
    assert len(held) > 100
    assert any("things" in text for text in held)
    assert not [text for text in held if password in text]
    assert not run._context().data_sources.all()
    written = capfd.readouterr()
    assert (written.out, written.err) == ("", "")
    assert password not in caplog.text
    assert [path for path in elsewhere.rglob("*") if path.is_file()] == []


def test_connections_are_closed(warehouse: Warehouse, fine: tuple[Check, ...]) -> None:
    outcomes(warehouse, suite(*fine))
    outcomes(warehouse, suite(*fine, table="nothing"))
    with warehouse.connect(autocommit=True) as database:
        for _ in range(100):  # a server takes a moment to notice
            row = database.execute(
                "select count(*) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            ).fetchone()
            assert row is not None
            if row[0] == 0:
                return
            sleep(0.05)
    pytest.fail(f"{row[0]} connections are still open")

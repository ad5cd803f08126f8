"""Loading: what is in the database is what was generated, whatever was there before."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from tutor_pipeline.core.errors import RefusedError, TutorPipelineError
from tutor_pipeline.core.warehouse.database import Schemas, Warehouse
from tutor_pipeline.sources.synthetic import Parameters, Population, generate
from tutor_pipeline.sources.synthetic.copy_binary import ROWS_PER_CHUNK, encode
from tutor_pipeline.sources.synthetic.load import load
from tutor_pipeline.sources.synthetic.population import Array, is_missing

END = date(2026, 11, 19)


def read(warehouse: Warehouse, schema: str, table: str, columns: list[str]) -> list[tuple[Any]]:
    with warehouse.connect() as database:
        database.execute("set timezone = 'UTC'")
        names = ", ".join(columns)
        return database.execute(f"select {names} from {schema}.{table}").fetchall()


def as_python(values: Array) -> list[Any]:
    if values.dtype.kind == "S":
        plain = [value.decode() for value in values.tolist()]
    elif values.dtype.str.endswith("i1"):
        plain = [value == 1 for value in values.tolist()]
    else:
        plain = values.tolist()
    return [None if gone else value for value, gone in zip(plain, is_missing(values), strict=True)]


def from_database(value: Any) -> Any:
    match value:
        case Decimal():
            return float(value)
        case dict() | list():
            return json.dumps(value)
        case _ if getattr(value, "tzinfo", None):
            return value.replace(tzinfo=None)
    return value


def assert_holds(warehouse: Warehouse, population: Population) -> None:
    """Every value of every table, row by row, and no table or column left out."""
    for schema, tables in (("platform", population.platform), ("truth", population.truth)):
        with warehouse.connect() as database:
            there = database.execute(
                "select table_name, array_agg(column_name::text) from information_schema.columns"
                " where table_schema = %s group by 1",
                (schema,),
            ).fetchall()
        for table, names in there:
            columns = tables.get(table)
            if columns is None:
                assert read(warehouse, schema, table, ["1"]) == []
                continue
            assert set(names) == columns.keys(), table
            found = read(warehouse, schema, table, list(columns))
            expected = zip(*map(as_python, columns.values()), strict=True)
            mine = [tuple(map(from_database, row)) for row in found]
            assert mine == list(expected), table
        assert tables.keys() <= {table for table, _ in there}


@pytest.fixture(scope="module")
def population() -> Population:
    return generate(Parameters.preset("dev", END))


def test_database_holds_what_was_generated(warehouse: Warehouse, population: Population) -> None:
    seen: list[tuple[str, int, int]] = []
    with warehouse.connect() as database:
        rows = load(database, population, lambda *step: seen.append(step))
    assert_holds(warehouse, population)
    assert seen[-1][1:] == (rows, rows)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert {table for table, _, _ in seen} >= {"sessions", "tutor_days"}

    with warehouse.connect() as database:
        assert load(database, population) == rows
    assert_holds(warehouse, population)


def test_another_population_replaces_all_of_it(warehouse: Warehouse) -> None:
    bare = generate(
        Parameters.preset("dev", END, seed=2, engagement_events=False, interventions=False)
    )
    with warehouse.connect() as database:
        load(database, bare)
    assert_holds(warehouse, bare)


def test_tables_without_rows_are_emptied(warehouse: Warehouse, population: Population) -> None:
    sparse = generate(Parameters.preset("dev", END, world="sparse"))
    with warehouse.connect() as database:
        load(database, population)
        load(database, sparse)
    assert_holds(warehouse, sparse)


def test_without_replace_sessions_are_kept(warehouse: Warehouse, population: Population) -> None:
    with warehouse.connect() as database:
        load(database, population)
    other = generate(Parameters.preset("dev", END, seed=3))
    with (
        warehouse.connect() as database,
        pytest.raises(RefusedError, match="holds sessions already; nothing was"),
    ):
        load(database, other, replace=False)
    assert_holds(warehouse, population)


def test_a_load_that_breaks_changes_nothing(warehouse: Warehouse, population: Population) -> None:
    with warehouse.connect() as database:
        load(database, population)

    def break_off(table: str, _done: int, _total: int) -> None:
        if table == "session_feedback":
            raise KeyboardInterrupt

    other = generate(Parameters.preset("dev", END, seed=4))
    with warehouse.connect() as database, pytest.raises(KeyboardInterrupt):
        load(database, other, break_off)
    assert_holds(warehouse, population)


def test_a_truth_made_before_gets_the_tables_it_lacks(
    warehouse: Warehouse, population: Population
) -> None:
    with warehouse.connect() as database:
        load(database, population)
        database.execute("drop table truth.students")
        load(database, population)
    assert_holds(warehouse, population)


@pytest.mark.parametrize("taken", ["platform", "truth"])
def test_schemas_of_others_are_refused(
    warehouse: Warehouse, population: Population, taken: str
) -> None:
    with warehouse.connect() as database:
        database.execute(f"create schema if not exists foreign_{taken}")
    schemas = (
        Schemas(platform="foreign_platform") if taken == "platform" else Schemas(prefix="foreign_")
    )
    aimed = Warehouse(warehouse.url, schemas)
    with aimed.connect() as database, pytest.raises(RefusedError):
        load(database, population)
    with warehouse.connect() as database:
        assert database.execute(
            "select count(*) from pg_tables where schemaname = %s", (f"foreign_{taken}",)
        ).fetchone() == (0,)


def test_columns_of_types_that_cannot_be_written_are_named() -> None:
    columns = {"id": np.array([b"a"]), "odd": np.array([1.0])}
    with pytest.raises(TutorPipelineError, match="column odd has the type 'money'"):
        list(encode(columns, {"id": "text", "odd": "money"}))
    with pytest.raises(TutorPipelineError, match=r"not between 0 and 9,999\.99"):
        list(encode({"amount": np.array([10_000.0])}, {"amount": "numeric"}))


@pytest.mark.parametrize("rows", [0, 1, ROWS_PER_CHUNK, ROWS_PER_CHUNK + 1])
def test_chunks_have_all_rows_and_the_ends(warehouse: Warehouse, rows: int) -> None:
    columns = {
        "name": np.array([b"", b"x", b"long enough"] * rows)[:rows].astype("S11"),
        "amount": np.array([0.0, 9999.99, np.nan, 1.05] * rows)[:rows],
        "whole": np.arange(rows, dtype=np.int32) - 2,
    }
    types = {"name": "text", "amount": "numeric", "whole": "integer"}
    with warehouse.connect() as database:
        database.execute("create temp table t (name text, amount numeric(6,2), whole integer)")
        with database.connection.cursor().copy("copy t from stdin (format binary)") as copy:
            for _, data in encode(columns, types):
                copy.write(data)
        found = database.execute("select * from t order by whole").fetchall()
    assert len(found) == rows
    expected = [(None, 0.0, -2), ("x", 9999.99, -1), ("long enough", None, 0), (None, 1.05, 1)]
    assert [tuple(map(from_database, row)) for row in found[:4]] == expected[:rows]


@pytest.mark.long
def test_a_million_sessions_in_half_a_minute(warehouse: Warehouse) -> None:
    """In a process of its own, so that its memory is its own too."""
    import subprocess
    import sys

    code = f"""
import resource, time
from datetime import date
from tutor_pipeline.sources.synthetic import Parameters, generate
from tutor_pipeline.sources.synthetic.load import load
from tutor_pipeline.core.warehouse.database import Warehouse
begun = time.monotonic()
warehouse = Warehouse({warehouse.url!r})
made = generate(Parameters(end=date(2026, 11, 19), tutors=3000, sessions_per_day=11_112))
with warehouse.connect() as connection:
    load(connection, made)
print(time.monotonic() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, gigabytes = map(float, done.stdout.split())
    assert gigabytes < 2
    assert seconds < 60  # 30 on an idle machine: 21 measured
    with warehouse.connect() as database:
        (rows,) = database.execute("select count(*) from platform.sessions").fetchone() or (0,)
    assert rows > 1_000_000

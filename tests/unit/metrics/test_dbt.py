"""dbt as we call it: its unit tests, its failures, and what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Schemas
from tutor_pipeline.defs.metrics import tables_as_of_now
from tutor_pipeline.metrics import dbt
from tutor_pipeline.metrics.catalogue import metric_columns

# The cause is on the first line, which is what lists show.
MISSING_COLUMN = (
    r"(?s)^dbt run failed at tutor_aggregates: column \S*late_count\S* does not exist\n.*"
    r"\nin models/marts/tutor_aggregates\.sql"
)
MOMENT = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)
BIG_TABLES = [
    ("intermediate", "int_tutor_days"),
    ("marts", "fct_sessions"),
    ("marts", "dim_tutors"),
    ("marts", "tutor_aggregates"),
    ("marts", "tutor_performance_snapshots"),
]


@pytest.fixture(scope="module")
def built(bench: Any) -> Any:
    """An empty platform, all models built on it and tested by dbt's data tests."""
    bench.add("tutors", user_id="t1")
    bench.refresh(command="build", select=["*", "--exclude-resource-type", "unit_test"])
    return bench


def test_dbts_own_unit_tests_pass(built: Any) -> None:
    environment = dbt.dbt_environment(built.warehouse, None, built.home)
    result = dbt.invoke(["test", "--select", "test_type:unit"], environment)
    statuses = {
        node.node.name: str(node.status)
        for node in result.result.results
        if node.node.resource_type == "unit_test"
    }
    assert len(statuses) >= 14
    assert set(statuses.values()) == {"pass"}


def test_the_environment_is_left_as_it_was(
    built: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PGHOST", "elsewhere")
    monkeypatch.setenv("TUTOR_RUN_ID", "a run of long ago")
    before = dict(os.environ)
    environment = dbt.dbt_environment(built.warehouse, None, built.home)
    dbt.invoke(["run", "--select", "platform_metrics"], environment)
    assert dict(os.environ) == before
    assert capfd.readouterr().out == ""


def test_nothing_changes_the_environment_beside_other_threads(built: Any) -> None:
    """A variable set while another thread connects can crash the process."""
    changed = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("os.putenv", "os.unsetenv") and watching:
            changed.append((threading.current_thread().name, event, arguments))

    watching = True
    sys.addaudithook(watch)  # for the life of the process: there is no removing it
    environment = dbt.dbt_environment(built.warehouse, None, built.home)
    with dbt.hold_environment(environment):
        changed_before = len(changed)
        thread = threading.Thread(target=dbt.run, args=(["run", "--select", "platform_metrics"],))
        thread.start()
        thread.join()
        changed_by_dbt = changed[changed_before:]
    watching = False
    assert changed_before > 0
    assert changed_by_dbt == []
    assert {name for name, *_ in changed} == {threading.main_thread().name}


def test_without_a_run_id_dbt_writes_a_full_header_as_of_now(built: Any) -> None:
    built.execute("truncate {ops}.refresh_runs")
    environment = dbt.dbt_environment(built.warehouse, None, built.home)
    dbt.invoke(["run"], environment)
    header = built.row(
        "select *, now() - as_of < interval '1 minute' as is_now from {ops}.refresh_runs"
    )
    assert (header["is_full"], header["is_now"], header["snapshot_from"]) == (True, True, None)
    assert (header["tables"], header["built_at"] is not None) == (None, True)
    assert built.row("select as_of from {marts}.tutor_aggregates")["as_of"] == header["as_of"]


def test_some_tables_by_hand_keep_the_moment_of_the_others(built: Any) -> None:
    built.refresh(MOMENT)
    environment = dbt.dbt_environment(built.warehouse, None, built.home)
    dbt.invoke(["run", "--select", "tutor_aggregates"], environment)
    header = built.row("select * from {ops}.refresh_runs order by started_at desc limit 1")
    assert (header["is_full"], header["tables"]) == (False, ["marts/tutor_aggregates"])
    assert built.row("select as_of from {marts}.tutor_aggregates")["as_of"] == header["as_of"]
    assert header["as_of"] == MOMENT


def test_tables_of_a_refresh_are_the_same_for_dagster(built: Any) -> None:
    environment = dbt.dbt_environment(built.warehouse, None, built.home)
    dbt.invoke(["parse"], environment)
    manifest = json.loads((dbt.target_dir(built.home) / "manifest.json").read_text("utf-8"))
    tables = [node["name"] for node in tables_as_of_now(manifest)]
    dbt.invoke(["run", "--select", *tables], environment)
    assert built.row("select * from {ops}.refresh_runs order by started_at desc limit 1")["is_full"]


def test_a_failure_names_the_model_and_what_the_database_said(built: Any) -> None:
    built.execute("alter table {intermediate}.int_tutor_days rename column late_count to lost")
    environment = dbt.dbt_environment(built.warehouse, None, built.home)
    with pytest.raises(TutorPipelineError, match=MISSING_COLUMN):
        dbt.invoke(["--no-write-json", "run", "--select", "tutor_aggregates"], environment)
    built.execute("alter table {intermediate}.int_tutor_days rename column lost to late_count")


def test_a_run_id_without_a_header_is_refused(built: Any) -> None:
    environment = dbt.dbt_environment(built.warehouse, "nobody wrote this", built.home)
    with pytest.raises(TutorPipelineError, match="no header with run_id 'nobody wrote this'"):
        dbt.invoke(["run", "--select", "int_tutor_days"], environment)


def test_events_tell_of_each_model_and_test(built: Any) -> None:
    events: list[dict[str, Any]] = []
    environment = dbt.dbt_environment(built.warehouse, None, built.home)
    dbt.invoke(["build", "--select", "tutor_scoreboard"], environment, on_event=events.append)
    nodes = {event["data"]["node_info"]["unique_id"]: event["info"]["name"] for event in events}
    assert nodes["model.tutor_pipeline.tutor_scoreboard"] == "LogModelResult"
    assert any(name == "LogTestResult" for name in nodes.values())


@pytest.mark.usefixtures("starts_something")
def test_parsing_needs_no_server_and_no_connection_variables(tmp_path: Path) -> None:
    environment = dbt.parse_environment(Schemas("a_", "b"), tmp_path)
    dbt.invoke(["parse"], environment)
    manifest = (dbt.target_dir(tmp_path) / "manifest.json").read_text()
    assert '"a_marts"' in manifest


@pytest.mark.parametrize(("schema", "table"), BIG_TABLES)
def test_unique_indexes_of_big_tables_begin_with_the_tutor(
    built: Any, schema: str, table: str
) -> None:
    name = f"{getattr(built.warehouse.schemas, schema)}.{table}"
    indexes = built.rows(
        "select a.attname from pg_index as i join pg_attribute as a"
        " on a.attrelid = i.indrelid and a.attnum = i.indkey[0]"
        " where i.indrelid = %s::regclass and i.indisunique",
        name,
    )
    assert {row["attname"] for row in indexes} == {"tutor_id"}
    column = built.row(
        "select attnotnull, format_type(atttypid, atttypmod) as type from pg_attribute"
        " where attrelid = %s::regclass and attname = 'tutor_id'",
        name,
    )
    assert column == {"attnotnull": True, "type": "text"}


def test_no_view_of_ours_and_no_real_column(built: Any) -> None:
    ours = [built.warehouse.schemas.staging, "intermediate", "marts"]
    views = built.rows("select viewname from pg_views where schemaname = any(%s)", ours)
    assert views == []
    reals = built.rows(
        "select table_name, column_name from information_schema.columns"
        " where table_schema = any(%s) and data_type = 'real'",
        ours,
    )
    assert reals == []


def test_the_sql_keeps_to_what_a_cluster_runs(built: Any) -> None:
    compiled = list((dbt.target_dir(built.home) / "run").rglob("models/**/*.sql"))
    assert {path.stem for path in compiled} >= {table for _, table in BIG_TABLES}
    for path in compiled:
        text = path.read_text(encoding="utf-8").lower()
        for forbidden in ("merge into", "rollup", "with recursive", "ctid", "reltuples", "now()"):
            assert not re.search(rf"\b{re.escape(forbidden)}", text), (path.name, forbidden)


def test_the_catalogue_is_what_is_in_the_database(built: Any) -> None:
    for model, columns in metric_columns().items():
        actual = built.rows(
            "select attname, format_type(atttypid, atttypmod) as type from pg_attribute"
            " where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum",
            f"{built.warehouse.schemas.marts}.{model}",
        )
        names = {"timestamptz": "timestamp with time zone"}
        expected = {name: names.get(column.type, column.type) for name, column in columns.items()}
        assert {row["attname"]: row["type"] for row in actual} == expected


def test_every_metric_names_its_exposure() -> None:
    columns = metric_columns()["tutor_aggregates"]
    for name, column in columns.items():
        is_metric = name not in {"tutor_id", "as_of", "as_of_date"} and column.type != "text[]"
        assert (column.exposure is not None) == is_metric, name
        if is_metric:
            assert columns[str(column.exposure)].type == "integer", name

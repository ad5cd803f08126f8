"""dbt as its users call it: their shell, our project, a database that the pipeline works on."""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.refreshes import Refreshes

pytestmark = pytest.mark.usefixtures("as_it_was")

ROOT = Path(__file__).parents[2]
LEAF = "tutor_scoreboard"
NEWEST_FULL = (
    "select run_id, as_of from ops.refresh_runs where is_full and snapshot_from is null"
    " order by started_at desc limit 1"
)
NEWEST = (
    "select is_full, tables, as_of, built_at is not null from ops.refresh_runs"
    " order by started_at desc limit 1"
)


class Shell:
    """A shell after `eval "$(tutor-pipeline env)"`."""

    def __init__(self, project):
        lines = project.run("env").stdout.splitlines()
        exports = (shlex.split(line)[1].partition("=") for line in lines)
        self.environment = {**os.environ, **{name: value for name, _, value in exports}}
        self.environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.zygote = project.zygote
        self.compiled = Path(self.environment["DBT_TARGET_PATH"]) / "compiled" / "tutor_pipeline"

    def dbt(self, *arguments, folder=ROOT, status=0):
        result = self.zygote.run(
            ["--no-use-colors", *arguments], self.environment, program="dbt", folder=folder
        )
        assert result.returncode == status, result.stdout + result.stderr
        return result.stdout

    def sql_of(self, model):
        (file,) = self.compiled.rglob(f"{model}.sql")
        return file.read_text(encoding="utf-8")

    def moments_of(self, model):
        return set(re.findall("timestamptz '[^']*'", self.sql_of(model)))


@pytest.fixture(scope="module")
def shell(project):
    """A shell on a platform after a refresh."""
    project.run("generate", "--tutors", "12", "--days", "30")
    project.run("enrich")
    return Shell(project)


def literal(moment):
    return f"timestamptz '{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00'"


def test_before_the_first_refresh_it_says_that_it_is_as_of_now(new_project):
    project = new_project()
    project.run("generate", "--tutors", "3", "--days", "10")
    fresh = Shell(project)
    said = fresh.dbt("docs", "generate")
    assert "No refresh has built the tables yet: this is as of now." in said
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert f"timestamptz '{today}" in fresh.sql_of("int_tutor_days")


def test_compile_takes_the_moment_of_the_newest_refresh_in_any_folder(shell, project, tmp_path):
    ((_, as_of),) = project.query(NEWEST_FULL)
    for folder in (ROOT, ROOT / "dbt_project", tmp_path):
        said = shell.dbt("compile", "--select", "int_tutor_days", folder=folder)
        assert "as of now" not in said
        assert shell.moments_of("int_tutor_days") == {literal(as_of)}


def test_docs_generate_makes_the_whole_catalog(shell, project):
    shell.dbt("docs", "generate")
    ((_, as_of),) = project.query(NEWEST_FULL)
    assert shell.moments_of("tutor_aggregates") == {literal(as_of)}
    target = Path(shell.environment["DBT_TARGET_PATH"])
    catalog = json.loads((target / "catalog.json").read_text(encoding="utf-8"))
    assert catalog["errors"] is None
    assert "model.tutor_pipeline.tutor_aggregates" in catalog["nodes"]
    assert len(catalog["sources"]) > 5


@pytest.mark.parametrize("model", ["tutor_aggregates", LEAF])
def test_show_shows_rows(shell, model):
    said = shell.dbt("show", "--select", model, "--output", "json", "--limit", "3")
    shown = json.loads(said[said.index("{") :])["show"]
    assert 1 <= len(shown) <= 3
    assert all(row["tutor_id"] for row in shown)


def test_ls_test_and_source_freshness(shell):
    listed = shell.dbt("--quiet", "ls", "--resource-type", "model").split()
    assert "tutor_pipeline.marts.tutor_aggregates" in listed
    assert "ERROR=0" in shell.dbt("test")
    shell.dbt("source", "freshness")


def test_one_model_by_hand_is_no_full_refresh(shell, project, tmp_path):
    full = project.query(NEWEST_FULL)
    shell.dbt("run", "--select", LEAF)
    ((_, as_of),) = full
    assert project.query(NEWEST_FULL) == full
    assert project.query(NEWEST) == [(False, [f"marts/{LEAF}"], as_of, True)]

    # Alerts go on.
    outcome = project.json("enrich", "--only", "alerts")
    assert outcome["success"]
    assert outcome["alerts"]["confirmed"] > 0 or outcome["alerts"]["opened"] == 0

    # So does the refresh after a session.
    start = datetime.now(UTC) - timedelta(hours=2)
    project.execute(
        "insert into platform.sessions (id, tutor_id, scheduled_start, status, tutor_showed_up,"
        " overall_session_score, updated_at) select 'by-hand', min(user_id),"
        f" '{start.isoformat()}', 'completed', true, 7.5, now() from platform.tutors"
        " where active_status"
    )
    refreshes = Refreshes(tmp_path, project.environment)
    try:
        outcome = refreshes.run()
    finally:
        refreshes.stop()
    assert outcome.materializations
    assert project.query(
        "select version is not null, pending_since is null from ops.session_ledger"
        " where session_id = 'by-hand'"
    ) == [(True, True)]


@pytest.mark.long
def test_checks_of_a_table_made_by_hand_wait_for_an_evaluation(shell, project):
    full = project.query(NEWEST_FULL)
    shell.dbt("build", "--select", "tutor_aggregates+", "--exclude", "tag:weekly")
    assert project.query(NEWEST_FULL) == full
    refused = project.run("enrich", "--only", "alerts", status=3)
    said = refused.stdout + refused.stderr
    assert "marts/tutor_aggregates" in said
    assert "not evaluated since the tables were rebuilt" in said
    assert "marts/fct_sessions" not in said
    project.run("enrich")
    assert project.json("enrich", "--only", "alerts")["success"]


@pytest.mark.parametrize(
    ("arguments", "is_full"),
    [
        (["run", "--exclude", LEAF], False),
        (["run", "--exclude", "tag:weekly", "tag:daily_partitions"], True),
        pytest.param(
            ["build", "--full-refresh", "--select", "platform_metrics"],
            False,
            marks=pytest.mark.long,
        ),
        pytest.param(["build"], True, marks=pytest.mark.long),
    ],
)
def test_full_is_what_makes_every_table_of_a_refresh(shell, project, arguments, is_full):
    before = project.query(NEWEST_FULL)
    shell.dbt(*arguments)
    assert (project.query(NEWEST_FULL) != before) == is_full
    ((full, tables, _, built),) = project.query(NEWEST)
    assert (full, tables is None, built) == (is_full, is_full, True)


def test_the_limit_of_a_role_ends_no_table(shell, project):
    """It is a default for statements. What holds while a table is made, the server notes."""
    (name,) = project.query("select current_database()")[0]
    project.execute(
        "create table public.held (setting text);"
        " create function public.note() returns event_trigger language plpgsql as $$ begin"
        " insert into public.held values (current_setting('statement_timeout')); end $$;"
        " create event trigger note on ddl_command_end when tag in ('CREATE TABLE')"
        " execute function public.note();"
        f" alter database {name} set statement_timeout = '1min'"
    )
    try:
        shell.dbt("run", "--select", LEAF)
    finally:
        project.execute(f"alter database {name} reset statement_timeout")
    assert project.query("select distinct setting from public.held") == [("0",)]


@pytest.mark.long
def test_without_rows_every_table_is_made(shell, project):
    """Its statements are planned, its columns are there; a history keeps its days."""
    history = "tutor_aggregates_history"
    shell.dbt("run", "--select", history)
    project.execute(
        f"insert into marts.{history} (tutor_id, as_of_date) values ('T', date '2026-01-01')"
    )
    full = project.query(NEWEST_FULL)
    shell.dbt("run", "--empty")
    for table, has_rows in (("fct_sessions", False), (LEAF, False), (history, True)):
        assert project.query(f"select count(*) > 0 from marts.{table}") == [(has_rows,)], table
    assert project.query(NEWEST_FULL) == full
    project.run("enrich")
    assert project.query("select count(*) > 0 from marts.fct_sessions") == [(True,)]


def test_one_asset_in_dagster_is_no_full_refresh(shell, project):
    full = project.query(NEWEST_FULL)
    # Of the newest refresh, whatever that covered.
    ((_, _, as_of, _),) = project.query(NEWEST)
    result = subprocess.run(
        ["dagster", "asset", "materialize", "--select", f'key:"marts/{LEAF}"',
         "-m", "tutor_pipeline.definitions"],
        cwd=ROOT, env=shell.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert project.query(NEWEST_FULL) == full
    assert project.query(NEWEST) == [(False, [f"marts/{LEAF}"], as_of, True)]


def test_without_our_schemas_a_run_says_what_to_do(shell):
    elsewhere = copy.copy(shell)
    elsewhere.environment = {**shell.environment, "TUTOR_SCHEMA_PREFIX": "nowhere_"}
    elsewhere.environment["DBT_TARGET_PATH"] += "_nowhere"
    said = elsewhere.dbt("run", "--select", LEAF, status=2)
    assert "nowhere_ops" in said
    assert "tutor-pipeline env" in said

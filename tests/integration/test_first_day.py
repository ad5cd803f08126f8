"""A user's first day: generate, enrich, read, again; good input and bad."""

import csv
import json

import psycopg
import pytest

from tutor_pipeline.core.warehouse.platform import is_ours


@pytest.fixture(scope="module")
def enriched(project):
    project.run("generate", "--seed", "7")
    project.run("enrich")
    return project


ALERTS = (
    "select tutor_id, alert_id, alert_type, severity, description, metrics, evidence_session_ids,"
    " triggered_date, resolved_at from ops.alerts order by 1, 2"
)


def test_a_default_month_has_three_to_eight_tutors_in_need_each_with_reasons(enriched):
    tutors = enriched.json("attention", "--limit", "100")
    assert 3 <= len(tutors) <= 8
    for tutor in tutors:
        assert tutor["name"]
        for alert in tutor["alerts"]:
            assert alert["severity"] in ("critical", "warning")
            assert any(character.isdigit() for character in alert["description"])
            assert alert["recommended_action"]
            assert 1 <= len(alert["evidence_session_ids"]) <= 5
            known = enriched.query(
                "select count(*) from platform.sessions where tutor_id = %s and id = any(%s)",
                tutor["tutor_id"],
                alert["evidence_session_ids"],
            )
            assert known == [(len(alert["evidence_session_ids"]),)]


def test_attention_text_names_what_the_json_holds(enriched):
    text = " ".join(enriched.run("attention").stdout.split())
    first = enriched.json("attention")[0]
    assert first["name"] in text
    assert first["alerts"][0]["title"] in text
    assert first["alerts"][0]["recommended_action"] in text


def test_a_second_time_changes_nothing(enriched):
    before = enriched.query(ALERTS)
    events = enriched.query("select count(*) from ops.alert_events")
    outcome = enriched.json("enrich")
    assert outcome["success"]
    assert outcome["alerts"]["opened"] == outcome["alerts"]["resolved"] == 0
    assert enriched.query(ALERTS) == before
    assert enriched.query("select count(*) from ops.alert_events") == events


def test_only_alerts_uses_the_tables_as_they_are(enriched):
    outcome = enriched.json("enrich", "--only", "alerts")
    assert outcome["alerts"]["opened"] == 0
    assert outcome["alerts"]["confirmed"] == len(enriched.json("alerts", "list"))


FINDINGS = {
    "alerts": "tutor_id, alert_type, severity, description, metrics::text, evidence_session_ids",
    "tutor_insights": "tutor_id, category, insight_type, display_text, coaching_tip,"
    " metric_value, metrics::text, sample_sessions",
    "achievements": "tutor_id, achievement_type, title, description, icon, metrics::text",
}


@pytest.mark.long
def test_clear_then_enrich_finds_the_same(enriched):
    def found():
        return {
            table: enriched.query(
                f"select {columns} from ops.{table} where resolved_at is null order by 1, 2"
            )
            for table, columns in FINDINGS.items()
        }

    before = found()
    assert all(before.values())
    assert "--yes" in enriched.run("clear", status=2).stderr
    assert found() == before
    enriched.run("clear", "--yes")
    assert not any(found().values())
    assert enriched.query("select count(*) from platform.sessions") != [(0,)]
    enriched.run("enrich")
    assert found() == before


@pytest.mark.long
def test_backfill_of_one_tutor(enriched):
    tutor = enriched.json("attention")[0]["tutor_id"]
    outcome = enriched.json("backfill", "--tutor", tutor)
    assert [row["tutor_id"] for row in outcome["tutors"]] == [tutor]
    assert outcome["tutors"][0]["alerts"] >= 1
    assert outcome["totals"]["tutors_with_critical_alerts"] in (0, 1)
    (run,) = outcome["runs"]
    assert run["alerts"]["opened"] == run["insights"]["opened"] == 0
    text = enriched.run("backfill", "--tutor", tutor).stdout
    assert "Tutor 1/1" in text


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["enrich", "--as-of", "31.12.2026"], 2, "write a day as 2026-01-31 or latest"),
        (["enrich", "--as-of", "2999-01-01"], 3, "lies in the future"),
        (["enrich", "--as-of", "2020-01-01"], 3, "tutor-pipeline clear"),
        (["enrich", "--only", "soup"], 2, "alerts"),
        (["backfill", "--tutor", "T9999"], 2, "no tutor 'T9999'"),
        (["backfill", "--since", "yesterday"], 2, "--since yesterday"),
        (["tutor", "T001"], 2, "begins with 'T001': T0010"),
        (["alerts", "show", "zzzz"], 2, "alerts list --all"),
        (["alerts", "export", "alerts.xlsx"], 2, ".csv or .json"),
        (["generate", "--tutors", "0"], 2, "must be between 1"),
        (["generate", "--end", "soon"], 2, "2026-01-31"),
        (["import", "/no/such/folder"], 3, "synthetic"),
        (["import", "--clear", "/no/such/folder"], 2, "there is no folder"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_bad_input_gets_a_sentence_and_loses_nothing(enriched, arguments, status, says):
    before = enriched.query(ALERTS)
    sessions = enriched.query("select count(*) from platform.sessions")
    result = enriched.run(*arguments, status=status)
    assert says in " ".join((result.stdout + result.stderr).split())
    assert "Traceback" not in result.stderr
    assert enriched.query(ALERTS) == before
    assert enriched.query("select count(*) from platform.sessions") == sessions


def test_backfill_of_nobody_is_not_of_everybody(enriched):
    runs = enriched.query("select count(*) from ops.refresh_runs")
    assert "nothing to do" in enriched.run("backfill", "--since", "9998-12-31").stderr
    assert enriched.query("select count(*) from ops.refresh_runs") == runs


def test_an_impossible_override_costs_one_tutor_not_all(enriched):
    with pytest.raises(psycopg.errors.CheckViolation):
        enriched.execute(
            "insert into ops.rule_overrides"
            " (tutor_id, kind, rule_id, threshold, reason, set_by, set_at)"
            " values ('T0001', 'alert', 'no_show_pattern', 'Infinity', 'never', 'ada', now())"
        )


@pytest.mark.long
def test_text_from_the_platform_is_no_markup(enriched):
    enriched.execute(
        "update ops.alerts set tutor_id = '[/dim]', description = '[bold] [/x]'"
        " where alert_id = (select min(alert_id) from ops.alerts)"
    )
    for verb in (["attention"], ["alerts", "list"], ["alerts", "show", ""]):
        status = 2 if verb[-1] == "" else 0
        assert "Traceback" not in enriched.run(*verb, status=status).stderr
    assert "[/dim]" in enriched.run("attention").stdout
    enriched.run("clear", "--yes")
    enriched.run("enrich")


def test_alerts_can_be_listed_shown_and_exported(enriched, tmp_path):
    rows = enriched.json("alerts", "list")
    critical = enriched.json("alerts", "list", "--severity", "critical")
    assert 0 < len(critical) < len(rows)
    shown = enriched.json("alerts", "show", rows[0]["alert_id"][:8])
    assert shown["alert_id"] == rows[0]["alert_id"]
    assert [event["event"] for event in shown["events"]] == ["opened"]
    enriched.run("alerts", "export", str(tmp_path / "a.csv"))
    enriched.run("alerts", "export", str(tmp_path / "a.json"))
    with (tmp_path / "a.csv").open(newline="") as file:
        exported = list(csv.DictReader(file))
    assert [row["alert_id"] for row in exported] == [row["alert_id"] for row in rows]
    assert len(json.loads((tmp_path / "a.json").read_text())) == len(rows)


def test_a_tutor_is_shown_with_metrics_alerts_insights_and_badges(enriched):
    tutor = enriched.json("attention")[0]["tutor_id"]
    facts = enriched.json("tutor", tutor)
    assert facts["metrics"]["sessions_30d"] >= 0
    assert [row for row in facts["alerts"] if row["resolved_at"] is None]
    assert "Open alerts" in enriched.run("tutor", tutor).stdout
    ((decorated,),) = enriched.query(
        "select min(tutor_id) from ops.achievements inner join ops.tutor_insights using (tutor_id)"
        " where achievements.is_active and tutor_insights.is_active"
    )
    facts = enriched.json("tutor", decorated)
    text = enriched.run("tutor", decorated).stdout
    for insight in facts["insights"]:
        assert insight["display_text"] in text
        assert (insight["coaching_tip"] or "") in text
    for badge in facts["achievements"]:
        assert f"{badge['icon']} {badge['title']}" in text


def test_status_says_where_everything_is(enriched):
    facts = enriched.json("status")
    assert facts["rows"]["platform.sessions"] > 5_000
    assert facts["rows"]["ops.alerts"] > 0
    assert facts["last_run"]["job"] == "daily_refresh"
    password = enriched.url.split(":")[2].split("@")[0]
    assert password not in json.dumps(facts)


def test_env_exports_what_plain_tools_need(enriched):
    exports = dict(
        line.removeprefix("export ").split("=", 1)
        for line in enriched.run("env").stdout.splitlines()
    )
    assert {"PGHOST", "PGPASSWORD", "DAGSTER_HOME", "TUTOR_DATABASE_URL"} <= exports.keys()
    assert exports["DO_NOT_TRACK"] == "1"


def test_every_command_shows_an_example(enriched):
    for verb in (
        ["demo"], ["up"], ["down"], ["status"], ["env"], ["generate"], ["import"],
        ["check-source"], ["enrich"], ["backfill"], ["seed-weights"], ["clear"], ["attention"],
        ["tutor"], ["alerts", "list"], ["alerts", "show"], ["alerts", "ack"], ["alerts", "snooze"],
        ["alerts", "resolve"], ["alerts", "reopen"], ["alerts", "activity"], ["alerts", "export"],
        ["rules", "list"], ["rules", "show"], ["rules", "check"], ["rules", "override"],
        ["rules", "overrides"], ["rules", "page"],
    ):  # fmt: skip
        assert "Example: " in enriched.run(*verb, "--help").stdout, verb


def test_check_source_of_our_own_platform_finds_nothing_missing(enriched):
    report = enriched.json("check-source")
    assert report["problems"] == []
    assert report["gaps"] == []
    with enriched.warehouse.connect() as database:
        assert is_ours(database)

"""The adaptive rules on a platform, from the metrics to what people read."""

import re
from collections import Counter
from datetime import date, timedelta

import pytest

from tutor_pipeline.core.findings import Kind, Step
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun, end_of_day, write_header
from tutor_pipeline.judgement.lifecycle import store
from tutor_pipeline.judgement.rules.catalogue import load_catalogue
from tutor_pipeline.metrics import dbt, wide_rows
from tutor_pipeline.metrics.thresholds import thresholds
from tutor_pipeline.steps.judge import judge
from tutor_pipeline.steps.score import Scoring, score_tutors

ALERTS = (
    "select tutor_id, alert_type, description, metrics from ops.alerts where resolved_at is null"
)


@pytest.fixture(scope="module")
def project(new_project):
    """A platform with twenty sessions per tutor and week: counts alone list most of them."""
    project = new_project(TUTOR_RULE_PROFILE="conservative")
    project.run("generate", "--world", "busy", "--tutors", "60", "--days", "60", "--seed", "3")
    project.run("enrich")
    return project


def open_pairs(project):
    return {row[:2] for row in project.query(ALERTS)}


def test_a_switch_of_profile_closes_what_is_usual_here_and_tells_it_once(project):
    before = open_pairs(project)
    tutors = {tutor for tutor, _ in before}
    assert len(tutors) > 30, "counts alone should list most of them"
    kept, closed, hidden = sorted(before)[:3]
    for pair, act in ((kept, "ack"), (closed, "ack"), (hidden, "snooze")):
        (alert,) = project.json("alerts", "list", "--tutor", pair[0], "--type", pair[1])
        more = ("--days", "5") if act == "snooze" else ("--note", "called")
        project.run("alerts", act, alert["alert_id"], *more, "--by", "Ann")
    acts = "select tutor_id, alert_id, event, actor from ops.alert_events where actor = 'Ann'"
    done = project.query(f"{acts} order by 1, 2")
    would = project.json("rules", "check", "--profile", "adaptive", "--against-data")

    project.settings["TUTOR_RULE_PROFILE"] = "adaptive"
    outcome = project.json("enrich", "--only", "alerts")
    now = open_pairs(project)
    assert now <= before, "adaptive asks for more, and for nothing else"
    assert 0 < len({tutor for tutor, _ in now}) <= 12
    assert would["tutors_with_an_alert"]["then"] == len({tutor for tutor, _ in now})
    resolutions = project.query(
        "select tutor_id, alert_type, resolution, resolved_by from ops.alerts"
        " where resolved_at is not null"
    )
    assert {row[:2] for row in resolutions} == before - now
    assert {row[2:] for row in resolutions} == {("profile_switched", "pipeline")}
    assert outcome["alerts"]["resolved"] == len(before - now)
    # Acts stay, and whoever is on an alert that goes on stays on it.
    assert project.query(f"{acts} order by 1, 2") == done
    messages = project.query("select transition, details from ops.outbox where kind = 'rules'")
    ((transition, details),) = messages
    assert transition == "conservative to adaptive"
    assert details["closed"] == len(before - now)
    assert details["tutors"] == len({tutor for tutor, _ in before - now})

    project.run("enrich", "--only", "alerts")
    assert open_pairs(project) == now
    assert len(project.query("select from ops.outbox where kind = 'rules'")) == 1


def test_the_switch_is_a_message_that_people_can_read(project):
    project.run("notify", "send")
    ((subject, text, html),) = project.query(
        "select subject, text_body, html_body from ops.messages where kind = 'rules'"
    )
    assert subject.startswith("Other rules are in force: adaptive, conservative until now;")
    assert "rules check --profile conservative --against-data" in text
    assert "which the rules now in force do not ask for" in html


def test_each_alert_says_what_is_usual_here(project):
    rows = project.query(ALERTS)
    told = [row for row in rows if row[1] != "high_churn_risk"]
    assert told
    for _, _, description, metrics in told:
        assert re.search(
            r"[Oo]thers: (1 of [\d,]+|\d+ of 10|none of [\d,]+|[+-]?\d+\.\d)\.$", description
        )
        (first, *_) = metrics.values()
        assert 0.8 <= first["surely_beyond"] <= 1
        assert first["usual"] is not None
    for _, kind, description, _ in rows:
        assert kind != "high_churn_risk" or "is usual" in description


def test_who_meets_a_threshold_and_no_more_stays_visible(project):
    project.run("enrich", "--only", "insights")
    rows = project.query(
        "select tutor_id, category, display_text from ops.tutor_insights"
        " where insight_type = 'at_threshold' and is_active"
    )
    closed = project.query(
        "select tutor_id, alert_type from ops.alerts where resolution = 'profile_switched'"
    )
    assert {(tutor, f"{alert}_at_threshold") for tutor, alert in closed} == {
        row[:2] for row in rows
    }
    tutor, _, text = rows[0]
    assert re.match(r"At the threshold of an alert\. .+: .+; usual here is .+", text)
    assert text in " ".join(project.run("tutor", tutor).stdout.split())
    checked = project.run("rules", "check", "--against-data").stdout
    assert f"not unusual enough for it: {len(rows):,} (insights)" in " ".join(checked.split())
    assert "adaptive" in project.run("attention").stdout


@pytest.mark.long
def test_some_tutors_alone_are_found_as_they_are_among_all(project):
    """What is usual is read, not fitted, where some are refreshed."""
    everything = "select a::text from ops.alerts as a where tutor_id = any(%s) order by 1"
    tutors = sorted({tutor for tutor, _ in open_pairs(project)})[:3]
    before = project.query(everything, tutors)
    versions = project.query("select max(version) from ops.rule_references")
    project.run("backfill", *(part for tutor in tutors for part in ("--tutor", tutor)))
    assert project.query("select max(version) from ops.rule_references") == versions
    after = project.query(everything, tutors)
    moment = re.compile(r'"?\d{4}-\d\d-\d\d [\d:.+]+"?')
    assert [moment.sub("", row) for (row,) in after] == [moment.sub("", row) for (row,) in before]


def test_another_platform_has_another_usual(project):
    assert project.query("select count(*) > 0 from ops.rule_references") == [(True,)]
    project.run("clear", "--yes")
    assert project.query("select count(*) from ops.rule_references") == [(0,)]


@pytest.mark.long
def test_nothing_flaps_in_a_month_of_daily_refreshes(new_project):
    """Of all alerts, at most one in twenty opens and closes twice."""
    end = date(2026, 6, 27)
    month = new_project()
    month.run("generate", "--days", "120", "--seed", "1", "--end", str(end))
    warehouse = month.warehouse
    catalogue = load_catalogue("adaptive", wide_rows.rule_inputs(), thresholds())
    opened: Counter[tuple[str, str]] = Counter()
    closed: Counter[tuple[str, str]] = Counter()
    for back in reversed(range(30)):
        run = RefreshRun(f"day-{back}", end_of_day(end - timedelta(days=back), "UTC"), None)
        write_header(warehouse, run)
        dbt.invoke(
            ["run", "--select", "+tutor_aggregates", "+tutor_features", "+tutor_evidence",
             "dim_tutors"],
            dbt.dbt_environment(warehouse, run.run_id, month.home),
        )  # fmt: skip
        with warehouse.connect() as database:
            score_tutors(database, run.run_id, Scoring("auto", 0.25, 0.5))
        with warehouse.connect() as database:
            store.lock(database, Kind.ALERT)
            made = judge(database, catalogue, Kind.ALERT, run.run_id)
        for change in made.applied.changes:
            pair = change.tutor_id, change.rule_id
            opened[pair] += change.step is Step.OPENED
            closed[pair] += change.step is Step.RESOLVED
    alerts = [pair for pair, number in opened.items() if number]
    twice = [pair for pair in alerts if min(opened[pair], closed[pair]) > 1]
    assert len(alerts) >= 10
    assert len(twice) <= 0.05 * len(alerts)

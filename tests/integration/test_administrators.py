"""Alerts in the hands of administrators, rules in those of their authors: through the command."""

import json

import pytest

from tests.integration.moved_sessions import tutors_reschedule

pytestmark = pytest.mark.usefixtures("as_it_was")


@pytest.fixture(scope="module")
def enriched(project):
    # Under rules that find the same whoever else is there.
    project.settings["TUTOR_RULE_PROFILE"] = "conservative"
    project.run("generate", "--seed", "7")
    project.execute(tutors_reschedule(2))
    project.run("enrich")
    return project


@pytest.fixture
def alert(enriched):
    """An open alert with which nobody did anything."""
    return next(
        each
        for each in enriched.json("alerts", "list")
        if len(events(enriched, each["alert_id"])) == 1
    )


def events(enriched, alert_id):
    return [
        (event["event"], event["actor"])
        for event in enriched.json("alerts", "show", alert_id)["events"]
    ]


def test_an_alert_through_its_whole_life(enriched, alert):
    id_, tutor = alert["alert_id"], alert["tutor_id"]
    by = ("--by", "ada")
    acked = enriched.json("alerts", "ack", id_[:8], *by, "--note", "calling at 3 pm")
    assert acked == {"changed": [id_], "unchanged": {}}
    again = enriched.json("alerts", "ack", id_, *by)
    assert (again["changed"], list(again["unchanged"])) == ([], [id_])
    assert [row["tutor_id"] for row in enriched.json("attention")].count(tutor) == 1

    enriched.run("alerts", "snooze", "--tutor", tutor, "--days", "3", *by)
    assert tutor not in [row["tutor_id"] for row in enriched.json("attention")]
    enriched.run("enrich", "--only", "alerts")
    row = enriched.json("alerts", "show", id_)
    assert row["snoozed_until"] is not None
    assert row["resolved_at"] is None

    enriched.run("alerts", "resolve", id_, "--reason", "coached", "--action", "a call", *by)
    row = enriched.json("alerts", "show", id_)
    assert (row["resolution"], row["resolved_by"], row["action_taken"]) == (
        "coached", "ada", "a call",
    )  # fmt: skip
    # The same evidence does not bring it back, neither in a partial nor in a whole run.
    outcome = enriched.json("enrich")
    assert outcome["alerts"]["opened"] == 0
    enriched.run("alerts", "reopen", id_, *by, "--note", "by mistake")
    row = enriched.json("alerts", "show", id_)
    assert row["resolved_at"] is None
    assert row["triggered_date"] == alert["triggered_date"]
    assert events(enriched, id_) == [
        ("opened", "pipeline"), ("acknowledged", "ada"), ("snoozed", "ada"), ("resolved", "ada"),
        ("reopened", "ada"),
    ]  # fmt: skip


def test_all_of_a_type_at_once_and_back_again(enriched):
    type_ = "high_reschedule_rate"
    ids = {row["alert_id"] for row in enriched.json("alerts", "list", "--type", type_)}
    assert len(ids) > 1
    resolved = enriched.json("alerts", "resolve", "--type", type_, "--reason", "fixed")
    assert set(resolved["changed"]) == ids
    assert enriched.json("alerts", "list", "--type", type_) == []
    assert enriched.json("alerts", "resolve", "--type", type_, "--reason", "fixed") == {
        "changed": [], "unchanged": {},
    }  # fmt: skip
    assert set(enriched.json("alerts", "reopen", "--type", type_)["changed"]) == ids
    per_type = {row["alert_type"]: row for row in enriched.json("alerts", "activity")}
    assert per_type[type_]["reopened"] >= len(ids)
    assert per_type[None]["opened"] >= per_type[type_]["opened"]
    assert per_type[type_]["opened"] >= len(ids)
    assert "high_reschedule_rate" in enriched.run("alerts", "activity", "--by-day").stdout


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["alerts", "ack"], 2, "which alerts?"),
        (["alerts", "ack", "x", "--tutor", "T0001"], 2, "which alerts?"),
        (["alerts", "ack", "zzzz"], 2, "no alert has an id that begins with 'zzzz'"),
        (["alerts", "ack", "--tutor", "T9999"], 2, "no tutor 'T9999'"),
        (["alerts", "ack", "--type", "no_show"], 2, "did you mean no_show_pattern"),
        (["alerts", "list", "--type", "no_show"], 2, "did you mean no_show_pattern"),
        (["alerts", "snooze", "--tutor", "T0001", "--days", "99999999"], 2, "3650"),
        (["rules", "override", "T0001", "chronic_lateness", "--threshold", "-3", "--reason", "x"],
         2, "at least 1"),
        (["alerts", "snooze", "--type", "high_reschedule_rate"], 2, "until when?"),
        (["alerts", "snooze", "--type", "high_reschedule_rate", "--until", "soon"], 2, "write a"),
        (["alerts", "snooze", "--type", "high_reschedule_rate", "--until", "2020-01-01"],
         2, "is past"),
        (["alerts", "resolve", "--type", "high_reschedule_rate"], 2, "--reason"),
        (["alerts", "resolve", "--tutor", "T0001", "--reason", "bored"], 2, "coached"),
        (["rules", "show", "no_show_patern"], 2, "did you mean no_show_pattern"),
        (["rules", "list", "--profile", "standart"], 2, "did you mean standard"),
        (["rules", "override", "T0001", "no_show_pattern"], 2, "--threshold"),
        (["rules", "override", "T0001", "no_show_pattern", "--disable"], 2, "--reason"),
        (["rules", "override", "T0001", "no_show", "--disable", "--reason", "x"], 2, "no_show_pa"),
        (["rules", "override", "T000", "no_show_pattern", "--disable", "--reason", "x"], 2, "T000"),
        (["rules", "override", "T0001", "high_churn_risk", "--threshold", "1", "--reason", "x"],
         2, "no number"),
        (["enrich", "--only", "alerts", "--as-of", "latest"], 2, "--only"),
        (["enrich", "--by", "ada"], 2, "say --force or --accept-loss too"),
    ],
)  # fmt: skip
def test_wrong_usage_is_a_sentence_and_changes_nothing(enriched, arguments, status, says):
    tables = "select count(*), max(event_no) from ops.alert_events"
    before = enriched.query(tables)
    result = enriched.run(*arguments, status=status)
    assert says in " ".join((result.stdout + result.stderr).split())
    assert "Traceback" not in result.stderr
    assert enriched.query(tables) == before
    assert enriched.query("select count(*) from ops.rule_overrides") == [(0,)]


def test_an_exception_counts_from_the_next_refresh_until_it_is_removed(enriched):
    row = enriched.json("alerts", "list", "--type", "high_reschedule_rate")[0]
    tutor, value = row["tutor_id"], row["metrics"]["tutor_reschedules_30d"]["value"]
    rule = (tutor, "high_reschedule_rate")

    def is_open():
        enriched.run("enrich", "--only", "alerts")
        found = enriched.json("alerts", "list", "--type", rule[1], "--tutor", tutor)
        return len(found) == 1

    enriched.run("rules", "override", *rule, "--threshold", str(value + 1), "--reason", "leave")
    assert not is_open()
    (listed,) = enriched.json("rules", "overrides", "--tutor", tutor)
    assert (listed["threshold"], listed["reason"]) == (value + 1, "leave")
    enriched.run("rules", "override", *rule, "--disable", "--reason", "clock")
    assert len(enriched.json("rules", "overrides")) == 1
    assert not is_open()
    assert enriched.json("rules", "override", *rule, "--remove")["changed"] is True
    assert enriched.json("rules", "override", *rule, "--remove")["changed"] is False
    assert is_open()


OWN = """\
extends: conservative
alerts:
  high_reschedule_rate:
    enabled: false
  long_absence:
    severity: warning
    title: Long Absence Detected
    when:
      - {metric: days_since_last_session, op: ">=", value: 3}
    description: "The last session was {days_since_last_session:day|days} ago."
    recommended_action: Ask how things are
    evidence: recent_session_ids
insights:
  busy_month:
    insight_type: strength
    when:
      - {metric: sessions_completed_30d, op: ">=", value: 15}
    display_text: "Taught {sessions_completed_30d} sessions in 30 days"
    evidence: rating_session_ids
achievements:
  hundred:
    title: A Good Start
    when:
      - {metric: sessions_completed_all, op: ">=", value: 40}
    description: "{sessions_completed_all} sessions taught"
    icon: "40"
"""


@pytest.mark.long
def test_a_profile_of_ones_own_shows_what_it_would_change_and_then_changes_it(
    enriched, tmp_path_factory
):
    path = tmp_path_factory.mktemp("own") / "own.yml"
    path.write_text(OWN, encoding="utf-8")
    before = enriched.query("select * from ops.alerts order by 1, 2")
    report = enriched.json("rules", "check", "--profile", str(path), "--against-data")
    assert enriched.query("select * from ops.alerts order by 1, 2") == before
    would = {(row["kind"], row["rule"]): row for row in report["effects"]}
    gone = would["alert", "high_reschedule_rate"]
    assert gone["evaluated"] is None
    assert gone["resolve"] > 0
    assert would["alert", "long_absence"]["open"] > 0

    enriched.settings["TUTOR_RULE_PROFILE"] = str(path)
    try:
        outcome = enriched.json("enrich")
        for name, kind in (("alerts", "alert"), ("insights", "insight"),
                           ("achievements", "achievement")):  # fmt: skip
            rows = [row for (of_kind, _), row in would.items() if of_kind == kind]
            assert outcome[name]["opened"] == sum(row["open"] for row in rows)
            assert outcome[name]["resolved"] == sum(row["resolve"] for row in rows)
            assert outcome[name]["opened"] > 0
        assert enriched.query(
            "select distinct resolution from ops.alerts where alert_type = 'high_reschedule_rate'"
            " and resolved_at is not null and resolved_by = 'pipeline' and resolution <> 'auto'"
            " and resolution <> 'rule_disabled'"
        ) == [("rule_retired",)]
        assert enriched.query(
            "select count(distinct tutor_id) from ops.alerts where resolved_at is null"
        ) == [(report["tutors_with_an_alert"]["then"],)]
        path.write_text(OWN.replace("metric: days_since_last_session", "metric: days"), "utf-8")
        wrong = enriched.run("enrich", status=1)
        assert f"{path}:9" in wrong.stderr
        assert "Traceback" not in wrong.stderr
    finally:
        enriched.settings["TUTOR_RULE_PROFILE"] = "conservative"
    enriched.run("enrich")


def test_a_score_at_high_is_an_alert_with_the_reasons(enriched):
    ((tutor, other),) = enriched.query(
        "select min(tutor_id), max(tutor_id) from ops.current_tutor_risk where level = 'Low'"
    )

    def listed():
        return {
            alert["tutor_id"]: alert["description"]
            for alert in enriched.json("alerts", "list", "--type", "high_churn_risk")
        }

    before = listed()
    reasons = [
        {"code": "a", "label": "fewer sessions", "contribution": 0.48},
        {"code": "b", "label": "lower ratings", "contribution": 0.24},
        {"code": "c", "label": "first sessions: unknown", "contribution": 0},
    ]
    why = ": fewer sessions; lower ratings."
    for is_probability, says in (
        ("false", f" (31 times as likely as is usual here){why}"),
        ("true", f" (72 % likely, between 41 % and 90 %; 2.3 % is usual){why}"),
    ):
        for tutor_id, level in ((tutor, "High"), (other, "Medium")):
            enriched.execute(
                f"update ops.current_tutor_risk set score = 0.72, level = '{level}', status = 'ok',"
                f" lower = 0.41, upper = 0.9, base_rate = 0.023, is_probability = {is_probability},"
                f" reasons = '{json.dumps(reasons)}' where tutor_id = '{tutor_id}'"
            )
        enriched.run("enrich", "--only", "alerts")
        assert listed() == before | {tutor: f"Strong signs of leaving within 30 days{says}"}
    enriched.run("enrich", "--only", "scores")
    enriched.run("enrich", "--only", "alerts")
    assert listed() == before


def test_most_tutors_with_enough_data_have_an_insight_under_the_standard_profile(enriched):
    enriched.settings["TUTOR_RULE_PROFILE"] = "standard"
    try:
        enriched.run("enrich", "--only", "insights")
        ((with_insight, enough),) = enriched.query(
            "select count(*) filter (where exists (select from ops.tutor_insights as i"
            " where i.tutor_id = a.tutor_id and i.is_active)), count(*)"
            " from marts.tutor_aggregates as a where sessions_completed_30d >= 5"
        )
    finally:
        enriched.settings["TUTOR_RULE_PROFILE"] = "conservative"
    assert enough > 50
    assert with_insight >= 0.8 * enough
    enriched.run("enrich", "--only", "insights")


def test_only_computes_one_step(enriched):
    for step in ("scores", "alerts", "insights", "achievements"):
        outcome = enriched.json("enrich", "--only", step)
        assert outcome["success"]
        computed = [
            name for name in ("alerts", "insights", "achievements")
            if outcome[name]["opened"] is not None
        ]  # fmt: skip
        assert computed == ([] if step == "scores" else [step])


def test_weights_are_seeded_once(enriched):
    enriched.execute("truncate ops.churn_algorithm_weights")
    first = enriched.json("seed-weights")
    assert (first["seeded"], first["version"]) == (True, 1)
    assert sum(first["weights"].values()) == pytest.approx(1)
    assert enriched.json("seed-weights") == {**first, "seeded": False}


@pytest.mark.long
def test_a_tutor_that_breaks_the_computation_is_set_aside_and_the_others_are_done(enriched):
    broken, other = [
        row[0] for row in enriched.query("select tutor_id from marts.tutor_aggregates limit 2")
    ]
    enriched.execute(
        f"""
        create function public.refuse() returns trigger language plpgsql as $$
        begin raise 'this row is poison'; end $$;
        create trigger poison before insert on marts.tutor_aggregates
        for each row when (new.tutor_id = '{broken}') execute function public.refuse()
        """
    )
    tutors = ("--tutor", broken, "--tutor", other)
    try:
        result = enriched.json("backfill", *tutors, status=1)
    finally:
        enriched.execute("drop function public.refuse() cascade")
    assert list(result["broken"]) == [broken]
    assert "this row is poison" in result["broken"][broken]
    assert [row["tutor_id"] for row in result["tutors"]] == [other]
    assert [run["success"] for run in result["runs"]] == [False, False, True]
    text = enriched.run("backfill", *tutors).stdout
    assert "Tutor 1/2: " in text
    assert "Tutor 2/2: " in text
    assert "2 of 2 tutors: " in text


@pytest.mark.long
def test_a_tutor_whose_metrics_cannot_be_read_is_skipped_and_the_run_fails_at_the_end(enriched):
    ((tutor,),) = enriched.query("select min(tutor_id) from marts.tutor_aggregates")
    before = enriched.query("select count(*) from ops.tutor_insights")
    enriched.execute(
        "insert into ops.rule_overrides"
        " (tutor_id, kind, rule_id, threshold, reason, set_by, set_at)"
        f" values ('{tutor}', 'alert', 'high_churn_risk', 5, 'a number for a word', 'ada', now())"
    )
    try:
        # One of 138 tutors is under the limit of 1 %: a warning.
        outcome = enriched.json("enrich", "--only", "alerts")
        assert outcome["success"]
        assert list(outcome["unreadable"]) == [tutor]
        assert outcome["failed_checks"] == ["ops/alerts: every_tutor_was_evaluated"]
        # One of one is over it: the run fails, after insights and achievements were made.
        outcome = enriched.json("backfill", "--tutor", tutor, status=1)
        assert list(outcome["broken"]) == [tutor]
        assert outcome["runs"][0]["left_out"] == []
        assert not outcome["runs"][0]["success"]
    finally:
        enriched.execute("delete from ops.rule_overrides")
    assert enriched.query("select count(*) from ops.tutor_insights") == before


def test_the_page_of_rules_and_the_list_hold_the_same_rules(enriched):
    page = enriched.run("rules", "page").stdout
    listed = enriched.json("rules", "list", "--profile", "standard")
    assert len(listed) >= 37
    for rule in listed:
        assert f"`{rule['id']}`" in page

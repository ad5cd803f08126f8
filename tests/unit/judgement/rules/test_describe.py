"""Rules in words, and the page in the docs that is made of them."""

import re
from pathlib import Path

import pytest

from tutor_pipeline.core.findings import Kind
from tutor_pipeline.judgement.rules import describe
from tutor_pipeline.judgement.rules.catalogue import load_catalogue
from tutor_pipeline.judgement.rules.profiles import shipped
from tutor_pipeline.metrics.thresholds import thresholds
from tutor_pipeline.metrics.wide_rows import rule_inputs

PAGE = Path(__file__).parents[4] / "docs" / "rules.md"


@pytest.fixture
def rules():
    """Find a shipped rule."""

    def find(profile, kind, rule_id):
        catalogue = load_catalogue(profile, rule_inputs(), thresholds())
        (rule,) = [each for each in catalogue.rules if (each.kind, each.id) == (kind, rule_id)]
        return rule

    return find


@pytest.mark.parametrize(
    ("profile", "kind", "rule_id", "line"),
    [
        ("high_volume", Kind.ALERT, "no_show_pattern",
         "critical · no_show_tutor_30d ≥ 3 and no_show_rate_30d ≥ 0.05"),
        ("high_volume", Kind.ALERT, "poor_first_session_pattern",
         "warning · poor_first_sessions_60d ≥ 3 (25% of poor_first_sessions_60d_n or more)"),
        ("adaptive", Kind.ALERT, "no_show_pattern",
         "critical · no_show_tutor_30d ≥ 3 · surely over 1.5 times the others'"),
        ("adaptive", Kind.ALERT, "consistently_poor_scores",
         "warning · low_score_streak ≥ 3 · overall_score surely 0.5 below the others'"),
        ("conservative", Kind.ALERT, "declining_performance",
         "critical · score_change_14d ≤ -2.5"),
        ("conservative", Kind.ALERT, "student_churn_risk",
         "off: warning · student_risk.students_at_high_risk ≥ 3"),
        ("conservative", Kind.ALERT, "high_churn_risk", "critical · tutor_risk.level = High"),
        ("conservative", Kind.INSIGHT, "high_talk_ratio",
         "growth area · avg_talk_ratio > 0.65 and open_alerts.extreme_talk_ratio = false"
         " · needs avg_talk_ratio_n ≥ 5"),
        ("conservative", Kind.INSIGHT, "first_session_expert",
         "strength · first_session_avg_score_90d > 8.5"
         " · needs first_session_avg_score_90d_n ≥ 3 and sessions_completed_30d ≥ 5"),
        ("conservative", Kind.ACHIEVEMENT, "engagement_master",
         "🎯 · avg_engagement_all > 8.5 · needs avg_engagement_all_n ≥ 10"),
    ],
)  # fmt: skip
def test_a_rule_in_one_line(rules, profile, kind, rule_id, line):
    assert describe.summary(rules(profile, kind, rule_id)) == line


def test_of_two_minimums_of_the_same_count_the_greater_is_told(load, profile):
    text = profile.replace(
        "minimum_exposure: 4}",
        "minimum_exposure: 4}\n      - {metric: score, op: '>', value: 1, minimum_exposure: 2}\n"
        "    requires: {scored: 3, sessions: 1}",
    )
    assert describe.minimums(load(text).rules[1]) == "scored ≥ 4"


def test_all_there_is_to_know_of_a_rule(rules):
    rule = rules("conservative", Kind.INSIGHT, "high_talk_ratio")
    lines = describe.details(rule, rule_inputs())
    assert [label for label, _ in lines] == [
        "in force", "when", "when", "needs", "insight type", "display text", "coaching tip",
        "shows", "evidence", "defined in", "version",
    ]  # fmt: skip
    said = dict(reversed(lines))  # the first of each label
    metrics = rule_inputs()["tutor_aggregates"]
    for label, words, name in (
        ("when", "avg_talk_ratio > 0.65", "avg_talk_ratio"),
        ("shows", "avg_talk_ratio", "avg_talk_ratio"),
        ("evidence", "talk_session_ids", "talk_session_ids"),
    ):
        assert said[label] == f"{words} ({metrics[name].description.rstrip('.')})"
    assert re.fullmatch(r".*conservative\.yml:\d+", said["defined in"])
    assert said["version"] == rule.version


def test_without_descriptions_the_names_do(load, profile, inputs):
    lines = dict(describe.details(load(profile).rules[0], inputs))
    assert (lines["when"], lines["severity"]) == ("no_shows ≥ 3", "critical")


def test_the_page_in_the_docs_is_that_of_the_catalogue():
    page = describe.page(
        [load_catalogue(name, rule_inputs(), thresholds()) for name in shipped()], thresholds()
    )
    assert PAGE.read_text("utf-8") == page, (
        "write it anew: tutor-pipeline rules page > docs/rules.md"
    )


def test_every_file_of_the_catalogue_is_a_profile_that_ships():
    (folder,) = {path.parent for path in shipped().values()}
    assert sorted(shipped().values()) == sorted(folder.glob("*.yml"))


def test_the_page_tells_profiles_apart():
    profiles = [
        load_catalogue(name, rule_inputs(), thresholds()) for name in ("conservative", "standard")
    ]
    rows = {
        line.split(" | ")[0]: line.split(" | ")[1:3]
        for line in describe.page(profiles, thresholds()).split("## Insights")[0].splitlines()
        if line.startswith("| `")
    }
    assert rows["| `no_show_pattern`"] == [
        "critical · no_show_tutor_30d ≥ 3", "critical · no_show_tutor_30d ≥ 2",
    ]  # fmt: skip
    assert rows["| `chronic_lateness`"][1] == "off"
    assert rows["| `high_churn_risk`"][1] == "the same"
    assert rows["| `poor_first_session`"][0] == "–"
    assert rows["| `student_churn_risk`"][0].startswith("off: warning")


def test_the_example_in_the_page_works(tmp_path):
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    own = tmp_path / "own.yml"
    own.write_text(example, encoding="utf-8")
    catalogue = load_catalogue(own, rule_inputs(), thresholds())
    assert catalogue.of(Kind.ALERT)[0].when[0].value == 2
    assert "student_churn_risk" in {rule.id for rule in catalogue.of(Kind.ALERT)}
    assert "rare_praise" in {rule.id for rule in catalogue.of(Kind.INSIGHT)}

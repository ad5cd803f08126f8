"""The shipped profiles, on the real metrics: each rule at its threshold, under it, without data.

Expected findings come from `data/<profile>_<section>.yml`, written by hand. A profile that extends
another needs examples only for the rules that it changes or adds.
"""

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from tutor_pipeline.domain import Kind
from tutor_pipeline.metrics.wide_rows import rule_inputs
from tutor_pipeline.rules.catalogue import Catalogue, load_catalogue
from tutor_pipeline.rules.evaluate import evaluate
from tutor_pipeline.rules.inputs import NUMERIC
from tutor_pipeline.rules.profiles import shipped

DATA = Path(__file__).parent / "data"
DBT_PROJECT = Path(__file__).parents[3] / "dbt_project" / "dbt_project.yml"
AS_OF = datetime(2026, 3, 31, 23, 59, tzinfo=UTC)

RULES = {
    (profile, rule.kind, rule.id): rule
    for profile in shipped()
    for rule in load_catalogue(profile, rule_inputs()).rules
}
EXAMPLES = {
    (profile, kind, rule_id): example
    for profile in shipped()
    for kind in Kind
    if (path := DATA / f"{profile}_{kind}s.yml").exists()
    for rule_id, example in yaml.safe_load(path.read_text("utf-8")).items()
}
CASES = pytest.mark.parametrize("key", EXAMPLES, ids=["-".join(each) for each in EXAMPLES])


def rows(key, *names):
    """The complete rows of the cases with these names, with the changes that make them."""
    example = EXAMPLES[key]
    row = example["fires"]["row"]
    for name in names:
        for changes in [{}] if name == "fires" else example.get(name, []):
            yield row | changes, changes


def judge(key, row):
    """Evaluate one rule, in force or not, on one row; what the row doesn't name is NULL."""
    profile, kind, rule_id = key
    catalogue = Catalogue(profile, True, (replace(RULES[key], is_enabled=True),))
    columns = catalogue.columns(kind)
    assert set(row) <= set(columns), f"{rule_id} does not read all of {sorted(row)}"
    evaluation = evaluate(
        catalogue, kind, [{**dict.fromkeys(columns), **row, "tutor_id": "T1"}], AS_OF
    )
    assert evaluation.skipped == {}
    return evaluation.findings, evaluation.evaluated[rule_id] == {"T1"}


def test_each_rule_has_an_example_of_its_own_or_of_a_profile_with_the_same_rule():
    assert set(EXAMPLES) <= set(RULES), "an example of a rule that is not there"
    versions = [RULES[key].version for key in EXAMPLES]
    assert len(versions) == len(set(versions)), "two examples of the same rule"
    assert [key for key, rule in RULES.items() if rule.version not in versions] == []


@CASES
def test_at_the_threshold_it_fires(key):
    expected = EXAMPLES[key]["fires"]
    (finding,), _ = judge(key, expected["row"])
    says = {
        "severity": finding.severity,
        "evidence": list(finding.evidence),
        "readings": [[r.metric, r.value, r.threshold, r.exposure] for r in finding.readings],
        "excess": finding.excess,
        "metric_value": finding.metric_value,
        **finding.texts,
    }
    assert set(finding.texts) <= set(expected)
    assert {name: says[name] for name in expected if name != "row"} == {
        name: value for name, value in expected.items() if name != "row"
    }


@CASES
def test_elsewhere_beyond_the_threshold_it_fires_too(key):
    for row, changes in rows(key, "also_fires"):
        assert len(judge(key, row)[0]) == 1, changes


@CASES
def test_just_under_it_stays_quiet(key):
    assert EXAMPLES[key]["stays_quiet"]
    for row, changes in rows(key, "stays_quiet"):
        assert judge(key, row) == ((), True), changes


@CASES
def test_without_data_it_is_not_evaluated(key):
    assert EXAMPLES[key]["unknown"]
    for row, changes in rows(key, "unknown"):
        assert judge(key, row) == ((), False), changes


@CASES
def test_the_examples_stand_on_every_threshold_and_at_every_minimum(key):
    rule = RULES[key]
    firing = [row for row, _ in rows(key, "fires", "also_fires")]
    quiet = [row for row, _ in rows(key, "stays_quiet")]
    unknown = [row for row, _ in rows(key, "unknown")]
    for condition in rule.when:
        if condition.scale in NUMERIC:
            # At a "≥ 5" five is enough; at a "> 5" it is not.
            on_it = firing if condition.op in (">=", "<=") else quiet
            assert condition.value in [row[condition.metric] for row in on_it], condition
    minimums = [(each.exposure, each.minimum_exposure) for each in rule.when if each.exposure]
    for count, minimum in (*minimums, *rule.requires.items()):
        if minimum > 1:
            assert minimum in [row[count] for row in firing], count
            assert minimum - 1 in [row[count] for row in unknown], count


# The numbers in sentences that are no window of a metric's name: each is that of a dbt var, or
# (None) of what the metric is: the ends of a scale, of an earlier window.
NUMBERS = {
    (Kind.ALERT, "chronic_lateness"): {"5": "late_after_minutes"},
    (Kind.ALERT, "declining_performance"): dict.fromkeys(["15", "28", "31", "60"]),
    (Kind.ALERT, "consistently_poor_scores"): {"5.0": "low_score", "90": "lookback_days"},
    (Kind.ALERT, "poor_first_session_pattern"): {"6.0": "poor_first_score"},
    (Kind.ALERT, "extreme_talk_ratio"): {"5": "talk_ratio_sessions"},
    (Kind.ALERT, "poor_first_session"): {"6.5": "poor_first_score_recent"},
    (Kind.ALERT, "poor_first_session_rating"): {"3.5": "poor_first_rating"},
    (Kind.ALERT, "high_churn_risk"): {"30": None},
    (Kind.ALERT, "high_talk_ratio"): {"65 %": "high_talk_ratio", "30": None},
    (Kind.ALERT, "low_understanding_checks"): {"30": None},
    (Kind.INSIGHT, "balanced_talk_ratio"): {
        "35 %": "balanced_talk_from", "50 %": "balanced_talk_to",
    },
    (Kind.INSIGHT, "high_talk_ratio"): {"65 %": "high_talk_ratio"},
    (Kind.INSIGHT, "high_reschedule_share"): {
        "15 %": "high_reschedule_rate", "5": "high_reschedule_min_sessions",
    },
    (Kind.INSIGHT, "high_rating_score_divergence"): dict.fromkeys(["5", "10"]),
    (Kind.ACHIEVEMENT, "student_favorite"): {"5": None},
}  # fmt: skip


def numbers(rule):
    """The numbers in a rule's sentences, as written, but for the values of metrics."""
    sentences = " ".join(re.sub(r"\{.*?\}", "", text.text) for text in rule.texts.values())
    return set(re.findall(r"\d+(?:\.\d+)?(?: %)?", sentences))


@pytest.mark.parametrize("key", RULES, ids=["-".join(each) for each in RULES])
def test_the_numbers_in_a_sentence_and_the_vars_behind_its_metrics_agree(key):
    variables = yaml.safe_load(DBT_PROJECT.read_text("utf-8"))["vars"]
    windows = set(re.findall(r"_(\d+)d(?![a-z])", " ".join(RULES[key].columns)))
    known = NUMBERS.get(key[1:], {})
    for number in numbers(RULES[key]) - windows:
        assert number in known, "which var is this number from?"
        if variable := known[number]:
            value = float(number.removesuffix(" %")) / (100 if number.endswith("%") else 1)
            assert value == variables[variable], variable


def test_no_number_is_listed_in_vain():
    said = {}
    for (_, *kind_and_id), rule in RULES.items():
        said.setdefault(tuple(kind_and_id), set()).update(numbers(rule))
    assert [key for key, known in NUMBERS.items() if not set(known) <= said[key]] == []


def test_what_is_off_in_a_shipped_profile():
    off = {(profile, rule_id) for (profile, _, rule_id), rule in RULES.items()
           if not rule.is_enabled}  # fmt: skip
    assert off == {
        *((profile, "student_churn_risk") for profile in shipped()),
        ("standard", "chronic_lateness"),
        ("standard", "consistently_poor_scores"),
        ("standard", "repeated_student_frustration"),
        ("standard", "poor_first_session_pattern"),
        ("standard", "extreme_talk_ratio"),
    }


def test_conservative_sets_off_an_alert_before_it_says_the_same_as_advice():
    """The talk ratio of the last five sessions is an alert; with it open, the insight is quiet."""
    catalogue = load_catalogue("conservative", rule_inputs())
    row = dict.fromkeys({*catalogue.columns(Kind.ALERT), *catalogue.columns(Kind.INSIGHT)}) | {
        "tutor_id": "T1",
        "talk_ratio_last5": 0.8,
        "talk_ratio_last5_n": 5,
        "avg_talk_ratio": 0.8,
        "avg_talk_ratio_n": 9,
    }
    alerts = {f.rule_id for f in evaluate(catalogue, Kind.ALERT, [row], AS_OF).findings}
    assert alerts == {"extreme_talk_ratio"}
    for is_open, insights in ((True, []), (False, ["high_talk_ratio"])):
        row["open_alerts.extreme_talk_ratio"] = is_open
        found = evaluate(catalogue, Kind.INSIGHT, [row], AS_OF).findings
        assert [finding.rule_id for finding in found] == insights

"""The shipped profiles, on the real metrics: each rule at its threshold, under it, without data.

Expected findings come from `data/<profile>_<section>.yml`, written by hand.
"""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from tutor_pipeline.domain import Kind
from tutor_pipeline.metrics.catalogue import metric_columns
from tutor_pipeline.rules.catalogue import SHIPPED, load_catalogue
from tutor_pipeline.rules.evaluate import evaluate

DATA = Path(__file__).parent / "data"
DBT_PROJECT = Path(__file__).parents[3] / "dbt_project" / "dbt_project.yml"
AS_OF = datetime(2026, 3, 31, 23, 59, tzinfo=UTC)
INPUTS = {"tutor_aggregates": metric_columns()["tutor_aggregates"]}

EXAMPLES = {
    (profile, kind, rule_id): example
    for profile, kind, name in [("conservative", Kind.ALERT, "conservative_alerts.yml")]
    for rule_id, example in yaml.safe_load((DATA / name).read_text("utf-8")).items()
}
CASES = pytest.mark.parametrize(
    ("profile", "kind", "rule_id"), EXAMPLES, ids=[f"{each[0]}-{each[2]}" for each in EXAMPLES]
)


def judge(profile, kind, **changes):
    """Evaluate one row; what the changes don't name is NULL."""
    catalogue = load_catalogue(profile, INPUTS)
    row = dict.fromkeys(catalogue.columns(kind)) | changes
    assert set(row) == set(catalogue.columns(kind)), "the example names a column no rule reads"
    return evaluate(catalogue, kind, [row | {"tutor_id": "T1"}], AS_OF)


def test_each_rule_has_an_example():
    rules = {
        (path.stem, rule.kind, rule.id)
        for path in SHIPPED.glob("*.yml")
        for rule in load_catalogue(path.stem, INPUTS).rules
    }
    assert set(EXAMPLES) == rules


@CASES
def test_at_the_threshold_it_fires(profile, kind, rule_id):
    expected = EXAMPLES[profile, kind, rule_id]["fires"]
    evaluation = judge(profile, kind, **expected["row"])
    (finding,) = [each for each in evaluation.findings if each.rule_id == rule_id]
    assert finding.severity == expected["severity"]
    assert finding.texts == {
        name: expected[name] for name in ("title", "description", "recommended_action")
    }
    assert list(finding.evidence) == expected["evidence"]
    assert {
        each.metric: [each.value, each.threshold, each.exposure] for each in finding.readings
    } == expected["readings"]
    assert finding.excess == expected["excess"]


@CASES
def test_just_under_it_stays_quiet(profile, kind, rule_id):
    example = EXAMPLES[profile, kind, rule_id]
    assert example["stays_quiet"]
    for changes in example["stays_quiet"]:
        evaluation = judge(profile, kind, **(example["fires"]["row"] | changes))
        assert rule_id not in {each.rule_id for each in evaluation.findings}, changes
        assert evaluation.evaluated[rule_id] == {"T1"}, changes


@CASES
def test_without_data_it_is_not_evaluated(profile, kind, rule_id):
    example = EXAMPLES[profile, kind, rule_id]
    assert example["unknown"]
    for changes in example["unknown"]:
        evaluation = judge(profile, kind, **(example["fires"]["row"] | changes))
        assert rule_id not in {each.rule_id for each in evaluation.findings}, changes
        assert evaluation.evaluated[rule_id] == frozenset(), changes
        assert evaluation.skipped == {}


@pytest.mark.parametrize(
    ("rule_id", "var", "says"),
    [
        ("chronic_lateness", "late_after_minutes", "more than {} minutes late"),
        ("consistently_poor_scores", "low_score", "under {:.1f}"),
        ("poor_first_session_pattern", "poor_first_score", "under {:.1f}"),
        ("extreme_talk_ratio", "talk_ratio_sessions", "last {} completed sessions"),
    ],
)
def test_a_sentence_and_the_var_behind_its_metric_agree(rule_id, var, says):
    value = yaml.safe_load(DBT_PROJECT.read_text("utf-8"))["vars"][var]
    (rule,) = [each for each in load_catalogue("conservative", INPUTS).rules if each.id == rule_id]
    assert says.format(value) in rule.texts["description"].text

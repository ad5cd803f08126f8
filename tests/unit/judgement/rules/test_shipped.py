"""The shipped profiles, on the real metrics: each rule at its threshold, under it, without data.

Expected findings come from `data/<profile>_<section>.yml`, written by hand. A profile that extends
another needs examples only for the rules that it changes or adds.
"""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from tutor_pipeline.core.findings import Kind
from tutor_pipeline.judgement.rules.catalogue import Catalogue, at_threshold, load_catalogue
from tutor_pipeline.judgement.rules.evaluate import evaluate, fit
from tutor_pipeline.judgement.rules.inputs import NUMERIC
from tutor_pipeline.judgement.rules.profiles import shipped
from tutor_pipeline.metrics.thresholds import thresholds
from tutor_pipeline.metrics.wide_rows import rule_inputs

DATA = Path(__file__).parent / "data"
AS_OF = datetime(2026, 3, 31, 23, 59, tzinfo=UTC)

RULES = {
    (profile, rule.kind, rule.id): rule
    for profile in shipped()
    for rule in load_catalogue(profile, rule_inputs(), thresholds()).rules
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
    # What is unusual has tests of its own, below.
    assert [
        key for key, rule in RULES.items() if rule.unusual is None and rule.version not in versions
    ] == []


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


def test_adaptive_is_conservative_and_asks_for_what_is_unusual():
    asking = {key[1:]: rule for key, rule in RULES.items() if key[0] == "adaptive"}
    plain = {key[1:]: rule for key, rule in RULES.items() if key[0] == "conservative"}
    beside = {key for key, rule in asking.items() if rule.beside is not None}
    assert set(asking) - beside == set(plain)
    for key, rule in plain.items():
        same = replace(asking[key], unusual=None, version=rule.version, source=rule.source)
        assert same == rule
    # Of each alert that counts, averages or follows something; the others are risks of scorers.
    asks = {rule_id for (kind, rule_id), rule in asking.items()
            if kind is Kind.ALERT and rule.unusual is not None}  # fmt: skip
    alerts = {rule_id for kind, rule_id in plain if kind is Kind.ALERT}
    assert alerts - asks == {"high_churn_risk", "student_churn_risk"}
    assert beside == {(Kind.INSIGHT, at_threshold(rule_id)) for rule_id in asks}


def a_crowd(catalogue, changes, others):
    """Forty tutors of whom `others` are the metrics, and T1 with `changes`."""
    columns = {*catalogue.columns(Kind.ALERT), *catalogue.columns(Kind.INSIGHT)}
    usual = dict.fromkeys(columns) | {
        name: False for name in columns if name.startswith("open_alerts.")
    }
    rows = [{**usual, **others, "tutor_id": f"O{n}"} for n in range(40)]
    return [*rows, {**usual, **others, **changes, "tutor_id": "T1"}]


ALERTS = [key for key, rule in RULES.items() if key[0] == "adaptive"
          and key[1] is Kind.ALERT and rule.unusual is not None]  # fmt: skip
FAR_OUT = {
    "no_show_pattern": {"no_show_tutor_30d": 6, "no_show_tutor_30d_n": 20},
    "high_reschedule_rate": {
        "tutor_reschedules_30d": 12, "reschedule_rate_30d_n": 20, "reschedule_rate_30d": 0.6,
    },
    "chronic_lateness": {"late_count_30d": 12, "late_count_30d_n": 20},
    "declining_performance": {
        "score_change_14d": -4.0, "score_change_14d_n": 20, "avg_session_score_14d": 4.0,
        "avg_session_score_14d_n": 20, "avg_session_score_prior_14d": 8.0,
        "session_score_stddev_30d": 1.0,
    },
    "consistently_poor_scores": {
        "low_score_streak": 5, "low_score_streak_n": 20, "overall_score": 3.5,
        "overall_score_n": 20, "session_score_stddev_30d": 1.0,
    },
    "repeated_student_frustration": {
        "frustration_sessions_14d": 9, "frustration_sessions_14d_n": 12,
    },
    "poor_first_session_pattern": {
        "poor_first_sessions_60d": 9, "poor_first_sessions_60d_n": 12,
    },
    "extreme_talk_ratio": {
        "talk_ratio_last5": 0.8, "talk_ratio_last5_n": 5, "high_talk_share": 0.9,
        "avg_talk_ratio_n": 20,
    },
}  # fmt: skip
USUALLY = {
    "no_show_tutor_30d": 0, "tutor_reschedules_30d": 1, "late_count_30d": 1,
    "score_change_14d": 0.1, "low_score_streak": 0, "overall_score": 7.5,
    "frustration_sessions_14d": 0, "poor_first_sessions_60d": 0, "high_talk_share": 0.05,
}  # fmt: skip


@pytest.mark.parametrize("key", ALERTS, ids=["-".join(each) for each in ALERTS])
def test_each_adaptive_alert_finds_who_stands_out_and_nobody_where_all_do_the_same(key):
    rule = RULES[key]
    catalogue = Catalogue("adaptive", True, (rule, RULES["adaptive", Kind.INSIGHT,
                                                         at_threshold(rule.id)]))  # fmt: skip
    far_out = FAR_OUT[rule.id]
    stands_out = a_crowd(catalogue, far_out, far_out | USUALLY)
    alike = a_crowd(catalogue, far_out, far_out)
    for rows, found in ((stands_out, Kind.ALERT), (alike, Kind.INSIGHT)):
        usual = fit(catalogue, rows)
        of_t1 = [
            finding
            for kind in (Kind.ALERT, Kind.INSIGHT)
            for finding in evaluate(catalogue, kind, rows, AS_OF, (), usual).findings
            if finding.tutor_id == "T1"
        ]
        (only,) = of_t1
        assert only.rule_id == (rule.id if found is Kind.ALERT else at_threshold(rule.id))
        told = " ".join(only.texts.values())
        assert ("others: " if found is Kind.ALERT else "usual here is ") in told.replace("O", "o")


def test_conservative_sets_off_an_alert_before_it_says_the_same_as_advice():
    """The talk ratio of the last five sessions is an alert; with it open, the insight is quiet."""
    catalogue = load_catalogue("conservative", rule_inputs(), thresholds())
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

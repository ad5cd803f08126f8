"""Profiles that extend others: what is inherited, what is changed, where an error is located."""

import re

import pytest

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.findings import Kind, Severity
from tutor_pipeline.judgement.rules.catalogue import load_catalogue
from tutor_pipeline.judgement.rules.evaluate import evaluate
from tutor_pipeline.metrics.thresholds import thresholds
from tutor_pipeline.metrics.wide_rows import rule_inputs


@pytest.fixture
def write(tmp_path):
    """Write a profile, in a subfolder if its name has one, and return its path."""

    def write_text(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write_text


@pytest.fixture
def base(write, profile):
    return write("base.yml", "auto_resolve: false\n" + profile)


def told(path, inputs):
    """Return the text of the error that a wrong profile raises."""
    with pytest.raises(TutorPipelineError) as caught:
        load_catalogue(path, inputs)
    return str(caught.value)


def test_a_file_changes_only_what_it_names(write, base, inputs):
    own = write("own.yml", "extends: base.yml\nalerts:\n  low_score: {severity: critical}\n")
    before, after = load_catalogue(base, inputs), load_catalogue(own, inputs)
    assert (after.profile, after.auto_resolve) == ("own", False)
    assert after.rules[0] == before.rules[0]
    low = after.rules[1]
    assert low.severity is Severity.CRITICAL
    assert (low.when, low.texts) == (before.rules[1].when, before.rules[1].texts)
    assert low.version != before.rules[1].version
    assert (low.source, before.rules[1].source) == (f"{own}:3", f"{base}:11")


def test_a_file_that_changes_nothing_is_the_profile_it_extends(write, base, inputs):
    own = load_catalogue(write("own.yml", "extends: base.yml\n"), inputs)
    assert own.rules == load_catalogue(base, inputs).rules


def test_conditions_are_replaced_as_a_whole(write, base, inputs):
    own = write(
        "own.yml",
        "extends: base.yml\nalerts:\n  low_score:\n"
        "    when: [{metric: score, op: '<', value: 4}]\n",
    )
    (condition,) = load_catalogue(own, inputs).rules[1].when
    assert (condition.value, condition.minimum_exposure) == (4, 1)


def test_a_chain_of_profiles_seen_from_each_file(write, profile, inputs):
    write("base/base.yml", profile)
    write("base/middle.yml", "extends: base.yml\nauto_resolve: false\nalerts:\n"
          "  no_show: {enabled: false}\n  low_score: {title: Middle}\n")  # fmt: skip
    own = write("own/own.yml", "extends: ../base/middle.yml\nauto_resolve: true\nalerts:\n"
                "  no_show: {enabled: true}\n")  # fmt: skip
    catalogue = load_catalogue(own, inputs)
    assert [rule.id for rule in catalogue.of(Kind.ALERT)] == ["no_show", "low_score"]
    assert catalogue.rules[1].texts["title"].text == "Middle"
    assert catalogue.auto_resolve is True


def test_an_insight_reads_alerts_of_every_file(write, base, inputs):
    own = write(
        "own.yml",
        """\
extends: base.yml
alerts:
  late:
    severity: warning
    title: Late
    when: [{metric: sessions, op: ">", value: 3}]
    description: Late
    recommended_action: Call
    evidence: no_show_ids
  low_score: {enabled: false}
insights:
  fine:
    insight_type: strength
    when:
      - {metric: open_alerts.no_show, op: "=", value: false}
      - {metric: open_alerts.late, op: "=", value: false}
      - {metric: open_alerts.low_score, op: "=", value: false}
    display_text: Fine
""",
    )
    (rule,) = load_catalogue(own, inputs).of(Kind.INSIGHT)
    assert rule.columns == {"open_alerts.no_show", "open_alerts.late", "open_alerts.low_score"}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("extends: conservativ\n", 1,
         "there is no profile conservativ to extend .did you mean conservative"),
        ("extends: nowhere/base.yml\n", 1, "there is no profile nowhere/base.yml to extend$"),
        ("extends: 3\n", 1, "3 is not the name or path of a profile"),
        ("extends: own.yml\n", 1, "a profile can't extend itself: own.yml → own.yml"),
        ("alerts: {}\nextends: middle.yml\n", 1,
         "a profile can't extend itself: own.yml → middle.yml → own.yml"),
        ("extends: base.yml\nextend: base.yml\n", 2, "unknown key extend .did you mean extends"),
        ("extends: base.yml\nalert: {}\n", 2, "unknown key alert .did you mean alerts"),
        ("extends: base.yml\nauto_resolve: 1\n", 2, "1 is not true or false"),
        ("extends: base.yml\nalerts:\n  lov_score: {enabled: false}\n", 3,
         r"missing: when, .*; base has no lov_score \(did you mean low_score\?\) to change"),
        ("extends: base.yml\nalerts:\n  qqq: {severity: warning}\n", 3,
         "missing: when, .*; base has no qqq to change$"),
        ("extends: base.yml\ninsights:\n  low_score: {enabled: false}\n", 3,
         "base has no low_score to change"),
        ("extends: base.yml\nalerts:\n  low_score: {severty: critical}\n", 3,
         "unknown key severty .did you mean severity"),
        ("extends: base.yml\nalerts:\n  low_score: {title: '{scor}'}\n", 3,
         "unknown metric scor .did you mean score"),
        ("extends: base.yml\nalerts:\n  low_score: {title: x}\n  low_score: {title: y}\n", 4,
         "rule low_score is there twice"),
        ("extends: base.yml\nalerts:\n  low_score: {title: x, title: y}\n", 3,
         "key title is there twice"),
        ("extends: base.yml\nalerts:\n  low_score:\n    title: null\n", 3, "missing: title$"),
        ("extends: base.yml\nalerts:\n  low_score:\n    evidence: ~\n", 3, "missing: evidence .an"),
        ("extends: base.yml\nalerts:\n  low_score:\n    requires: null\n", 4, "a mapping"),
        ("extends: base.yml\nalerts:\n  low_score:\n    titel: null\n", 4,
         "unknown key titel .did you mean title"),
        ("extends: base.yml\nalerts:\n  Low_score: {title: x}\n", 3, "is no id of a rule"),
        ("extends: base.yml\nalerts:\n  low_score: off\n", 3, "a mapping"),
        ("extends: base.yml\nalerts:\n", 2, "a mapping"),
    ],
)  # fmt: skip
def test_an_error_in_the_extending_file(write, base, inputs, text, line, message):
    write("middle.yml", "extends: own.yml\n")
    own = write("own.yml", text)
    file = own
    if "→ middle" in message:  # told where the circle closes
        file = own.with_name("middle.yml")
    lines = [each for each in told(own, inputs).splitlines() if each.startswith(f"{file}:{line}: ")]
    assert len(lines) == 1
    assert re.search(message, lines[0])


def test_what_is_wrong_in_the_extended_file_is_told_with_that_file(write, profile, inputs):
    base = write("base.yml", profile.replace("metric: no_shows", "metric: no_show"))
    own = write("own.yml", "extends: base.yml\nalerts:\n  low_score: {title: '{nope}'}\n"
                "  no_show: {severity: warning}\n")  # fmt: skip
    lines = told(own, inputs).splitlines()[1:]
    assert [line.split(": ")[0] for line in lines] == [f"{base}:6", f"{own}:3"]


DULL = """\
insights:
  dull:
    insight_type: growth_area
    requires: {sessions: 10}
    when: [{metric: score, op: "<", value: 8}]
    display_text: Dull
    coaching_tip: Laugh
"""


def test_null_takes_an_inherited_key_away(write, inputs):
    base = write("base.yml", DULL)
    own = write(
        "own.yml",
        "extends: base.yml\ninsights:\n  dull:\n    insight_type: strength\n"
        "    coaching_tip: null\n    requires:\n",
    )
    before, after = (load_catalogue(path, inputs).rules[0] for path in (base, own))
    assert (before.requires, set(before.texts)) == (
        {"sessions": 10}, {"insight_type", "display_text", "coaching_tip"},
    )  # fmt: skip
    assert (after.requires, set(after.texts)) == ({}, {"insight_type", "display_text"})


def test_what_two_files_make_wrong_together_is_told_of_the_one_that_caused_it(write, inputs):
    """A strength has no tip. The inherited tip is right; the new type is the error."""
    write("base.yml", DULL)
    middle = write("middle.yml", "extends: base.yml\n\ninsights:\n  dull:\n"
                   "    insight_type: strength\n")  # fmt: skip
    own = write("own.yml", "extends: middle.yml\ninsights:\n  dull: {display_text: Bored}\n")
    for path in (middle, own):
        assert told(path, inputs).splitlines()[1:] == [
            f"{middle}:4: a strength has no coaching_tip"
        ]


def test_what_the_extended_file_lacks_is_told_of_that_file(write, inputs):
    base = write("base.yml", DULL.replace("    display_text: Dull\n", ""))
    own = write("own.yml", "extends: base.yml\ninsights:\n  dull: {coaching_tip: Smile}\n")
    assert told(own, inputs).splitlines()[1:] == [f"{base}:2: missing: display_text"]
    write("own.yml", "extends: base.yml\ninsights:\n  dull: {display_text: Bored}\n")
    assert load_catalogue(own, inputs).rules[0].texts["display_text"].text == "Bored"


def test_an_extended_file_that_is_not_yaml_is_named(write, inputs):
    base = write("base.yml", "alerts: [")
    assert f"{base} is not YAML" in told(write("own.yml", "extends: base.yml\n"), inputs)


def test_one_rule_of_each_kind_from_yaml_alone(write, as_of):
    """What a user adds to a shipped profile, on the real metrics: no code."""
    own = write(
        "own.yml",
        """\
extends: conservative
alerts:
  idle:
    severity: warning
    title: Idle Tutor Detected
    when: [{metric: days_since_last_session, op: ">=", value: 14}]
    description: No session for {days_since_last_session:day|days}.
    recommended_action: Ask what happened
    evidence: recent_session_ids
insights:
  weekend_teacher:
    insight_type: strength
    requires: {sessions_completed_30d: 5}
    when:
      - {metric: weekend_share_90d, op: ">", value: 0.5, minimum_exposure: 10}
      - {metric: open_alerts.idle, op: "=", value: false}
    display_text: Teaches mostly at weekends ({weekend_share_90d:.0%})
    evidence: engagement_session_ids
achievements:
  marathon:
    title: Marathon
    when: [{metric: sessions_completed_all, op: ">=", value: 1000}]
    description: "{sessions_completed_all:session|sessions}"
    icon: 🏃
""",
    )
    catalogue = load_catalogue(own, rule_inputs(), thresholds())
    row = {"tutor_id": "T1", "days_since_last_session": 14, "sessions_completed_all": 1000,
           "weekend_share_90d": 0.6, "sessions_90d": 10, "sessions_completed_30d": 5,
           "open_alerts.idle": False, "recent_session_ids": ["S3"],
           "engagement_session_ids": ["S2", "S1"]}  # fmt: skip

    def found(kind, **changes):
        complete = {**dict.fromkeys(catalogue.columns(kind)), **row, **changes}
        return {f.rule_id: f for f in evaluate(catalogue, kind, [complete], as_of).findings}

    idle = found(Kind.ALERT)["idle"]
    assert (idle.severity, idle.texts["description"]) == ("warning", "No session for 14 days.")
    assert idle.evidence == ("S3",)
    assert "idle" not in found(Kind.ALERT, days_since_last_session=13)
    weekend = found(Kind.INSIGHT)["weekend_teacher"]
    assert weekend.texts == {
        "insight_type": "strength", "display_text": "Teaches mostly at weekends (60 %)",
    }  # fmt: skip
    assert (weekend.metric_value, weekend.evidence) == (0.6, ("S2", "S1"))
    assert found(Kind.INSIGHT, **{"open_alerts.idle": True}) == {}
    assert found(Kind.INSIGHT, sessions_completed_30d=4) == {}
    marathon = found(Kind.ACHIEVEMENT)["marathon"]
    assert (marathon.texts["icon"], marathon.texts["description"]) == ("🏃", "1,000 sessions")

"""The catalogue: what a profile may say, and where an error is located."""

import json
import re
from itertools import pairwise

import pytest

from tutor_pipeline.core.errors import TutorPipelineError, UsageError
from tutor_pipeline.core.findings import Kind, Severity
from tutor_pipeline.judgement.rules.catalogue import load_catalogue
from tutor_pipeline.metrics.thresholds import thresholds
from tutor_pipeline.metrics.wide_rows import rule_inputs


def test_a_profile_is_read(load, profile):
    catalogue = load("auto_resolve: false\n" + profile)
    assert (catalogue.profile, catalogue.auto_resolve) == ("own", False)
    no_show, low_score = catalogue.of(Kind.ALERT)
    assert (no_show.id, no_show.severity, no_show.evidence) == (
        "no_show", Severity.CRITICAL, "no_show_ids",
    )  # fmt: skip
    assert low_score.when[0].minimum_exposure == 4
    assert load(profile).auto_resolve is True


def test_the_version_follows_the_content(load, profile):
    before = load(profile).rules
    assert load(profile).rules == before
    after = load(profile.replace("value: 5", "value: 6")).rules
    assert before[0].version == after[0].version
    assert before[1].version != after[1].version


@pytest.mark.parametrize(
    ("wrong", "right", "line", "message"),
    [
        ("metric: no_shows,", "metric: no_show,", 6, "unknown metric no_show .did you mean no_sh"),
        ("metric: no_shows,", "metric: qqqqq,", 6, "unknown metric qqqqq$"),
        ("no_shows, op: '>=', value: 3", "champion.level, op: '=', value: Hihg", 6,
         "champion.level is one of Low, High, not Hihg .did you mean High"),
        ("metric: no_shows,", "metric: last_seen_at,", 6, "last_seen_at can't be compared"),
        ("metric: no_shows,", "metric: no_show_ids,", 6, "no_show_ids can't be compared"),
        ("value: 3}", "value: 2.5}", 6, "2.5 is not a whole number"),
        ("value: 3}", "value: many}", 6, "'many' is not a whole number"),
        ("value: 3}", "value: true}", 6, "true is not a whole number"),
        ("value: 5,", "value: yes,", 14, "yes is not a number"),
        ("value: 5,", "value: .nan,", 14, "nan is not a number"),
        ("no_shows, op: '>=', value: 3", "is_flagged, op: '=', value: 3", 6, "3 is not true or"),
        ("no_shows, op: '>='", "is_flagged, op: '>='", 6, "operator >= is not one of = for"),
        ("op: '>='", "op: '=>'", 6, "operator => is not one of >= > <= < ="),
        ("metric: no_shows,", "", 6, "missing: metric"),
        ("value: 3}", "value: 3, minimum: 5}", 6, "unknown key minimum"),
        ("no_shows, op: '>=', value: 3", "rating, op: '<', value: 3, minimum_exposure: 2", 6,
         "rating has no exposure"),
        ("severity: critical", "severity: urgent", 3, "severity urgent is not one of warning, cri"),
        ("    severity: critical\n", "", 2, "missing: severity$"),
        ("severity: critical", "severty: critical", 3, "unknown key severty .did you mean sever"),
        ("  low_score:", "  no_show:", 10, "rule no_show is there twice"),
        ("title: Low score", "title: Low score\n    title: x", 13, "key title is there twice"),
        ("{score:.2f}", "{scor:.2f}", 15, "unknown metric scor .did you mean score"),
        ("{score:.2f}", "{threshold.low_rat:.0%}", 15,
         "unknown threshold low_rat .did you mean low_rate"),
        ("{score:.2f}", "{threshold.scor}", 15, "unknown threshold scor .did you mean score"),
        ("{score:.2f}", "{threshold.low_rate:d}", 15, "a threshold can't be written as 'd'"),
        ("minimum_exposure: 4}\n    description: \"Score {score:.2f}",
         "minimum_exposure: 4}\n      - {metric: score, op: '>', value: 1}\n"
         "    description: \"{threshold.score}",
         16, "the rule has more than one threshold of score"),
        ("{score:.2f}", "{score.real}", 15, "unknown metric score.real"),
        ("{score:.2f}", "{score!r}", 15, "a brace that is no placeholder"),
        ("{score:.2f}", "{score", 15, "a brace that is no placeholder"),
        ("{score:.2f}", "{}", 15, "a brace that is no placeholder"),
        ("{score:.2f}", "{score:x}", 15, "score is a number, which can't be written as 'x'"),
        ("{score:.2f}", "{score:one|many}", 15, "score is a number, which can't be written as"),
        ("{score:.2f}", "{no_show_ids}", 15, "no_show_ids can't be written in a sentence"),
        ("evidence: no_show_ids", "evidence: sessions", 9, "sessions holds no session ids"),
        ("recommended_action: Call", "recommended_action: 3", 8, "3 is not text"),
        ("alerts:", "alert:", 1, "unknown key alert .did you mean alerts"),
        ("severity: critical", "severity: critcal", 3, "warning, critical .did you mean critical"),
        ("title: No shows", "title: x\n    enabled: maybe", 5, "'maybe' is not true or false"),
        ("title: No shows", "title: x\n    metric_value: sessions", 5, "unknown key metric_value"),
        ("title: No shows", "title: x\n    icon: x", 5, "unknown key icon"),
        ("title: No shows", "title: 2026-13-45", 4, "this is not text"),
        ("title: No shows", "title: !!python/name:os.system x", 4, "this is not text"),
        ("title: No shows", "title: x\n    requires: {session: 3}", 5,
         "unknown metric session .did you mean sessions"),
        ("title: No shows", "title: x\n    requires: {score: 3}", 5,
         "score is no count to ask a min"),
        ("title: No shows", "title: x\n    requires: {sessions: 2.5}", 5,
         "2.5 is not a whole number"),
        ("title: No shows", "title: x\n    requires: {sessions: 3, sessions: 4}", 5,
         "key sessions is the"),
        ("title: No shows", "title: x\n    requires: 5", 5, "a mapping .key: value. is expected"),
        ("no_shows, op: '>=', value: 3", "open_alerts.low_score, op: '=', value: true", 6,
         "an alert can't read open_alerts.low_score: alerts are evaluated first"),
        ("    evidence: no_show_ids\n", "", 2,
         "missing: evidence .an alert that somebody resolved comes back only with"),
        ("evidence: no_show_ids", "evidence:", 9, "nothing is not the name of a metric"),
        ("title: No shows", 'title: "No\\0shows"', 4, "a character that PostgreSQL can't store"),
        ("title: No shows", "title: [No, shows]", 4, "a list or a mapping is not text"),
        ("title: No shows", "title: !!int x", 4, "this is not text"),
        ("title: No shows", "title: !!int ''", 4, "this is not text"),
        ("title: No shows", "title: !!bool x", 4, "this is not text"),
        ("title: No shows", "title: !!timestamp x", 4, "this is not text"),
        ("value: 5,", "value: 1.1e+15,", 14, r"1.1e\+15 is not a number .* from -1e15 to 1e15"),
        ("value: 5,", "value: -.inf,", 14, "-.inf is not a number .* from -1e15 to 1e15"),
        ("value: 3}", "value: 1000000000000001}", 6, "is not a whole number .* from -1e15 to"),
        ("value: 3}", f"value: 0x{'f' * 5000}}}", 6, "is not a whole number .* from -1e15 to"),
        ("value: 3}", "value: 3, minimum_exposure: 0}", 6, "it is at least 1"),
        ("value: 3}", "value: 3, minimum_exposure: -5}", 6, "it is at least 1"),
        ("title: No shows", "title: x\n    requires: {sessions: -3}", 5, "it is at least 1"),
        ("title: No shows", "title: x\n    requires: {sessions: 0}", 5, "it is at least 1"),
        ("value: 3}", "value: 3, minimum_share: 2}", 6, "2 is not a share between 0 and 1"),
        ("value: 5,", "value: 5, minimum_share: 0.5,", 14, "score is no count of sessions"),
        ("{score:.2f}", "{score:.99999999f}", 15, "which can't be written as '.99999999f'"),
        ("{score:.2f}", "{score:99999999f}", 15, "which can't be written as '99999999f'"),
        ("{score:.2f}", "{score:.f}", 15, "which can't be written as '.f'"),
        ("when:\n      - {metric: score", "when:\n      {metric: score", 14, "a list with"),
    ],
)  # fmt: skip
def test_an_error_tells_file_and_line(load, profile, tmp_path, wrong, right, line, message):
    text = profile.replace('">="', "'>='")
    assert text.count(wrong) >= 1
    with pytest.raises(TutorPipelineError) as caught:
        load(text.replace(wrong, right, 1))
    place = f"{tmp_path / 'own.yml'}:{line}: "
    told = [each for each in str(caught.value).splitlines() if each.startswith(place)]
    assert len(told) == 1, caught.value
    assert re.search(message, told[0])


@pytest.mark.parametrize(
    "rule_id", ["No_show", "no-show", "3_no_shows", "_no_show", "no show", "no\nshow", "né", "",
                "n|o", "n" * 49],
)  # fmt: skip
def test_an_id_is_one_that_a_column_can_have(load, profile, rule_id):
    with pytest.raises(TutorPipelineError, match=r"own\.yml:2: .* is no id of a rule"):
        load(profile.replace("  no_show:", f"  {json.dumps(rule_id)}:"))


def test_an_id_has_up_to_48_characters(load, profile):
    longest = "n" + "_9" * 23 + "z"
    assert len(longest) == 48
    assert load(profile.replace("  no_show:", f"  {longest}:")).rules[0].id == longest


def test_the_greatest_threshold(load, profile):
    text = profile.replace("value: 3}", "value: 1000000000000000}").replace(
        "value: 5,", "value: -1.0e+15,"
    )
    assert [rule.when[0].value for rule in load(text).rules] == [10**15, -1e15]


@pytest.mark.parametrize(
    "place", ["auto_resolve: {}", "extends: {}", "? {}\n: 3", "alerts: {{x: {{title: {}}}}}"]
)
def test_what_aliases_stand_for_is_never_made(load, place):
    """A YAML alias bomb of 10**5 entries: small enough to be harmless if it is expanded."""
    levels = [f"&{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in pairwise("abcdef")]
    bomb = f"[&a [x], {', '.join(levels)}]"
    if "title" in place:
        bomb += (
            ", when: [{metric: no_shows, op: '>', value: 1}], evidence: no_show_ids,"
            " severity: warning, description: x, recommended_action: x"
        )
    with pytest.raises(TutorPipelineError, match=r"own\.yml:1: a list or a mapping is not "):
        load(place.format(bomb) + "\n")


OTHERS = """\
insights:
  keen:
    insight_type: strength
    when: [{metric: score, op: ">", value: 8}]
    display_text: "Keen ({score:.1f})"
  dull:
    insight_type: growth_area
    when: [{metric: open_alerts.no_show, op: "=", value: false}]
    display_text: Dull
    coaching_tip: Laugh {no_shows:time|times}
    metric_value: score
achievements:
  keen:
    title: Keen
    when: [{metric: score, op: ">", value: 9}]
    description: Keen
    icon: "*"
"""


def test_insights_and_achievements_are_read(load, profile):
    catalogue = load(profile + OTHERS)
    keen, dull = catalogue.of(Kind.INSIGHT)
    assert (keen.severity, keen.metric_value, dull.metric_value) == (None, "score", "score")
    assert {name: text.text for name, text in keen.texts.items()} == {
        "insight_type": "strength", "display_text": "Keen ({score:.1f})",
    }  # fmt: skip
    assert set(dull.texts) == {"insight_type", "display_text", "coaching_tip"}
    assert catalogue.columns(Kind.INSIGHT) == (
        "tutor_id", "no_shows", "open_alerts.no_show", "score", "scored",
    )  # fmt: skip
    (badge,) = catalogue.of(Kind.ACHIEVEMENT)
    assert set(badge.texts) == {"title", "description", "icon"}
    assert badge.metric_value is None
    assert keen.version != badge.version


@pytest.mark.parametrize(
    ("wrong", "right", "line", "message"),
    [
        ("metric: score, op: '>', value: 8", "metric: scor, op: '>', value: 8", 4,
         "unknown metric scor .did you mean score"),
        ("metric: score, op: '>', value: 9", "metric: scor, op: '>', value: 9", 15,
         "unknown metric scor .did you mean score"),
        ("value: 8", "value: high", 4, "'high' is not a number"),
        ("value: 9", "value: high", 15, "'high' is not a number"),
        ("{score:.1f}", "{scores:.1f}", 5, "unknown metric scores .did you mean score"),
        ("{no_shows:time|times}", "{no_show}", 10, "unknown metric no_show .did you mean no_shows"),
        ("description: Keen", "description: '{scored_n}'", 16, "scored_n .did you mean scored"),
        ("  dull:", "  keen:", 6, "rule keen is there twice"),
        ("achievements:", "achievements:\n  keen: {}", 14, "rule keen is there twice"),
        ("insights:", "insight:", 1, "unknown key insight .did you mean insights"),
        ("achievements:", "achievement:", 12, "unknown key achievement .did you mean achievements"),
        ("strength", "strenght", 3, "insight_type strenght is not one of strength, growth_area"),
        ("insight_type: strength", "insight_type: 3", 3, "3 is not a word for insight_type"),
        ("    insight_type: strength\n", "", 2, "missing: insight_type"),
        ("    coaching_tip: Laugh {no_shows:time|times}\n", "", 6, "missing: coaching_tip"),
        ('display_text: "Keen', 'coaching_tip: x\n    display_text: "Keen', 5,
         "a strength has no coaching_tip"),
        ("insight_type: strength", "insight_type: strength\n    severity: warning", 4,
         "unknown key severity"),
        ("metric_value: score", "metric_value: is_flagged", 11, "is_flagged is no number to show"),
        ("metric_value: score", "metric_value: scor", 11, "did you mean score"),
        ('    icon: "*"\n', "", 13, "missing: icon"),
        ('icon: "*"', 'icon: "*"\n    metric_value: score', 18, "unknown key metric_value"),
        ("open_alerts.no_show,", "open_alerts.no_shows,", 8,
         "unknown metric open_alerts.no_shows .did you mean open_alerts.no_show"),
        ("value: false", "value: 1", 8, "1 is not true or false"),
    ],
)  # fmt: skip
def test_an_error_in_an_insight_or_a_badge_tells_file_and_line(
    load, profile, tmp_path, wrong, right, line, message
):
    text = OTHERS.replace('">"', "'>'")
    assert text.count(wrong) >= 1
    with pytest.raises(TutorPipelineError) as caught:
        load(text.replace(wrong, right, 1) + profile)
    place = f"{tmp_path / 'own.yml'}:{line}: "
    told = [each for each in str(caught.value).splitlines() if each.startswith(place)]
    assert len(told) == 1, caught.value
    assert re.search(message, told[0])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("{metric: no_shows}", "one of times .of a count or a share. and by .of an average."),
        (
            "{metric: no_shows, times: 2, by: 1}",
            "one of times .of a count or a share. and by .of an average.",
        ),
        ("{times: 2}", "missing: metric"),
        ("{metric: no_show, times: 2}", "unknown metric no_show .did you mean no_shows"),
        ("{metric: rating, times: 2}", "rating is no number with sessions behind it"),
        ("{metric: is_flagged, times: 2}", "is_flagged is no number with sessions behind it"),
        ("{metric: no_shows, times: 1}", "1 is not a number over 1"),
        ("{metric: no_shows, times: two}", "'two' is not a number over 1"),
        ("{metric: no_shows, times: 2, means: 2}", "means is of an average: it goes with by"),
        ("{metric: score, by: -1}", "missing: scatter, the column with the standard deviation"),
        ("{metric: score, by: 0, scatter: rating}", "0 is not away from the others"),
        ("{metric: score, by: -1, scatter: sessions}", "sessions is no number"),
        ("{metric: no_shows, times: 2, level: 1}", "1 is not a share between 0 and 1"),
        ("{metric: no_shows, times: 2, keeps: 0.99}", "keeps 0.99 is over level 0.95"),
        ("{metric: no_shows, times: 2, tims: 3}", "unknown key tims .did you mean times"),
    ],
)
def test_an_error_in_what_is_asked_tells_file_and_line(load, profile, asked, message):
    text = profile.replace("title: No shows", f"title: x\n    unusual: {asked}", 1)
    with pytest.raises(TutorPipelineError, match=rf"own\.yml:5: .*{message}"):
        load(text)


ASKING = "title: No shows Detected\n    unusual: {metric: no_shows, times: 2}"


def test_an_alert_that_asks_for_the_unusual_has_an_insight_beside(load, profile):
    text = profile.replace("title: No shows", ASKING, 1)
    catalogue = load(text)
    (insight,) = catalogue.of(Kind.INSIGHT)
    assert (insight.id, insight.beside) == ("no_show_at_threshold", "no_show")
    assert insight.texts["display_text"].render({}) == "No shows"
    assert "open_alerts.no_show" in catalogue.columns(Kind.ALERT)
    assert catalogue.asking == catalogue.of(Kind.ALERT)[:1]
    off = load(text.replace("severity: critical", "severity: critical\n    enabled: false"))
    assert off.of(Kind.INSIGHT) == off.asking == ()


def test_null_takes_the_question_away(load, profile, tmp_path, inputs):
    load(profile.replace("title: No shows", ASKING, 1))
    plain = load_catalogue(tmp_path / "own.yml", inputs)
    own = tmp_path / "mine.yml"
    own.write_text("extends: own.yml\nalerts:\n  no_show:\n    unusual: null\n", encoding="utf-8")
    assert plain.asking
    assert load_catalogue(own, inputs).asking == ()


def test_what_is_asked_makes_it_another_version(load, profile):
    versions = [
        load(text).rules[0].version
        for text in (
            profile,
            profile.replace("title: No shows", ASKING, 1),
            profile.replace("title: No shows", ASKING.replace("2", "3"), 1),
            profile.replace("value: 3}", "value: 3, minimum_share: 0.5}"),
        )
    ]
    assert len(set(versions)) == 4


def test_an_insight_shows_the_number_of_its_principal_condition_if_it_has_one(load, profile):
    text = OTHERS.replace("    metric_value: score\n", "")
    assert load(profile + text).of(Kind.INSIGHT)[1].metric_value is None


def test_a_rule_that_is_off_is_checked_and_listed_and_not_in_force(load, profile):
    text = profile.replace("title: No shows", "title: No shows\n    enabled: false")
    catalogue = load(text + OTHERS)
    assert [rule.id for rule in catalogue.of(Kind.ALERT)] == ["low_score"]
    assert [(rule.id, rule.is_enabled) for rule in catalogue.rules][:2] == [
        ("no_show", False), ("low_score", True),
    ]  # fmt: skip
    assert catalogue.columns(Kind.ALERT) == ("tutor_id", "no_show_ids", "score", "scored")
    # Whether it is in force is not what it says.
    assert catalogue.rules[0].version == load(profile + OTHERS).rules[0].version
    with pytest.raises(TutorPipelineError, match="unknown metric nope"):
        load(text.replace("metric: no_shows", "metric: nope") + OTHERS)


def test_what_a_rule_requires_is_read_with_the_row(load, profile):
    text = profile.replace(
        "title: No shows", "title: No shows\n    requires: {champion.sessions: 3}"
    )
    rule = load(text).rules[0]
    assert rule.requires == {"champion.sessions": 3}
    assert "champion.sessions" in load(text).columns(Kind.ALERT)
    assert rule.version != load(profile).rules[0].version


def test_a_rule_says_where_it_stands(load, profile, tmp_path):
    assert [rule.source for rule in load(profile).rules] == [
        f"{tmp_path / 'own.yml'}:2", f"{tmp_path / 'own.yml'}:10",
    ]  # fmt: skip


def test_all_that_is_wrong_is_told_at_once(load, profile):
    text = profile.replace("metric: no_shows", "metric: nope").replace("{score:", "{nope:")
    with pytest.raises(TutorPipelineError) as caught:
        load(text)
    assert str(caught.value).count("unknown metric nope") == 2


@pytest.mark.parametrize("text", ["", "# nothing\n", "alerts: [", "- a\n- b\n", "alerts: 3\n"])
def test_what_is_no_profile_is_an_error_that_names_the_file(load, text):
    with pytest.raises(TutorPipelineError, match=r"own\.yml"):
        load(text)


def test_a_file_of_ones_own_is_not_taken_for_a_shipped_profile(profile, inputs, tmp_path):
    for name, called in (("conservative.yml", "conservative.yml"), ("mine.yml", "mine")):
        (tmp_path / name).write_text(profile, encoding="utf-8")
        assert load_catalogue(tmp_path / name, inputs).profile == called
    assert load_catalogue("conservative", rule_inputs(), thresholds()).profile == "conservative"


def test_no_such_profile(inputs):
    with pytest.raises(UsageError, match=r"conservativ \(did you mean conservative\?\)"):
        load_catalogue("conservativ", inputs)


def test_a_metric_of_another_input_is_called_by_its_relation(load, profile):
    text = profile.replace("metric: no_shows", "metric: champion.score").replace(
        "value: 3}", "value: 0.5, minimum_exposure: 2}"
    )
    condition = load(text).rules[0].when[0]
    assert (condition.metric, condition.exposure) == ("champion.score", "champion.sessions")

"""The catalogue: what a profile may say, and where an error is told to be."""

import re

import pytest

from tutor_pipeline.domain import Kind, Severity
from tutor_pipeline.errors import TutorPipelineError, UsageError
from tutor_pipeline.rules.catalogue import load_catalogue


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
        ("metric: no_shows,", "metric: last_seen_at,", 6, "last_seen_at can't be compared"),
        ("metric: no_shows,", "metric: no_show_ids,", 6, "no_show_ids can't be compared"),
        ("value: 3}", "value: 2.5}", 6, "2.5 is not a whole number"),
        ("value: 3}", "value: many}", 6, "'many' is not a whole number"),
        ("value: 3}", "value: true}", 6, "True is not a whole number"),
        ("value: 5,", "value: yes,", 14, "True is not a number"),
        ("value: 5,", "value: .nan,", 14, "nan is not a number"),
        ("no_shows, op: '>=', value: 3", "is_flagged, op: '=', value: 3", 6, "3 is not true or"),
        ("no_shows, op: '>='", "is_flagged, op: '>='", 6, "operator >= is not one of = for"),
        ("op: '>='", "op: '=>'", 6, "operator => is not one of >= > <= < ="),
        ("metric: no_shows,", "", 6, "missing: metric"),
        ("value: 3}", "value: 3, minimum: 5}", 6, "unknown key minimum"),
        ("no_shows, op: '>=', value: 3", "rating, op: '<', value: 3, minimum_exposure: 2", 6,
         "rating has no exposure"),
        ("severity: critical", "severity: urgent", 3, "severity urgent is not one of warning, cri"),
        ("    severity: critical\n", "", 3, "missing: severity"),
        ("severity: critical", "severty: critical", 3, "unknown key severty .did you mean sever"),
        ("  low_score:", "  no_show:", 10, "alert no_show is there twice"),
        ("title: Low score", "title: Low score\n    title: x", 13, "key title is there twice"),
        ("{score:.2f}", "{scor:.2f}", 15, "unknown metric scor .did you mean score"),
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


def test_all_that_is_wrong_is_told_at_once(load, profile):
    text = profile.replace("metric: no_shows", "metric: nope").replace("{score:", "{nope:")
    with pytest.raises(TutorPipelineError) as caught:
        load(text)
    assert str(caught.value).count("unknown metric nope") == 2


@pytest.mark.parametrize("text", ["", "# nothing\n", "alerts: [", "- a\n- b\n", "alerts: 3\n"])
def test_what_is_no_profile_is_an_error_that_names_the_file(load, text):
    with pytest.raises(TutorPipelineError, match=r"own\.yml"):
        load(text)


def test_no_such_profile(inputs):
    with pytest.raises(UsageError, match=r"conservativ \(did you mean conservative\?\)"):
        load_catalogue("conservativ", inputs)


def test_a_metric_of_another_input_is_called_by_its_relation(load, profile):
    text = profile.replace("metric: no_shows", "metric: champion.score").replace(
        "value: 3}", "value: 0.5, minimum_exposure: 2}"
    )
    condition = load(text).rules[0].when[0]
    assert (condition.metric, condition.exposure) == ("champion.score", "champion.sessions")

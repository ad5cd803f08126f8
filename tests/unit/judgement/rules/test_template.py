"""Sentences with metric values in them."""

import pytest

from tutor_pipeline.judgement.rules import template
from tutor_pipeline.judgement.rules.inputs import Inputs


@pytest.mark.parametrize(
    ("text", "values", "written"),
    [
        ("none", {}, "none"),
        ("{no_shows}", {"no_shows": 3}, "3"),
        ("{no_shows:miss|misses}!", {"no_shows": 1}, "1 miss!"),
        ("{no_shows:miss|misses}!", {"no_shows": 0}, "0 misses!"),
        ("{no_shows:miss|misses}!", {"no_shows": None}, "unknown!"),
        ("{score}", {"score": 9.234}, "9.2"),
        ("{score:.2f} and {score:+.1f}", {"score": 2.5}, "2.50 and +2.5"),
        ("{score:+.1f}", {"score": -2.54}, "-2.5"),
        ("{score:.0%}", {"score": 0.124}, "12 %"),
        ("{champion.level:} of 5%", {"champion.level": "50%"}, "50% of 5%"),
        ("{champion.level} risk", {"champion.level": "High"}, "High risk"),
    ],
)
def test_render(inputs, text, values, written):
    assert template.parse(text, Inputs(inputs)).render(values) == written


@pytest.mark.parametrize(
    "text", ["{score.__class__}", "{score[0]}", "{__import__}", "{score:{no_shows}}", "{{score}}"]
)
def test_nothing_but_metrics_can_be_reached(inputs, text):
    with pytest.raises(ValueError, match=r"unknown metric|brace"):
        template.parse(text, Inputs(inputs))


@pytest.mark.parametrize(
    ("text", "shown", "written"),
    [
        ("over {threshold.rate:.0%} of {sessions}", "over 15 % of {sessions}", "over 15 % of 20"),
        ("{sessions}, {threshold.late:min|mins}", "{sessions}, 5 mins", "20, 5 mins"),
        # What the rule asks for is 3; the tutor's exception is 7.
        ("{no_shows} ({threshold.no_shows:one|many} or more)", "{no_shows} (3 many or more)",
         "9 (7 many or more)"),
    ],
)  # fmt: skip
def test_a_sentence_names_thresholds(inputs, text, shown, written):
    found = template.parse(text, Inputs(inputs), {"rate": 0.15, "late": 5}, {"no_shows": 3})
    assert found.text == shown
    assert found.render({"sessions": 20, "no_shows": 9}, {"no_shows": 7}) == written


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{threshold.rates}", "unknown threshold rates .did you mean rate"),
        ("{threshold.no_show}", "unknown threshold no_show .did you mean no_shows"),
        ("{threshold.rate:.1x}", "a threshold can't be written as '.1x'"),
        ("{threshold}", "unknown metric threshold"),
        ("{thresholds.rate}", "unknown metric thresholds.rate"),
    ],
)
def test_a_wrong_reference_is_refused(inputs, text, message):
    with pytest.raises(ValueError, match=message):
        template.parse(text, Inputs(inputs), {"rate": 0.15}, {"no_shows": 3})

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

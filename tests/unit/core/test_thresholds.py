"""Thresholds in texts: named, written exactly, and refused with the nearest name."""

import pytest

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.templates import check_references, template
from tutor_pipeline.core.thresholds import fill, fill_sql, written

KNOWN = {"high_rate": 0.15, "late_after": 5, "low_score": 5.0, "tutor_risk.level": "High",
         "fall": -2.5, "is_high": True}  # fmt: skip


@pytest.mark.parametrize(
    ("value", "form", "says"),
    [
        (0.15, ".0%", "15 %"),
        (0.2, ".0%", "20 %"),
        (0.125, ".0%", "12.5 %"),
        (0.5, "%", "50 %"),
        (1, ".0%", "100 %"),
        (5.0, ".1f", "5.0"),
        (6, ".1f", "6.0"),
        (6.25, ".1f", "6.25"),
        (1000, ".0f", "1,000"),
        (-2.5, "+.1f", "-2.5"),
        (2.5, "+.1f", "+2.5"),
        (1, "minute|minutes", "1 minute"),
        (7.5, "minute|minutes", "7.5 minutes"),
        (5.0, "", "5.0"),
        ("High", "", "High"),
    ],
)
def test_a_threshold_is_written_exactly(value, form, says):
    assert written(value, form) == says


def test_every_reference_of_a_text_is_filled():
    text = "over {threshold.high_rate:.0%}, {threshold.late_after:min|mins} {metric} { }"
    assert fill(text, KNOWN) == "over 15 %, 5 mins {metric} { }"
    assert fill("{threshold.tutor_risk.level}", KNOWN) == "High"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{threshold.hihg_rate}", r"unknown threshold hihg_rate \(did you mean high_rate\?\)"),
        ("{threshold.qqq}", "unknown threshold qqq$"),
        ("{threshold.high_rate:.0x}", "can't be written as '.0x'"),
        ("{threshold.high_rate:a|b|c}", "can't be written as 'a|b|c'"),
        ("{threshold.tutor_risk.level:.1f}", "'High' is no number"),
        ("{threshold.is_high}", "true or false can't be written"),
    ],
)
def test_a_wrong_reference_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        fill(text, KNOWN)


def test_a_page_names_thresholds_also_in_what_it_extends(tmp_path):
    (tmp_path / "base.txt.j2").write_text("{% block a %}{% endblock %} {threshold.late_after}")
    (tmp_path / "page.txt.j2").write_text(
        "{% extends 'base.txt.j2' %}{% block a %}{{ 'over {threshold.high_rate:.0%}' }}"
        " {{ name }}{% endblock %}"
    )
    page = template(tmp_path, "page.txt.j2", KNOWN)
    # What comes from data is text, never a reference.
    assert page.render(name="{threshold.fall}") == "over 15 % {threshold.fall} 5"
    check_references(tmp_path, KNOWN)


def test_a_wrong_reference_in_a_page_is_told_with_file_and_line(tmp_path):
    (tmp_path / "page.txt.j2").write_text("one\ntwo {threshold.low_scores}\n")
    message = r"page\.txt\.j2:2: unknown threshold low_scores \(did you mean low_score\?\)"
    for load in (lambda: check_references(tmp_path, KNOWN),
                 lambda: template(tmp_path, "page.txt.j2", KNOWN)):  # fmt: skip
        with pytest.raises(TutorPipelineError, match=message):
            load()


def test_in_sql_a_threshold_is_a_plain_number():
    assert fill_sql("n < {threshold.few}", {"few": 7001}) == "n < 7001"
    with pytest.raises(ValueError, match="SQL has no format"):
        fill_sql("n < {threshold.few:row|rows}", {"few": 7001})

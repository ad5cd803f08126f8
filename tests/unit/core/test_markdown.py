"""Tables whose cells hold what came from outside."""

import re

from hypothesis import given
from hypothesis import strategies as st

from tutor_pipeline.core import markdown

MARKS = r"\\`*_\[\]<>|"


@given(st.text(st.sampled_from("\\`*_[]<>| ab\n\r")))
def test_a_cell_shows_the_text_in_one_line_and_nothing_of_it_is_markup(text):
    cell = markdown.cell(text)
    assert re.fullmatch(rf"(\\[{MARKS}]|[^{MARKS}\n\r])*", cell)
    assert re.sub(r"\\(.)", r"\1", cell) == text.replace("\n", " ").replace("\r", " ")


def test_after_the_limit_a_row_says_how_many_more_there_are():
    rows = [(f"T{number}", number) for number in range(3)]
    assert markdown.table(("tutor", "alerts"), rows, numbers={"alerts"}, limit=2).splitlines() == [
        "| tutor | alerts |",
        "| --- | ---: |",
        "| T0 | 0 |",
        "| T1 | 1 |",
        "| … 1 more |  |",
    ]
    assert "more" not in markdown.table(("tutor", "alerts"), rows, limit=3)

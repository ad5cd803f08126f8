"""Texts that nobody checked, and numbers, as people read them."""

import unicodedata
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.people.reports.conftest import NOW
from tutor_pipeline.core import formatting
from tutor_pipeline.core.formatting import age, label, percent, visible

TEXTS = st.text(st.characters(exclude_categories=[])).filter(bool)


@given(TEXTS, st.integers(1, 50))
def test_nothing_in_a_visible_text_controls_a_terminal_or_the_direction(text, limit):
    shown = visible(text, limit)
    forbidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert not {unicodedata.category(char) for char in shown.replace("\u200d", "")} & forbidden
    assert shown.endswith("…") == (len(text) > limit or text.endswith("…"))


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=200))
def test_an_ordinary_text_is_shown_as_it_is(text):
    assert visible(text) == text


def test_lines_stay_where_they_are_wanted():
    assert visible("a\n\tb\r\x1b[2J") == "a\\n\\tb\\r\\u001b[2J"
    assert visible("a\n\tb\r\x1b[2J", lines=True) == "a\n\tb\\r\\u001b[2J"


@pytest.mark.parametrize(
    ("number", "shown"),
    [(None, "–"), (0, "0 %"), (0.0001, "< 0.01 %"), (0.05, "0.05 %"), (2.5, "2.5 %"),
     (99.999, "> 99.99 %"), (100, "100 %")],
)  # fmt: skip
def test_percent(number, shown):
    assert percent(number) == shown


@pytest.mark.parametrize(
    ("passed", "shown"),
    [
        (timedelta(seconds=20), "just now"),
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(minutes=119), "119 minutes ago"),
        (timedelta(hours=47), "47 hours ago"),
        (timedelta(days=2), "2 days ago"),
        (timedelta(hours=-1), "in the future"),
    ],
)
def test_age(passed, shown):
    assert age(NOW - passed, NOW) == shown


def test_label():
    assert label("low_talk_ratio") == "Low talk ratio"
    assert label("") == ""


@pytest.mark.parametrize(
    ("share", "says"),
    [
        (0, "0 %"),
        (0.0001, "under 0.1 %"),
        (0.009, "0.9 %"),
        (0.02, "2 %"),
        (0.0949, "9.5 %"),
        (0.0996, "10 %"),
        (0.345, "34 %"),
        (0.996, "over 99 %"),
        (1, "100 %"),
    ],
)
def test_a_likelihood_is_as_exact_as_anybody_reads_it(share, says):
    assert formatting.likelihood(share) == says


def test_a_chance_says_how_sure_it_is_and_what_is_usual():
    said = formatting.chance(0.11, True, 0.05, 0.214, 0.009)
    assert said == "11 % likely, between 5 % and 21 %; 0.9 % is usual"
    assert formatting.chance(0.11, False, 0.05, 0.214) == "score 0.11; ranks only, no percentage"
    assert formatting.chance(None, True) == "–"


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0 sessions"), (1, "1 session"), (2, "2 sessions"), (22_431, "22,431 sessions")],
)
def test_count(number, shown):
    assert formatting.count(number, "session") == shown


def test_a_count_of_what_has_a_plural_of_its_own():
    assert formatting.count(1_000, "delivery", "deliveries") == "1,000 deliveries"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0 s"),
        (119.9, "119 s"),
        (120, "2 min"),
        (7_199, "119 min"),
        (7_200, "2 h"),
        (172_799, "47 h"),
        (172_800, "2 days"),
        (1_000 * 86_400, "1,000 days"),
    ],
)
def test_span(seconds, shown):
    assert formatting.span(seconds) == shown


@given(st.floats(0, 1, exclude_min=True, exclude_max=True))
@example(0.995)
@example(0.0005)
def test_only_what_never_or_always_happens_is_0_or_100_percent(share):
    for shown in (formatting.likelihood(share), percent(100 * share)):
        assert shown not in ("0 %", "100 %")

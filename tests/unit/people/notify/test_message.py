"""Texts that came from the platform: shown, and nothing more."""

from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.core.warehouse.personal_data import Person, Role
from tutor_pipeline.people.notify import trial
from tutor_pipeline.people.notify.kinds import incident
from tutor_pipeline.people.notify.kinds.alert import message
from tutor_pipeline.people.notify.message import MAX_SUBJECT, Setting

SETTING = Setting(
    "http://ui.example.com", "http://reports.example.com", "UTC",
    datetime(2026, 3, 18, 9, tzinfo=UTC),
)  # fmt: skip


def alert(**changes):
    return {
        "tutor_id": "T1", "about_kind": "tutor", "about_id": "T1",
        "alert_id": "a1", "alert_type": "no_show_pattern", "severity": "critical",
        "title": "No-Show Pattern Detected", "description": "3 no-shows.", "excess": 0.5,
        "recommended_action": "Call", "evidence_session_ids": ["S1"], "name": "Sarah Chen",
        "is_high_reschedule": False, "sessions_30d": 12, "last_session_at": None, "segment": None,
        "recommendations": [], "risk_level": "Low", "why": "", "transition": "opened 1",
    } | changes  # fmt: skip


class Tags(HTMLParser):
    """The tags of a page, and the addresses in it."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.addresses = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [
            value for name, value in attributes if name in ("href", "src", "background")
        ]


def made(**changes):
    return message(Audience.CRITICAL, [alert(**changes)], SETTING)


HOSTILE = [
    "<script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "</td></tr></table><img src=http://evil.example/x.png>",
    "{{ 7 * 7 }}{% for x in y %}",
    "Sarah\r\nBcc: everybody@example.com\r\n\r\nbody",
    "\u202egnp.exe\u2066",
    "\x1b[2J\x00\x7f",
    "a" * 5_000,
    "<!channel> <@U123> @everyone",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(
    "field", ["name", "tutor_id", "about_id", "title", "description", "recommended_action"]
)
def test_no_text_of_the_platform_is_markup_or_a_header(text, field):
    kind = "student" if field == "about_id" else "tutor"
    usual, found = Tags(made().html), made(**{field: text, "about_kind": kind})
    page = Tags(found.html)
    assert page.tags == usual.tags
    assert page.addresses == usual.addresses
    assert "49" not in found.text.replace("T1", "")
    for line in (found.subject, found.text.replace("\n", ""), found.html.replace("\n", "")):
        assert line.isprintable() or not set(line) & set("\r\x00\x1b\x7f\u202e\u2066")
    assert "\n" not in found.subject
    assert len(found.subject) <= MAX_SUBJECT + 1


def test_nothing_is_fetched_from_outside():
    page = Tags(made().html)
    assert not {"img", "link", "script", "iframe", "style"} & set(page.tags)
    assert page.addresses == ["http://ui.example.com/assets/ops/alerts"]


@given(name=st.text(max_size=200), title=st.text(min_size=1, max_size=200))
def test_any_text_makes_a_message_of_one_header_line(name, title):
    found = made(name=name, title=title)
    assert "\n" not in found.subject
    assert "\r" not in found.subject
    assert Tags(found.html).tags == Tags(made().html).tags or name in ("", "T1")


def test_a_long_id_is_cut_where_it_is_read_and_whole_at_the_end():
    whole = "3f2a9c1e-7d41-4b5c-9a10-0c0ffee00001"
    setting = replace(SETTING, ids={whole: "3f2a9c", "T1": "T1"})
    found = message(Audience.CRITICAL, [alert(tutor_id=whole), alert()], setting)
    assert "Sarah Chen (3f2a9c)" in found.text
    assert found.text.count(whole) == found.html.count(whole) == 1
    assert found.text.endswith(f"\nIds in full: {whole}\n")
    assert found.tutor_ids == (whole, "T1")
    assert Person(Role.TUTOR, whole).is_meant_in(found.text)
    assert "in full" not in message(Audience.CRITICAL, [alert()], setting).text


def test_times_are_those_of_the_pipeline_s_zone():
    at = datetime(2026, 3, 17, 23, 30, tzinfo=UTC)
    setting = Setting("http://ui", "http://reports", "Europe/Berlin", SETTING.made_at)
    found = message(Audience.CRITICAL, [alert(last_session_at=at)], setting)
    assert "the last one on 18 March" in found.text
    assert "the last one on 17 March" in made(last_session_at=at).text


def test_a_test_message_says_for_whom():
    for audience in Audience:
        found = trial.message(audience, SETTING)
        assert f"TUTOR_NOTIFY_{audience.upper()}" in found.subject
        assert trial.FOR_WHOM[audience] in found.text
        assert trial.FOR_WHOM[audience] in found.html


@pytest.mark.parametrize(
    ("kinds", "what"),
    [
        (["blocking_check", "blocking_check"], "Data quality"),
        (["blocking_check", "drift"], "Pipeline"),
    ],
)
def test_what_broke_is_data_only_if_all_of_it_is(kinds, what):
    rows = [
        {
            "details": {"title": "t", "kind": kind, "means": "m", "next": "n"},
            "occurred_at": SETTING.made_at, "run_id": None, "is_over": False,
        }
        for kind in kinds
    ]  # fmt: skip
    assert incident.message(rows, SETTING).subject == f"{what}: 2 things broke"

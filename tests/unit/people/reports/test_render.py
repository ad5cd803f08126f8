"""The report as a page: one file, no script, nothing from outside, hostile texts only as text."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.people.reports.conftest import DAY, HOUR, NOW, Ops
from tutor_pipeline.people.reports.render import CONTENT_SECURITY_POLICY, render
from tutor_pipeline.people.reports.validation import Validation

VOID = {"meta", "rect", "path", "line"}
MARK = "hostile"
HOSTILE = [
    f"<script>alert('{MARK}')</script>",
    f"</style></code></pre><img src=x onerror={MARK}>",
    f"\"'><a href='javascript:{MARK}'>",
    f"[{MARK}](http://evil.example) url(//evil.example)",
    f"\u202e{MARK}\u2066",
    f"{MARK}\x1b[2J\x07\x9b",
    f"{{{{ {MARK} }}}}{{% raw %}}",
    f"{MARK}&lt;b&gt;&#x3c;",
    MARK + "w" * 10_000,
]


class Page(HTMLParser):
    """A page as a browser reads it: its tags, its attributes, and the texts that are shown."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "body" in self.open and data.strip():
            self.texts.append(" ".join(data.split()))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def structure(page: Page) -> list[tuple[str, dict[str, str | None]]]:
    """All but the texts; a label is one."""
    return [
        (tag, {name: value for name, value in attrs.items() if name != "aria-label"})
        for tag, attrs in page.tags
    ]


def fill(ops: Ops, text: str) -> None:
    """A row of everything that the report shows, with `text` wherever a text may stand."""
    ops.refresh("yesterday", NOW - DAY)
    ops.check("missing", NOW - DAY, says=text)
    ops.refresh("today", NOW - HOUR)
    ops.check("sound", NOW, rows_checked=3, rows_failing=0)
    ops.check(
        text[:60],
        NOW,
        says=text,
        asset=f"ops/{text}",
        status="failed",
        severity="warn",
        blocking=False,
        observed=text,
        message=text,
        rows_checked=3,
        rows_failing=2,
        sample=[{"session_id": text, text: 1, "value": {"deep": [text]}}, {"other": None}, text],
        query=text,
    )
    ops.check("errored", NOW, says=text, status="errored", message=text)
    ops.insert(
        "dq_overrides",
        run_id="r",
        asset=text,
        forced_by=text,
        forced_at=NOW,
        objections=[text] * 12,
    )
    ops.quarantined("1", NOW, source=text, reasons=[text, "unknown_tutor"])
    ops.quarantined("2", NOW - 3 * DAY, resolved_at=NOW)
    ops.alert("T1", title=text)
    ops.insight("T1", text[:500], "strength")
    ops.insight("T1", "talks_much", "growth_area")
    ops.achievement("T1", title=text, icon=text)
    ops.coverage(text[:500], 3, NOW)
    ops.sessions(NOW - HOUR)


@pytest.fixture
def page_of(ops):
    def make(text: str = "harmless") -> tuple[Validation, str]:
        fill(ops, text)
        validation = ops.gather()
        return validation, render(validation)

    return make


def test_the_verdict_is_the_first_line(page_of):
    validation, page = page_of()
    parsed = Page(page)
    assert [tag for tag, _ in parsed.tags].count("h1") == 1
    assert parsed.text.startswith(validation.verdict.sentence.split(" (")[0])
    assert validation.verdict.sentence in parsed.text.replace("( ", "(").replace(" )", ")").replace(
        " ; ", "; "
    )


def test_it_is_one_file_that_asks_nobody_for_anything(page_of):
    _, page = page_of()
    parsed = Page(page)
    assert not re.search(r"https?:|url\(|@import|//[a-z]", page)
    assert {tag for tag, _ in parsed.tags}.isdisjoint(
        {"script", "iframe", "img", "link", "object", "embed", "form", "base", "audio", "video"}
    )
    (policy,) = [
        each["content"]
        for each in parsed.all("meta")
        if each.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy == CONTENT_SECURITY_POLICY
    for _, attrs in parsed.tags:
        assert not [name for name in attrs if name.startswith("on") or name in ("src", "style")]


def test_it_can_be_read_by_all(page_of):
    _, page = page_of()
    parsed = Page(page)
    assert parsed.open == []
    ids = [attrs["id"] for _, attrs in parsed.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for each in parsed.all("a"):
        assert each["href"].startswith("#")
        assert each["href"][1:] in ids
    assert all(each.get("scope") in ("col", "row") for each in parsed.all("th"))
    assert all(
        each.get("aria-hidden") or (each.get("role") == "img" and each["aria-label"])
        for each in parsed.all("svg")
    )
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_only_text(page_of, ops, text):
    _, hostile = page_of(text)
    ops.database.connection.rollback()
    _, harmless = page_of()
    expected, found = Page(harmless), Page(hostile)
    assert structure(found) == structure(expected)
    assert found.text.count(MARK) > 15
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", hostile)
    assert len(hostile) < 150_000


@given(st.lists(st.text(), min_size=6, max_size=6))
@settings(max_examples=50)
def test_no_text_changes_the_structure(texts):
    def page(asset: str, says: str, observed: str, message: str, key: str, value: str) -> Page:
        return Page(
            render(
                replace(
                    _EMPTY,
                    checks=(
                        replace(
                            _CHECK,
                            asset=asset,
                            says=says,
                            observed=observed or "–",
                            message=message or "–",
                            sample=[{key: value}],
                            query=value or "–",
                        ),
                    ),
                )
            )
        )

    assert page(*texts).tags == page(*"abcdef").tags


def test_what_is_missing_says_when_it_was_seen_last(page_of):
    _, page = page_of()
    assert "Evaluated last at 2026-03-09 18:50 UTC (24 hours ago)" in Page(page).text


def test_an_empty_report_is_a_page_too():
    assert "No check has been run yet" in Page(render(replace(_EMPTY, checks=()))).text


def test_a_page_of_sound_data_says_so(ops):
    ops.refresh("today", NOW - HOUR)
    ops.check("a", NOW)
    ops.check("b", NOW)
    page = Page(render(ops.gather())).text
    assert page.startswith("Sound: 2 checks, as of 2026-03-10 17:50 UTC")
    assert "Nothing: every check holds." in page


def _empty() -> tuple[Validation, object]:
    from tests.unit.people.reports.test_validation import FRESH, check
    from tutor_pipeline.people.reports.validation import Changes, Day, Quarantine, State, judge

    empty = Validation(
        made_at=NOW,
        verdict=judge((), None, FRESH),
        sessions=None,
        freshness=FRESH,
        checks=(),
        changes=Changes(None),
        forced=(),
        quarantine=Quarantine(0, {}, (), (Day(NOW.date(), 0, 0, 0),)),
        alerts=(),
        insights=(),
        achievements=(),
        coverage=(),
    )
    return empty, check(State.FAILED)


_EMPTY, _CHECK = _empty()

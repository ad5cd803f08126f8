"""Every text writes a count in one way: 1 session, 12,345 sessions.

Two proofs. In the sources no number stands before a plural but by `core.formatting`. And with every
count set to 1, and to 12,345, nothing that is told says "1 sessions" or "12345".
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.test_thresholds_in_texts import AS_OF, DEFAULTS, report
from tests.architecture.texts import PACKAGE
from tests.unit.people.notify.test_message import SETTING, alert
from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.core.formatting import agree, count, number, written
from tutor_pipeline.judgement.lifecycle.outcomes import Outcomes
from tutor_pipeline.judgement.quality.suites import load_suites
from tutor_pipeline.judgement.rules.catalogue import load_catalogue
from tutor_pipeline.judgement.rules.inputs import Inputs, Scale
from tutor_pipeline.judgement.rules.profiles import shipped
from tutor_pipeline.judgement.scores import recommendations, reliability, signals
from tutor_pipeline.judgement.scores.departure.students import STUDENTS
from tutor_pipeline.judgement.scores.departure.tutors import TUTORS
from tutor_pipeline.judgement.scores.health.outputs import too_few
from tutor_pipeline.metrics.wide_rows import rule_inputs
from tutor_pipeline.people.notify.kinds import alert as alert_message
from tutor_pipeline.people.notify.kinds import digest as digest_message
from tutor_pipeline.people.notify.kinds import incident as incident_message
from tutor_pipeline.people.notify.kinds import rules as rules_message
from tutor_pipeline.people.notify.kinds import session as session_message
from tutor_pipeline.people.notify.message import MAX_TOGETHER, Message
from tutor_pipeline.people.reports import backtest

ONE, MANY = 1, 12_345

NOUNS = (
    "achievement|alert|answer|attempt|badge|cell|change|check|column|connection|day|departure|error"
    "|event|file|fold|hour|incident|insight|message|minute|month|no-show|point|rating|reschedule"
    "|row|rule|run|score|second|session|source|start|student|table|thing|time|transaction|tutor"
    "|value|version|warning|week|year"
)
_SMALL = "of|in|to|and|or|from|than|as|is|are|has|keeps|by|at|for|per|with|on"
PLURAL = re.compile(rf"[ -](?:(?!(?:{_SMALL})\b)[a-z-]+ ){{,2}}?(?:{NOUNS}|tries)(?:s|(?<=ies))\b")
"""A plural right after a number, or after a word or two: " rows", " scored first sessions"."""
ONE_OF_MANY = re.compile(rf"(?<![\w.,:-])1{PLURAL.pattern}")
NO_MARKS = re.compile(r"(?<![\w.,:#/-])\d{4,}(?![\w:/-])")
DATES = re.compile(r"\b20\d\d-\d\d-\d\d\b|<style.*?</style>|<[^>]*>", re.DOTALL)


def wrong(text: str) -> list[str]:
    """The counts in a text that are written in another way."""
    words = " ".join(DATES.sub(" ", text).split())
    return [found[0] for pattern in (ONE_OF_MANY, NO_MARKS) for found in pattern.finditer(words)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1 sessions", ["1 sessions"]),
        ("of 1 scored first sessions.", ["1 scored first sessions"]),
        ("dead after 1 tries", ["1 tries"]),
        ("12345 rows", ["12345"]),
        ("1 session of 21 sessions, 1.1 sessions, 1 of the sessions, 1 % of rows", []),
        ("12,345 rows since 2026-01-31; alert 7ed2aa9ca58f", []),
    ],
)
def test_what_is_wrong(text, found):
    assert wrong(text) == found


@pytest.mark.parametrize(
    ("value", "form", "says"),
    [
        (1, "session|sessions", "1 session"),
        (12_345, "session|sessions", "12,345 sessions"),
        (2.5, "minute|minutes", "2.5 minutes"),
        (12_345, "", "12,345"),
        (12_345.67, ".1f", "12,345.7"),
        (12_345.67, "+.1f", "+12,345.7"),
        (-0.125, "+.0%", "-12 %"),
    ],
)
def test_written(value, form, says):
    assert written(value, form) == says


def test_number_and_the_word_that_agrees_with_it():
    assert (number(12_345), number(None)) == ("12,345", "–")
    assert (count(1, "try", "tries"), count(2, "try", "tries")) == ("1 try", "2 tries")
    assert (agree(1, "is", "are"), agree(0, "is", "are")) == ("is", "are")


# In the sources ----------------------------------------------------------------------------------


def test_no_source_writes_a_plural_after_a_number_by_itself():
    assert [*_in_python(), *_in_templates(), *_in_yaml()] == []


def _in_python() -> Iterator[str]:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                for value, after in pairwise(node.values):
                    found = _is_a_number(value) and PLURAL.match(ast.unparse(after)[1:-1])
                    if found:
                        yield f"{_place(path)}:{node.lineno}: {ast.unparse(value)}{found[0]}"


def _is_a_number(value: ast.expr) -> bool:
    """Whether a placeholder may be a count: no constant, which somebody saw, and no decimals."""
    if not isinstance(value, ast.FormattedValue):
        return False
    form = ast.unparse(value.format_spec)[2:-1] if value.format_spec else ""
    written_as = ast.unparse(value.value)
    is_no_count = re.search(r"(^|\.)_?[A-Z][A-Z_]+(\.days)?$|^verb$", written_as)
    return form in ("", ",", ".0f", ",.0f") and not is_no_count


def _in_templates() -> Iterator[str]:
    for path in PACKAGE.rglob("*.j2"):
        text = path.read_text("utf-8")
        for found in re.finditer(r"\{\{([^}]*)\}\}" + PLURAL.pattern, text):
            yield f"{_place(path)}: {found[0]}"


def _in_yaml() -> Iterator[str]:
    for path in PACKAGE.rglob("*.yml"):
        text = path.read_text("utf-8")
        for found in re.finditer(r"\{([^{}]*)\}" + PLURAL.pattern, text):
            if not re.search(r":[+-]?\.[1-9]f$|%$|\|", found[1]):
                yield f"{_place(path)}: {found[0]}"


def _place(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


# What is told ------------------------------------------------------------------------------------

each_number = pytest.mark.parametrize("n", [ONE, MANY])


@each_number
@pytest.mark.parametrize("profile", shipped())
def test_rules(profile, n):
    inputs = Inputs(rule_inputs())
    some: dict[Scale, Any] = {Scale.COUNT: n, Scale.NUMBER: float(n), Scale.TEXT: "words"}
    told = 0
    for rule in load_catalogue(profile, rule_inputs(), DEFAULTS).rules:
        for text in rule.texts.values():
            row = {metric: some.get(inputs.scale(metric)) for metric in text.metrics}
            thresholds = {condition.metric: n for condition in rule.when}
            said = text.render(row, {**dict.fromkeys(text.metrics, n), **thresholds})
            assert wrong(said) == []
            told += bool(text.metrics)
    assert told > 20


@each_number
@pytest.mark.parametrize("forecast", [TUTORS, STUDENTS], ids=lambda it: it.scorer)
def test_signs(forecast, n):
    for sign in forecast.signs.signs.values():
        numbers = dict.fromkeys(("now", "usual", "n", "n_usual", "k", "k_usual"), float(n))
        assert wrong(sign.words(**numbers)) == [], sign.code


@each_number
def test_reasons_of_scores(n):
    row = dict.fromkeys(reliability.READS[1:], n) | {"tutor_id": "T1"}
    of_signals = dict.fromkeys(signals.READS[1:], n) | {
        "tutor_id": "T1", "sessions_30d": 9 * n, "reschedule_rate_30d": 0.5,
    }  # fmt: skip
    scores = [*reliability.score([row]), *signals.score([of_signals])]
    reasons = [reason.label for score in scores for reason in score.reasons]
    few = too_few({"sessions_90d": float(n)}, "sessions_90d", n + 1, "session", "in 90 days")
    none = too_few({"sessions_90d": None}, "sessions_90d", n, "session", "in 90 days")
    assert few is not None
    assert none is not None
    assert [each for label in (*reasons, few.label, none.label) for each in wrong(label)] == []
    assert reasons


def test_checks_and_recommendations():
    says = [check.says for suite in load_suites() for check in suite.checks]
    says += [it.says for it in (*recommendations.FOR_TUTORS, *recommendations.FOR_STUDENTS)]
    assert [each for text in says for each in wrong(text)] == []


def alerts(n: int) -> Message:
    rows = [
        alert(tutor_id=f"T{one}", alert_id=f"a{one}", sessions_30d=n)
        for one in range(MAX_TOGETHER + n if n == ONE else 2)
    ]
    return alert_message.message(Audience.WARNING, rows, SETTING, open_warnings=len(rows) + n)


def digest(n: int) -> Message:
    tutor = {"tutor_id": "T1", "name": "Sarah Chen"}
    begun = AS_OF - timedelta(days=n if n == ONE else 300)
    row = alert(
        **tutor, triggered_date=begun, acknowledged_by=None, resolved_at=None, resolved_by="anna",
        resolution="coached", action_taken=None,
    )  # fmt: skip
    trend = {"words": "Sessions", "now": float(n), "before": float(n), "change": 0.1,
             "form": "number", "trend": "up", "is_good": True}  # fmt: skip
    mover = tutor | {"change": -1.0, "before": 7.0, "now": 6.0, "n": n}
    badge = tutor | {"icon": "*", "title": "A badge"}
    return digest_message.message(
        {
            "at": AS_OF, "first_day": date(2026, 3, 23), "last_day": date(2026, 3, 29),
            "in_need": n, "in_need_before": n + 1,
            "sessions": {"sessions": n, "completed": n, "no_shows": n, "reschedules": n,
                         "score": 7.0},
            "new": [row] * (50 + n if n == ONE else 2), "oldest": [row] * 6,
            "outcomes": Outcomes(None, n, n, n, n, 3.0),
            "resolved": [row, row | {"resolved_by": "pipeline"}], "rising": [mover],
            "falling": [mover], "badges": [badge], "trend": [trend],
        },
        SETTING,
    )  # fmt: skip


def sessions(n: int) -> Message:
    told = report()
    session = told["sessions"][0] | {
        "actual_duration_minutes": n, "is_late": True, "late_minutes": n,
        "student_frustration_count": n, "tutor_talk_ratio": 0.51,
    }  # fmt: skip
    lengths = {f"sessions_{days}d": n for days in (7, 30, 90)}
    some = [told | lengths | {"sessions": [session], "avg_talk_ratio": 0.50}]
    return session_message.message(some * (MAX_TOGETHER + 1 if n == ONE else 1), SETTING)


def incidents(n: int) -> Message:
    details = {"title": "t", "kind": "drift", "means": "m", "next": "n"}
    row = {"details": details, "occurred_at": AS_OF, "run_id": None, "is_over": False}
    return incident_message.message([row] * (MAX_TOGETHER + 1 if n == ONE else 1), SETTING)


def switch(n: int) -> Message:
    details = {"profile": "adaptive", "before": "standard", "closed": n, "opened": n, "tutors": n,
               "critical": n, "retired": n, "is_shipped": True}  # fmt: skip
    return rules_message.message(Audience.CRITICAL, details, SETTING)


@each_number
@pytest.mark.parametrize("make", [alerts, digest, sessions, incidents, switch])
def test_messages(make, n):
    made = make(n)
    for text in (made.subject, made.text, made.html):
        assert wrong(text) == []


@each_number
def test_the_report_of_a_back_test(n):
    target = {"target": "departure", "horizon_days": n, "dates": n, "rows": n, "positives": n,
              "tutors": n, "leavers": n, "scorers": []}  # fmt: skip
    page = backtest.render(
        {"first_as_of": date(2026, 3, 1), "last_as_of": date(2026, 5, 1), "dates": n, "rows": n,
         "tutors": n, "notes": [], "targets": [target], "left_out": {"silent_too_long": n}},
        date(2026, 8, 1),
    )  # fmt: skip
    assert wrong(page) == []

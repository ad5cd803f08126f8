"""Values as people read them: numbers, moments, ages, and texts that nobody checked."""

from __future__ import annotations

import json
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Any

MAX_TEXT = 200
"""Characters shown of a text in a line or a cell."""

_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_JOINER = "\u200d"  # part of many emoji


def count(number: int, noun: str, nouns: str | None = None) -> str:
    """1 session, 22,431 sessions."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def moment(at: datetime) -> str:
    """To the minute, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def age(since: datetime, now: datetime) -> str:
    """How long ago, in the largest unit of which there are two or more."""
    passed = now - since
    for unit, length in (("day", timedelta(days=1)), ("hour", timedelta(hours=1))):
        if passed >= 2 * length:
            return f"{passed // length:,} {unit}s ago"
    minutes = passed // timedelta(minutes=1)
    if minutes < 0:
        return "in the future"
    return f"{count(minutes, 'minute')} ago" if minutes else "just now"


def span(seconds: float) -> str:
    """How long: 4 s, 12 min, 5 h, 3 days, in the largest unit of which there are two or more."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length):,} {unit}"
    return f"{max(0, int(seconds))} s"


def percent(number: float | None) -> str:
    """0.05 %; what is neither none nor all is never shown as such."""
    if number is None:
        return "–"
    if 0 < number < 0.01:
        return "< 0.01 %"
    if 99.99 < number < 100:
        return "> 99.99 %"
    return f"{number:.2f}".rstrip("0").rstrip(".") + " %"


def chance(
    score: float | None,
    is_probability: bool,
    lower: float | None = None,
    upper: float | None = None,
    usual: float | None = None,
) -> str:
    """A score as people may read it: a percentage with its interval, and what is usual, where it is
    a probability; as it is where it only ranks.
    """
    if score is None:
        return "–"
    if not is_probability:
        return f"score {score:.2f}; ranks only, no percentage"
    within = (
        ""
        if lower is None or upper is None
        else f", between {likelihood(lower)} and {likelihood(upper)}"
    )
    against = "" if usual is None else f"; {likelihood(usual)} is usual"
    return f"{likelihood(score)} likely{within}{against}"


def likelihood(share: float) -> str:
    """34 %, 0.9 %: to the tenth below 10 %. What is neither none nor all is never shown as such."""
    if 0 < share < 0.0005:
        return "under 0.1 %"
    if 0.995 < share < 1:
        return "over 99 %"
    return f"{100 * share:.{0 if share >= 0.0995 else 1}f}".removesuffix(".0") + " %"


def label(name: str) -> str:
    """The id of a rule or a reason as words: low_talk_ratio → Low talk ratio."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def value(found: Any, limit: int = MAX_TEXT) -> str:
    """A value of JSON: a text as it is, all else as JSON has it."""
    text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    return visible(text, limit)


def visible(text: str, limit: int = MAX_TEXT, *, lines: bool = False) -> str:
    """A text that nobody checked, safe in a terminal and a page: cut to `limit` characters, what
    controls a terminal or the direction of writing written as \\u202e. `lines` keeps line breaks
    and tabs.
    """
    shown = "".join(_shown(char, lines) for char in text[:limit])
    return shown + "…" if len(text) > limit else shown


def _shown(char: str, lines: bool) -> str:
    if char in _ESCAPES:
        return char if lines and char != "\r" else _ESCAPES[char]
    # Cc, Cf, Cs, Co, Cn, and the separators of lines and paragraphs.
    category = unicodedata.category(char)
    if (category.startswith("C") and char != _JOINER) or category in ("Zl", "Zp"):
        return f"\\u{ord(char):04x}"
    return char

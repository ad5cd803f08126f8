"""Formats values for people: numbers, timestamps, ages, and unchecked texts."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

MAX_ID = 12
"""An id of more characters is shortened where people read it."""
LEAST_OF_ID = 6
"""The fewest characters of a shortened id."""
MAX_CANDIDATES = 5
"""How many ids an error about an ambiguous one names."""
MAX_TEXT = 200
"""The most characters of a text that a line or a cell shows."""

_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_JOINER = "\u200d"  # part of many emoji


def count(number: float, noun: str, nouns: str | None = None) -> str:
    """Returns a number with its noun: 1 session, 22,431 sessions."""
    return f"{number:,} {agree(number, noun, nouns or noun + 's')}"


def agree(number: float, one: str, many: str) -> str:
    """Returns the word that agrees with a number: 1 *needs*, 2 *need*."""
    return one if number == 1 else many


def either(words: Sequence[str]) -> str:
    """Returns words of which one is meant: `a, b or c`."""
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]


def number(value: float | None) -> str:
    """Returns a number with thousands marks; "–" for None."""
    return "–" if value is None else f"{value:,}"


def written(number: float, form: str) -> str:
    """Returns a number as a sentence writes it, with thousands marks.

    `form` is `.1f`, `+.1f`, `.0%` (as "12 %"), `session|sessions` for a number with its noun, or
    empty.
    """
    if "|" in form:
        return count(number, *form.split("|"))
    sign = form[:1] if form[:1] in ("+", "-") else ""
    text = format(number, f"{sign},{form.removeprefix(sign)}")
    return f"{text[:-1]} %" if text.endswith("%") else text


def moment(at: datetime) -> str:
    """Returns a timestamp to the minute, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def age(since: datetime, now: datetime) -> str:
    """Returns how long ago, in the largest unit of which there are two or more."""
    passed = now - since
    for unit, length in (("day", timedelta(days=1)), ("hour", timedelta(hours=1))):
        if passed >= 2 * length:
            return f"{count(passed // length, unit)} ago"
    minutes = passed // timedelta(minutes=1)
    if minutes < 0:
        return "in the future"
    return f"{count(minutes, 'minute')} ago" if minutes else "just now"


def span(seconds: float) -> str:
    """Returns a duration in the largest unit of which there are two or more: 4 s, 12 min, 5 h."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length):,} {unit}"
    return f"{max(0, int(seconds))} s"


def percent(number: float | None) -> str:
    """Returns a percentage as 0.05 %. Only exact values are shown as 0 % or 100 %."""
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
    """Returns a score as text: a probability as a percentage with its interval and the usual value,
    any other score as a number that only ranks.
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
    """Returns a share as 34 % or, below 10 %, 0.9 %. Only exact values are 0 % or 100 %."""
    if 0 < share < 0.0005:
        return "under 0.1 %"
    if 0.995 <= share < 1:
        return "over 99 %"
    return f"{100 * share:.{0 if share >= 0.0995 else 1}f}".removesuffix(".0") + " %"


def shortened(ids: Iterable[str]) -> dict[str, str]:
    """Returns each id as people read it: as many characters as tell it apart from all the others,
    at least LEAST_OF_ID. Ids of up to MAX_ID characters stay whole.
    """
    ordered = sorted(set(ids))
    neighbours = zip(ordered, ["", *ordered], [*ordered[1:], ""], strict=False)
    return {
        each: each
        if len(each) <= MAX_ID
        else each[: max(LEAST_OF_ID, 1 + _alike(before, each), 1 + _alike(each, after))]
        for each, before, after in neighbours
    }


def candidates(found: Sequence[str]) -> str:
    """Returns the first of some ids that fit a beginning, as the end of an error about it."""
    more = " …" if len(found) > MAX_CANDIDATES else ""
    return f": {', '.join(found[:MAX_CANDIDATES])}{more}" if found else ""


def _alike(one: str, other: str) -> int:
    """Returns how many characters two texts have in common at their beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


def label(name: str) -> str:
    """Returns the id of a rule or a reason as words: low_talk_ratio → Low talk ratio."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def value(found: Any, limit: int = MAX_TEXT) -> str:
    """Returns a JSON value as text: texts without quotes, all else as JSON."""
    text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    return visible(text, limit)


def visible(text: str, limit: int = MAX_TEXT, *, lines: bool = False) -> str:
    """Returns an unchecked text that is safe in a terminal and a page.

    Cuts it to `limit` characters. Writes characters that control a terminal or the direction of
    writing as \\u202e. `lines` keeps line breaks and tabs.
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

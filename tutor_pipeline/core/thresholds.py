"""Thresholds in texts, by reference: `{threshold.high_reschedule_rate:.0%}`.

A text that repeats the number of a threshold is wrong as soon as somebody changes the threshold, so
it names the threshold instead. Rules, checks, recommendations, templates and sentences in Python
have the same syntax.

Belongs here: the syntax, and how a threshold is written.
Does not belong here: which thresholds there are (`metrics.thresholds`, the conditions of a rule).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches

from tutor_pipeline.core import formatting

PREFIX = "threshold."
REFERENCE = re.compile(r"\{threshold\.([^{}:]*)(?::([^{}]*))?\}")
"""A reference in a text: the name and, optional, the format."""

Threshold = float | str | bool
_FORM = re.compile(r"(\+?)(?:\.([0-9]))?([f%])")


def fill(text: str, thresholds: Mapping[str, Threshold]) -> str:
    """Returns the text with each reference replaced by the threshold's value.

    Raises ValueError for an unknown threshold, with the nearest name, and for a format that does
    not fit.
    """
    return REFERENCE.sub(
        lambda found: written(value_of(found[1], thresholds), found[2] or ""), text
    )


def fill_sql(text: str, thresholds: Mapping[str, Threshold]) -> str:
    """Does the same for SQL, where a number has no marks and no noun.

    Raises ValueError for a reference with a format, too.
    """

    def plain(found: re.Match[str]) -> str:
        if found[2]:
            raise ValueError(f"SQL has no format: write {{threshold.{found[1]}}}")
        return str(value_of(found[1], thresholds))

    return REFERENCE.sub(plain, text)


def fill_lines(text: str, thresholds: Mapping[str, Threshold], place: str) -> str:
    """Does what `fill` does for the text of a file. The errors begin with `place:line: `."""
    filled = []
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        try:
            filled.append(fill(line, thresholds))
        except ValueError as error:
            raise ValueError(f"{place}:{number}: {error}") from error
    return "".join(filled)


def value_of(name: str, thresholds: Mapping[str, Threshold]) -> Threshold:
    """Returns a threshold by name. Raises ValueError with the nearest name if there is none."""
    if name in thresholds:
        return thresholds[name]
    near = get_close_matches(name, list(thresholds), n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise ValueError(f"unknown threshold {name}{hint}")


def written(value: Threshold, form: str = "") -> str:
    """Returns a threshold as text, never rounded: 0.15 is 15 % in the format `.0%`, 0.125 is
    12.5 %.

    Formats are `.1f`, `+.1f`, `.0%` (each has as many decimals or, where the value has more, all of
    them) and `minute|minutes` for a number with its noun. Without a format the value is written as
    it is defined. Numbers have thousands marks. Raises ValueError for a format that does not fit.
    """
    if isinstance(value, bool):
        raise ValueError("a threshold that is true or false can't be written in a sentence")
    if isinstance(value, str):
        if form:
            raise ValueError(f"{value!r} is no number, which can't be written as {form!r}")
        return value
    if not form or form.count("|") == 1:
        return formatting.written(value, form)
    if (found := _FORM.fullmatch(form)) is None:
        raise ValueError(f"a threshold can't be written as {form!r}")
    sign, least, unit = found.groups(default="")
    exact = Decimal(str(value)).normalize() * (100 if unit == "%" else 1)
    exponent = exact.normalize().as_tuple().exponent
    assert isinstance(exponent, int)  # else it is no finite number
    decimals = max(int(least or 0), -exponent)
    return f"{exact:{sign},.{decimals}f}" + (" %" if unit == "%" else "")

"""What texts mean that may mean two things, where a mapping says which. Pure.

A reading takes the text of a field, which is no word for a missing value, and returns it in the
form that values.py reads: ISO 8601, a decimal point, the format's own words. A library that guesses
dates takes 03/13/2026 for March though the day is said to come first; here that is a bad value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from tutor_pipeline.sources.problems import (
    OUT_OF_RANGE,
    UNKNOWN_VALUE,
    UNPARSABLE,
    BadValueError,
)

Reading = Callable[[str], str]
"""Returns a text in a form with one reading, empty: it says that there is no value. Raises
BadValueError.
"""

Dates = Literal["day first", "month first", "seconds", "milliseconds", "days"]
"""How dates are written: 31/12/2026, 12/31/2026, or counted since 1970; days as spreadsheets do."""
EXAMPLES: Mapping[Dates, str] = {
    "day first": "31/12/2026 16:00",
    "month first": "12/31/2026 16:00",
    "seconds": "1770134400",
    "milliseconds": "1770134400000",
    "days": "46056.67",
}
Decimal = Literal[",", "."]

_DAY_AND_MONTH = re.compile(
    r"(\d{1,2})([-/. ])(\d{1,2})\2(\d{4}|\d\d)(?:(?:,?\s+|T)(\S.*))?", re.ASCII
)
_TIME = re.compile(
    r"(\d{1,2})(?::(\d\d))?((?::\d\d(?:\.\d+)?)?)(?:\s*([ap])\.?m\.?)?(\s*\S*)", re.IGNORECASE
)
_ISO = re.compile(r"\d{4}-\d\d-\d\d.*", re.DOTALL)
_HAS_ZONE = re.compile(r"\d{4}-\d\d-\d\d.+(?:[+-]\d\d(?::?\d\d)?|[A-Za-z][A-Za-z0-9_+/-]*)\s*")
_NUMBERS = {
    ",": re.compile(r"[+-]?(?:\d{1,3}(?:[. \u00a0\u202f']\d{3})+|\d+)?(?:,\d+)?\s*%?"),
    ".": re.compile(r"[+-]?(?:\d{1,3}(?:[, \u00a0\u202f']\d{3})+|\d+)?(?:\.\d+)?\s*%?"),
}
_OF_SPREADSHEETS = datetime(1899, 12, 30, tzinfo=UTC)
_LAST = 7_300_000_000
"""Seconds since 1970: the year 2201. What is beyond is no moment."""
_LAST_DAY = 110_000


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a mapping says of a column's texts.

    `dates`, `timezone`: of moments; the zone of those without one. `decimal`: the mark of decimals.
    `values`: the text, in any case, and what it becomes; `others_are_none`: what is not listed is
    no value, else it is a bad one. `scale`: the smallest and the largest value of the file and of
    the format.
    """

    dates: Dates | None = None
    timezone: str | None = None
    decimal: Decimal | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    others_are_none: bool = False
    scale: tuple[tuple[float, float], tuple[float, float]] | None = None

    def reading(self) -> Reading:
        """Returns the function that reads a field."""
        steps: list[Reading] = []
        if self.values:
            known = {text.strip().casefold(): value for text, value in self.values.items()}
            steps.append(lambda text: self._value(text, known))
        if self.dates is not None:
            steps.append(_counted(self.dates) if _is_count(self.dates) else _ordered(self.dates))
        if self.timezone is not None:
            steps.append(self._with_zone)
        if self.decimal is not None:
            steps.append(self._number)
        if self.scale is not None:
            steps.append(self._scaled)

        def read(text: str) -> str:
            for step in steps:
                text = step(text)
            return text

        return read

    def _value(self, text: str, known: Mapping[str, str]) -> str:
        found = known.get(text.strip().casefold())
        if found is None and not self.others_are_none:
            raise BadValueError(UNKNOWN_VALUE)
        return found or ""

    def _with_zone(self, text: str) -> str:
        return text if _HAS_ZONE.fullmatch(text) else f"{text} {self.timezone}"

    def _number(self, text: str) -> str:
        assert self.decimal is not None
        if ":" in text:  # h:mm has no decimals
            return text
        if not any(map(str.isdigit, text)) or not _NUMBERS[self.decimal].fullmatch(text):
            raise BadValueError(UNPARSABLE)
        thousands = "." if self.decimal == "," else ","
        plain = re.sub(rf"[{thousands}\s\u00a0\u202f']", "", text)
        return plain.replace(self.decimal, ".")

    def _scaled(self, text: str) -> str:
        assert self.scale is not None
        (low, high), (first, last) = self.scale
        try:
            number = float(text.removesuffix("%"))
        except ValueError:
            raise BadValueError(UNPARSABLE) from None
        if not math.isfinite(number):
            raise BadValueError(OUT_OF_RANGE)
        return repr(first + (number - low) * (last - first) / (high - low))


def _is_count(dates: Dates) -> bool:
    return dates in ("seconds", "milliseconds", "days")


def _counted(dates: Dates) -> Reading:
    def read(text: str) -> str:
        try:
            number = float(text)
        except ValueError:
            return text  # ISO 8601, or nothing that can be read
        if dates == "days":
            if not 0 < number < _LAST_DAY:
                raise BadValueError(OUT_OF_RANGE)
            # A spreadsheet's days have no zone, and a second is less than they can hold exactly.
            moment = _OF_SPREADSHEETS + timedelta(seconds=round(number * 86_400))
            return moment.strftime("%Y-%m-%d %H:%M:%S")
        seconds = number / 1_000 if dates == "milliseconds" else number
        if not -_LAST < seconds < _LAST:
            raise BadValueError(OUT_OF_RANGE)
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).isoformat(" ")

    return read


def _ordered(dates: Dates) -> Reading:
    def read(text: str) -> str:
        match = _DAY_AND_MONTH.fullmatch(text)
        if match is None:
            day, _, rest = text.partition(" ")
            return f"{day} {_time(rest)}" if _ISO.fullmatch(day) and rest.strip() else text
        first, _, second, year, rest = match.groups()
        day, month = (first, second) if dates == "day first" else (second, first)
        # Two digits are of this century: sessions of the last one are no news.
        year = f"20{year}" if len(year) == 2 else year
        return f"{year}-{month:0>2}-{day:0>2}" + (f" {_time(rest)}" if rest else "")

    return read


def _time(text: str) -> str:
    """Returns a time of day in 24 hours, with what follows it. `2:30 PM` → `14:30`."""
    match = _TIME.fullmatch(text)
    if match is None:
        return text
    hour, minute, second, half, rest = match.groups()
    number = int(hour)
    if half is not None:
        if not 1 <= number <= 12:
            raise BadValueError(UNPARSABLE)
        number = number % 12 + (12 if half.lower() == "p" else 0)
    elif minute is None:
        raise BadValueError(UNPARSABLE)
    return f"{number:02}:{minute or '00'}{second}{rest}"

"""Converts the text of a CSV field for PostgreSQL's COPY, or says why it cannot. Pure.

Files repeat their values, so each distinct text of a column is parsed once and then looked up. That
makes 26 columns a row affordable in Python.

Belongs here: what each text means. Does not belong here: the words that mean something in every
column (format.yml), moments and lists (`sources.moments`, lists.py).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NoReturn

from tutor_pipeline.sources.csv.format import CsvColumn, csv_format
from tutor_pipeline.sources.csv.lists import items_of
from tutor_pipeline.sources.csv.readings import Reading
from tutor_pipeline.sources.moments import moment_of
from tutor_pipeline.sources.problems import (
    MISSING,
    OUT_OF_RANGE,
    TWO_READINGS,
    UNKNOWN_VALUE,
    UNPARSABLE,
    BadValueError,
)

NULL = "\\N"
POSTGRES_TYPES = {
    "id": "text",
    "text": "text",
    "integer": "integer",
    "minutes": "integer",
    "number": "double precision",
    "percent": "double precision",
    "share": "double precision",
    "boolean": "boolean",
    "timestamp": "timestamptz",
    "list": "text[]",
    "json": "jsonb",
}
NUMBERS = ("integer", "minutes", "number", "percent", "share")
MAX_ID_LENGTH = 255
"""Ids are parts of keys, and an index of PostgreSQL takes up to 2,700 bytes."""

_MAX_REMEMBERED = 1_000_000
"""Characters of the texts cached per column: memory must not grow with the file."""

_INTEGER_MAX = 2**31 - 1
# pandas writes an integer column with gaps with a trailing ".0".
_INTEGER = re.compile(r"[+-]?(\d+)(\.0*)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WITH_COMMA = re.compile(r"[+-]?[\d.]*\d,\d[\d.,]*", re.ASCII)
_HOURS = re.compile(r"(\d{1,3}):([0-5]\d)(?::([0-5]\d))?", re.ASCII)
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_WORDS = csv_format().words
_BOOLEANS = dict.fromkeys(_WORDS.true, "t") | dict.fromkeys(_WORDS.false, "f")
_LONGEST_MISSING = max(map(len, _WORDS.missing))


def is_missing(text: str) -> bool:
    """Whether the text says that there is no value."""
    text = text.strip()
    return len(text) <= _LONGEST_MISSING and text.lower() in _WORDS.missing


class ColumnReader(dict[str, str]):
    """Reads one column. `reader[text]` is the text for COPY; NULL where the value is bad.

    `bad` maps bad texts to their reasons, `<column>_<suffix>`. `reading` says what the column's
    texts mean; without it a text that may mean two things is bad.
    """

    def __init__(self, column: CsvColumn, reading: Reading | None = None) -> None:
        super().__init__()
        self.column = column
        self.bad: dict[str, str] = {}
        self._parse = _PARSERS[column.type]
        self._accepted = {each.casefold(): each for each in column.accepted}
        # Blanks around a text are part of it; around anything else they mean nothing.
        self._is_free = column.type == "text" and not column.accepted
        self._reading = reading
        self._remembered = 0

    def read(self, texts: Sequence[str]) -> tuple[list[str], dict[int, str]]:
        """Returns the texts of a batch for COPY, and the reasons of bad values by position."""
        if self._remembered > _MAX_REMEMBERED:
            self.clear()
            self.bad.clear()
            self._remembered = 0
        values = list(map(self.__getitem__, texts))
        bad = self.bad
        if not bad or bad.keys().isdisjoint(texts):
            return values, {}
        return values, {at: bad[text] for at, text in enumerate(texts) if text in bad}

    def __missing__(self, text: str) -> str:
        stripped = text.strip()
        try:
            if len(stripped) > _LONGEST_MISSING or stripped.lower() not in _WORDS.missing:
                value = self._value(text if self._is_free else stripped)
            else:
                value = self._nothing()
        except BadValueError as problem:
            value = NULL
            self.bad[text] = f"{self.column.name}_{problem}"
        self[text] = value
        self._remembered += len(text)
        return value

    def _nothing(self) -> str:
        if self.column.required:
            raise BadValueError(MISSING)
        return NULL

    def _value(self, text: str) -> str:
        if self._reading is not None and not (text := self._reading(text)):
            return self._nothing()
        if not self._accepted:
            return self._parse(text, self.column)
        try:
            return copy_text(self._accepted[text.casefold()])
        except KeyError:
            raise BadValueError(UNKNOWN_VALUE) from None


def copy_text(text: str) -> str:
    """Returns a text as a field of COPY's text format."""
    return text if text.isalnum() else text.translate(_ESCAPES)


def _text(text: str, column: CsvColumn) -> str:
    _check_length(text, column)
    return copy_text(text)


def _check_length(text: str, column: CsvColumn) -> None:
    if column.max_length is not None and len(text) > column.max_length:
        raise BadValueError(OUT_OF_RANGE)


def _id(text: str, column: CsvColumn) -> str:
    if len(text) > MAX_ID_LENGTH:
        raise BadValueError(OUT_OF_RANGE)
    return copy_text(text)


def _integer(text: str, column: CsvColumn) -> str:
    match = _INTEGER.fullmatch(text)
    if match is None:
        raise BadValueError(_no_number(text))
    if len(match[1]) > 18:
        raise BadValueError(OUT_OF_RANGE)
    return _whole(int(text.split(".", maxsplit=1)[0]), column)


def _minutes(text: str, column: CsvColumn) -> str:
    """Rounds to whole minutes, halves up."""
    match = _HOURS.fullmatch(text)
    if match is None:
        number = _parsed(text)
    else:
        hours, minutes, seconds = (int(part or 0) for part in match.groups())
        if hours > 23:
            raise BadValueError(TWO_READINGS)
        number = 60 * hours + minutes + seconds / 60
    _check_range(number, column)
    if abs(number) > _INTEGER_MAX:
        raise BadValueError(OUT_OF_RANGE)
    return _whole(math.floor(number + 0.5), column)


def _whole(number: int, column: CsvColumn) -> str:
    _check_range(number, column)
    if abs(number) > _INTEGER_MAX:
        raise BadValueError(OUT_OF_RANGE)
    return str(number)


def _number(text: str, column: CsvColumn) -> str:
    return repr(_within(_parsed(text), column))


def _percent(text: str, column: CsvColumn) -> str:
    """Returns the percentage as a share."""
    return repr(_hundredth(_within(_parsed(text.removesuffix("%").rstrip()), column)))


def _share(text: str, column: CsvColumn) -> str:
    number = _parsed(text.removesuffix("%").rstrip())
    return repr(_within(_hundredth(number) if text.endswith("%") else number, column))


def _hundredth(number: float) -> float:
    """Returns the float that is 0.007 for 0.7, as it is written: dividing gives the one before."""
    return float(Decimal(repr(number)).scaleb(-2))


def _within(number: float, column: CsvColumn) -> float:
    _check_range(number, column)
    if math.isinf(number):
        raise BadValueError(OUT_OF_RANGE)
    return number


def _parsed(text: str) -> float:
    if _NUMBER.fullmatch(text) is None:
        raise BadValueError(_no_number(text))
    return float(text)


def _no_number(text: str) -> str:
    """Returns why the text is no number: its comma may mean two things, or it is none at all."""
    return TWO_READINGS if _WITH_COMMA.fullmatch(text.rstrip("% ")) else UNPARSABLE


def _check_range(number: float, column: CsvColumn) -> None:
    if (column.minimum is not None and number < column.minimum) or (
        column.maximum is not None and number > column.maximum
    ):
        raise BadValueError(OUT_OF_RANGE)


def _boolean(text: str, column: CsvColumn) -> str:
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        raise BadValueError(UNPARSABLE) from None


def _timestamp(text: str, column: CsvColumn) -> str:
    return moment_of(text)


def _list(text: str, column: CsvColumn) -> str:
    """Returns an array of PostgreSQL, without repeated and empty items."""
    _check_length(text, column)
    quoted = (
        '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for item in dict.fromkeys(items_of(text))
        if not is_missing(item)
    )
    return copy_text("{" + ",".join(quoted) + "}")


def _json(text: str, column: CsvColumn) -> str:
    """Writes JSON again, because jsonb rejects NaN, \\u0000 and lone surrogates."""
    try:
        value = json.loads(text, parse_constant=_refuse)
        rewritten = json.dumps(value, ensure_ascii=False, allow_nan=False)
        rewritten.encode()
    except (ValueError, RecursionError):
        raise BadValueError(UNPARSABLE) from None
    if _ESCAPED_NUL.search(rewritten):
        raise BadValueError(UNPARSABLE)
    return copy_text(rewritten)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


_PARSERS: dict[str, Callable[[str, Any], str]] = {
    "id": _id,
    "text": _text,
    "integer": _integer,
    "minutes": _minutes,
    "number": _number,
    "percent": _percent,
    "share": _share,
    "boolean": _boolean,
    "timestamp": _timestamp,
    "list": _list,
    "json": _json,
}

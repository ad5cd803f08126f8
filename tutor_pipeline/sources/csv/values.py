"""Converts the text of a CSV field for PostgreSQL's COPY, or says why it cannot. Pure.

Files repeat their values, so each distinct text of a column is parsed once and then looked up. That
makes 26 columns a row affordable in Python.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

from tutor_pipeline.sources.csv.format import CsvColumn

NULL = "\\N"
POSTGRES_TYPES = {
    "id": "text",
    "text": "text",
    "integer": "integer",
    "number": "double precision",
    "boolean": "boolean",
    "timestamp": "timestamptz",
    "json": "jsonb",
}
MAX_ID_LENGTH = 255
"""Ids are parts of keys, and an index of PostgreSQL takes up to 2,700 bytes."""
FIRST_YEAR, LAST_YEAR = 1900, 2199
"""Timestamps outside are errors, and later steps could exceed the range of Python's datetime."""

_MAX_REMEMBERED = 1_000_000
"""Characters of the texts cached per column: memory must not grow with the file."""

_INTEGER_MAX = 2**31 - 1
# pandas writes an integer column with gaps with a trailing ".0".
_INTEGER = re.compile(r"[+-]?(\d+)(\.0*)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_PLAIN_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?", re.ASCII)
_BOOLEANS = {"true": "t", "1": "t", "false": "f", "0": "f"}
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class _BadValueError(Exception):
    """A bad value. The message is the suffix of the reason: missing, unparsable, out_of_range or
    unknown_value.
    """


class ColumnReader(dict[str, str]):
    """Reads one column. `reader[text]` is the text for COPY; NULL where the value is bad.

    `bad` maps bad texts to their reasons, `<column>_<suffix>`.
    """

    def __init__(self, column: CsvColumn) -> None:
        super().__init__()
        self.column = column
        self.bad: dict[str, str] = {}
        self._parse = _PARSERS[column.type]
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
        try:
            if text and not text.isspace():
                value = self._parse(text, self.column)
            elif self.column.required:
                raise _BadValueError("missing")
            else:
                value = NULL
        except _BadValueError as problem:
            value = NULL
            self.bad[text] = f"{self.column.name}_{problem}"
        self[text] = value
        self._remembered += len(text)
        return value


def copy_text(text: str) -> str:
    """Returns a text as a field of COPY's text format."""
    return text if text.isalnum() else text.translate(_ESCAPES)


def _text(text: str, column: CsvColumn) -> str:
    if column.accepted and text not in column.accepted:
        raise _BadValueError("unknown_value")
    if column.max_length is not None and len(text) > column.max_length:
        raise _BadValueError("out_of_range")
    return copy_text(text)


def _id(text: str, column: CsvColumn) -> str:
    if len(text) > MAX_ID_LENGTH:
        raise _BadValueError("out_of_range")
    return copy_text(text)


def _integer(text: str, column: CsvColumn) -> str:
    text = text.strip()
    match = _INTEGER.fullmatch(text)
    if match is None:
        raise _BadValueError("unparsable")
    if len(match[1]) > 18:
        raise _BadValueError("out_of_range")
    number = int(text.split(".")[0])
    _check_range(number, column)
    if abs(number) > _INTEGER_MAX:
        raise _BadValueError("out_of_range")
    return str(number)


def _number(text: str, column: CsvColumn) -> str:
    text = text.strip()
    if _NUMBER.fullmatch(text) is None:
        raise _BadValueError("unparsable")
    number = float(text)
    _check_range(number, column)
    if math.isinf(number):
        raise _BadValueError("out_of_range")
    return repr(number)


def _check_range(number: float, column: CsvColumn) -> None:
    if (column.minimum is not None and number < column.minimum) or (
        column.maximum is not None and number > column.maximum
    ):
        raise _BadValueError("out_of_range")


def _boolean(text: str, column: CsvColumn) -> str:
    try:
        return _BOOLEANS[text.strip().lower()]
    except KeyError:
        raise _BadValueError("unparsable") from None


def _timestamp(text: str, column: CsvColumn) -> str:
    """Parses ISO 8601. Without a zone, PostgreSQL applies the time zone of its session."""
    try:
        moment = datetime.fromisoformat(text := text.strip())
    except ValueError:
        raise _BadValueError("unparsable") from None
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise _BadValueError("out_of_range")
    if moment.tzinfo is not None:
        # Python accepts more offsets than PostgreSQL.
        moment = moment.astimezone(UTC)
    elif _PLAIN_TIMESTAMP.fullmatch(text):
        return text  # PostgreSQL can read it; formatting it again would take most of the time
    return moment.isoformat(" ")


def _json(text: str, column: CsvColumn) -> str:
    """Writes JSON again, because jsonb rejects NaN, \\u0000 and lone surrogates."""
    try:
        value = json.loads(text, parse_constant=_refuse)
        rewritten = json.dumps(value, ensure_ascii=False, allow_nan=False)
        rewritten.encode()
    except (ValueError, RecursionError):
        raise _BadValueError("unparsable") from None
    if _ESCAPED_NUL.search(rewritten):
        raise _BadValueError("unparsable")
    return copy_text(rewritten)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


_PARSERS: dict[str, Callable[[str, Any], str]] = {
    "id": _id,
    "text": _text,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "timestamp": _timestamp,
    "json": _json,
}

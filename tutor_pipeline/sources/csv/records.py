"""Reads the records of a CSV file in batches, with line numbers and raw text. Streaming.

A broken record does not affect its neighbours. A quote that is never closed would include lines up
to the next quote, so of a malformed record only the first line is bad, and reading continues with
the next line. Every line that is not blank belongs to a record.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

MAX_LINE = 256 * 1024
"""Characters. Longer lines are split, and so are malformed: memory must not grow with the file."""
BATCH_ROWS = 500
BATCH_CHARACTERS = 1_000_000
"""Small batches stay in the processor's cache: 500 rows are twice as fast as 5,000."""

_REMEDY = "save it as CSV UTF-8 (comma delimited)"
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_UTF_16_MARKS = ("\udcff\udcfe", "\udcfe\udcff")
"""The byte order marks of UTF-16, read as UTF-8 with surrogate escapes."""
_WORKBOOK_MARK = "PK\x03\x04"
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class UnusableFileError(Exception):
    """No row of the file can be read. The message continues the sentence "<file> …"."""


@dataclass(slots=True)
class Batch:
    """Records of a file: line numbers (from 1), raw text and fields, each a list over records.

    `fields` of a malformed record are None. `reasons` maps positions of malformed and unreadable
    records to their reasons.
    """

    lines: list[int] = field(default_factory=list)
    raws: list[str] = field(default_factory=list)
    fields: list[list[str] | None] = field(default_factory=list)
    reasons: dict[int, list[str]] = field(default_factory=dict)


class CsvRecords:
    """The header and the records of an open file. Raises UnusableFileError without a header."""

    def __init__(self, binary: BinaryIO) -> None:
        # Only \n ends a line; the csv parser handles \r. Bytes that are not UTF-8 become lone
        # surrogates, which `_make_storable` finds.
        self._text = io.TextIOWrapper(
            binary, encoding="utf-8-sig", errors="surrogateescape", newline="\n"
        )
        self._line = 1
        self._pending: list[str] = []
        self.header = self._header()

    def batches(self) -> Iterator[Batch]:
        """Yields the records after the header."""
        batch, size = Batch(), 0
        for line, raw, fields, reason in self._records(len(self.header)):
            if reason is not None:
                batch.reasons[len(batch.raws)] = [reason]
            batch.lines.append(line)
            batch.raws.append(raw)
            batch.fields.append(fields)
            size += len(raw)
            if len(batch.raws) >= BATCH_ROWS or size >= BATCH_CHARACTERS:
                _make_storable(batch)
                yield batch
                batch, size = Batch(), 0
        if batch.raws:
            _make_storable(batch)
            yield batch

    def _header(self) -> list[str]:
        for _, raw, fields, _ in self._records(None):
            if problem := _form_problem(raw):
                raise UnusableFileError(f"{problem}: {_REMEDY}")
            if fields is None or not _is_storable(raw):
                raise UnusableFileError(f"has no header line in UTF-8: {_REMEDY}")
            return [name.strip() for name in fields]
        raise UnusableFileError("is empty: there is not even a header line")

    def _records(
        self, width: int | None
    ) -> Iterator[tuple[int, str, list[str] | None, str | None]]:
        """Yields line number, raw text, fields (None = malformed) and reason of each record."""
        taken: list[str] = []
        while True:
            reason = None
            try:
                for fields in csv.reader(self._lines(taken), strict=True):
                    if fields and width is not None and len(fields) != width:
                        reason = "wrong_column_count"
                        break
                    raw = taken[0] if len(taken) == 1 else "".join(taken)
                    line = self._line
                    self._line += raw.count("\n")
                    taken.clear()
                    if fields:
                        yield line, raw, fields, None
            except csv.Error:
                reason = "malformed_row"
            if reason is None:
                return
            line, first = self._line, taken[0]
            self._line += first.count("\n")
            self._pending.extend(reversed(taken[1:]))
            taken.clear()
            yield line, first, None, reason

    def _lines(self, taken: list[str]) -> Iterator[str]:
        while line := self._pending.pop() if self._pending else self._text.readline(MAX_LINE):
            taken.append(line)
            yield line


def _form_problem(header: str) -> str | None:
    """Returns which other format of a spreadsheet this is, continuing the sentence "<file> …"."""
    if header.startswith(_WORKBOOK_MARK):
        return "is a spreadsheet's workbook"
    if header.startswith(_UTF_16_MARKS) or header.count("\0") > len(header) / 3:
        return "is in UTF-16"
    if "," not in header:
        for separator, name in _SEPARATORS.items():
            if separator in header:
                return f"is separated by {name}, not by commas"
    return None


def _is_storable(text: str) -> bool:
    """Whether PostgreSQL can store the text: UTF-8 without NUL."""
    if "\0" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _make_storable(batch: Batch) -> None:
    """Replaces what PostgreSQL cannot store by U+FFFD, and adds a reason to the record."""
    if _is_storable("".join(batch.raws)):
        return
    for at, raw in enumerate(batch.raws):
        if _is_storable(raw):
            continue
        reasons = batch.reasons.setdefault(at, [])
        if "\0" in raw:
            reasons.append("nul_character")
        if not _is_storable(raw.replace("\0", "")):
            reasons.append("not_utf8")
        batch.raws[at] = _storable(raw)
        fields = batch.fields[at]
        if fields is not None:
            batch.fields[at] = [_storable(field) for field in fields]


def _storable(text: str) -> str:
    text = text.replace("\0", _REPLACEMENT)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def fields_of(raw: str, width: int) -> list[str] | None:
    """Returns the fields of a record's raw text, None unless it is one well-formed record."""
    try:
        rows = list(csv.reader(io.StringIO(raw, newline=""), strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 and len(rows[0]) == width else None

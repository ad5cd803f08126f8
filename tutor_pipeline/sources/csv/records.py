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

from tutor_pipeline.sources.csv.dialects import Dialect, UnusableFileError

MAX_LINE = 256 * 1024
"""Characters. Longer lines are split, and so are malformed: memory must not grow with the file."""
BATCH_ROWS = 500
BATCH_CHARACTERS = 1_000_000
"""Small batches stay in the processor's cache: 500 rows are twice as fast as 5,000."""

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


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
    """The header and the records of an open file. Raises UnusableFileError without a header.

    Lines without a value are no records: `blank` counts those that have separators.
    """

    def __init__(self, binary: BinaryIO, dialect: Dialect | None = None) -> None:
        self._dialect = dialect or Dialect()
        # Bytes that are no text become lone surrogates, which `_make_storable` finds.
        self._text = self._dialect.text(binary)
        self._pending: list[str] = []
        self.blank = 0
        for _ in range(self._dialect.skipped):
            self._text.readline(MAX_LINE)
        self._line = 1 + self._dialect.skipped
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
            if fields is None or not _is_storable(raw):
                raise UnusableFileError("has no header line in UTF-8 or UTF-16")
            self.blank = 0
            return [name.strip() for name in fields]
        raise UnusableFileError("is empty: there is not even a header line")

    def _records(
        self, width: int | None
    ) -> Iterator[tuple[int, str, list[str] | None, str | None]]:
        """Yields line number, raw text, fields (None = malformed) and reason of each record."""
        taken: list[str] = []
        newline, separator = self._dialect.newline, self._dialect.separator
        strip = str.strip
        while True:
            reason = None
            try:
                for fields in csv.reader(self._lines(taken), delimiter=separator, strict=True):
                    is_blank = not (fields and strip(fields[0])) and not any(map(strip, fields))
                    if width is not None and len(fields) != width and not is_blank:
                        reason = "wrong_column_count"
                        break
                    raw = taken[0] if len(taken) == 1 else "".join(taken)
                    line = self._line
                    self._line += raw.count(newline)
                    taken.clear()
                    if not is_blank:
                        yield line, raw, fields, None
                    elif fields:
                        self.blank += 1
            except csv.Error:
                reason = "malformed_row"
            if reason is None:
                return
            line, first = self._line, taken[0]
            self._line += first.count(newline)
            self._pending.extend(reversed(taken[1:]))
            taken.clear()
            yield line, first, None, reason

    def _lines(self, taken: list[str]) -> Iterator[str]:
        while line := self._pending.pop() if self._pending else self._text.readline(MAX_LINE):
            taken.append(line)
            yield line


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


def fields_of(raw: str, width: int, separator: str = ",") -> list[str] | None:
    """Returns the fields of a record's raw text, None unless it is one well-formed record."""
    try:
        rows = list(csv.reader(io.StringIO(raw, newline=""), delimiter=separator, strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 and len(rows[0]) == width else None

"""Turns records into bytes for COPY, with the reasons of fields that are no values. Pure."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat

from tutor_pipeline.sources.csv.format import CsvFile, csv_format
from tutor_pipeline.sources.csv.readings import Reading
from tutor_pipeline.sources.csv.records import Batch
from tutor_pipeline.sources.csv.values import (
    NULL,
    NUMBERS,
    ColumnReader,
    copy_text,
    is_missing,
)

TOTAL = "row_of_totals"
"""Marks a bad row that may be one of totals: at the end of its file it is no row at all."""

_WORDS = csv_format().words.total
_TOTAL_ID = re.compile(rf"(?:{'|'.join(map(re.escape, _WORDS))})(?:[\s:(].*)?", re.IGNORECASE)


class Encoder:
    """Turns batches of records into bytes for COPY: line, raw text, reasons, the file's columns.

    `width`: the number of fields of a row. `places`: where each column of the format stands.
    `totals` counts rows marked with TOTAL.
    """

    def __init__(
        self,
        file: CsvFile,
        width: int,
        places: Mapping[str, int],
        separator: str,
        readings: Mapping[str, Reading],
    ) -> None:
        self.totals = 0
        self._width = width
        self._separator = separator
        self._columns = [
            (ColumnReader(column, readings.get(column.name)), places[column.name])
            if column.name in places
            else None
            for column in file.columns
        ]
        numbers = {places.get(column.name) for column in file.columns if column.type in NUMBERS}
        self._id = places[file.key[0]]
        self._no_numbers = [at for at in range(width) if at not in numbers and at != self._id]

    def encode(self, batch: Batch) -> bytes:
        """Returns the lines of a batch. Unreadable fields are NULL; the row has their reasons."""
        reasons = batch.reasons
        malformed = {at for at, fields in enumerate(batch.fields) if fields is None}
        blank = [""] * self._width
        texts = list(zip(*(fields or blank for fields in batch.fields), strict=True))
        columns: list[Iterator[str] | Sequence[str]] = []
        for column in self._columns:
            if column is None:
                columns.append(repeat(NULL, len(batch.raws)))
                continue
            reader, at = column
            values, bad = reader.read(texts[at])
            for row, reason in bad.items():
                if row not in malformed:
                    reasons.setdefault(row, []).append(reason)
            columns.append(values)
        for row in self._totals(batch, texts[self._id], malformed):
            reasons.setdefault(row, []).append(TOTAL)
            self.totals += 1
        raws = [raw.rstrip("\r\n") for raw in batch.raws]
        everything = "".join(raws)
        if any(character in everything for character in "\\\t\r\n"):
            raws = [copy_text(raw) for raw in raws]
        labels = (
            ["{" + ",".join(reasons.get(row, ())) + "}" for row in range(len(raws))]
            if reasons
            else repeat("{}", len(raws))
        )
        rows = zip(map(str, batch.lines), raws, labels, *columns, strict=True)
        return ("\n".join(map("\t".join, rows)) + "\n").encode()

    def _totals(self, batch: Batch, ids: Sequence[str], malformed: set[int]) -> Iterator[int]:
        """Yields the rows that have the id of a row of totals, and nothing else but numbers."""
        may_be = set(malformed)
        everything = "\n".join(ids).lower()
        if any(word in everything for word in _WORDS):
            may_be.update(range(len(ids)))
        for row in may_be:
            fields = batch.fields[row] or self._cut(batch.raws[row])
            fields = fields + [""] * (self._width - len(fields))
            if _TOTAL_ID.fullmatch(fields[self._id].strip()) and all(
                is_missing(fields[at]) for at in self._no_numbers
            ):
                yield row

    def _cut(self, raw: str) -> list[str]:
        """Returns the fields of a row that has too few or too many, none of one that is broken."""
        try:
            return next(csv.reader([raw], delimiter=self._separator), [])
        except csv.Error:
            return []

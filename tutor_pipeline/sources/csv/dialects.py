"""How a CSV file is written: its encoding, its separator, its line ends; and whether it is packed.

A separator is right when it cuts the header into columns of which none that is required is missing.
Nothing is guessed from the rows, where a comma in a text says as much as one between two fields.

Belongs here: opening a file's bytes, and recognising its form from its beginning.
Does not belong here: records (records.py), which columns there are (headers.py).
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_GZIP_MARK, _ZIP_MARK = b"\x1f\x8b", b"PK\x03\x04"
_HEAD = 64 * 1024
"""Bytes of a file from which its form is recognised: its header lies within."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16 LE"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16 BE"),
)
_SEPARATOR_LINE = re.compile(r'"?sep=([^\r\n"])"?[ \t]*(\r\n|\r|\n)', re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]*"')
_LINE_END = re.compile(r"\r\n|\n|\r")
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile)


class UnusableFileError(Exception):
    """No row of the file can be read. The message continues the sentence "<file> …"."""


def _as_lone_surrogates(error: UnicodeError) -> tuple[str, int]:
    """Marks what cannot be decoded like `surrogateescape`, which UTF-16 does not know."""
    return "\udc80", cast(UnicodeDecodeError, error).end


_LONE = "tutor_pipeline.lone_surrogates"
codecs.register_error(_LONE, _as_lone_surrogates)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a file is written. `newline` ends a line for the reader: CR, or LF with or without CR.

    `skipped` lines come before the header (`sep=;`). `is_plain`: the form that needs no word.
    """

    separator: str = ","
    encoding: str = "utf-8-sig"
    name: str = "UTF-8"
    newline: str = "\n"
    skipped: int = 0

    @property
    def is_plain(self) -> bool:
        """Whether this is what the format asks for: commas, UTF-8, lines that end in LF or CRLF."""
        return self == Dialect()

    @property
    def words(self) -> str:
        """The form in words: "semicolons, UTF-16 LE, lines ending in CR"."""
        separated = SEPARATORS.get(self.separator, f"the separator {self.separator}")
        said = " (its line sep= says so)" if self.skipped else ""
        ends = ", lines ending in CR" if self.newline == "\r" else ""
        return f"{separated}{said}, {self.name}{ends}"

    def text(self, binary: BinaryIO) -> io.TextIOWrapper:
        """Returns the file's text. Bytes that are no text become lone surrogates."""
        # Only `newline` ends a line; the csv parser handles the other one.
        errors = "surrogateescape" if self.name == "UTF-8" else _LONE
        return io.TextIOWrapper(binary, encoding=self.encoding, errors=errors, newline=self.newline)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a file lies: on disk, or as a member of an archive."""

    path: Path
    member: str | None = None

    @property
    def name(self) -> str:
        """The name as people see it: `sessions.csv`, `export.zip/sessions.csv`."""
        return self.path.name if self.member is None else f"{self.path.name}/{self.member}"

    @property
    def place(self) -> str:
        """The whole path, for the quarantine."""
        path = str(self.path.resolve())
        return path if self.member is None else f"{path}/{self.member}"

    @contextmanager
    def open(self) -> Iterator[tuple[BinaryIO, Callable[[], int], str | None]]:
        """Yields the unpacked bytes, a function that says how far the file was read, and what it
        was packed with (None = nothing).

        Raises UnusableFileError for a damaged or locked archive, while it is opened or read.
        """
        with self.path.open("rb") as packed:
            try:
                if self.member is not None:
                    with zipfile.ZipFile(packed) as archive, _member(archive, self.member) as inner:
                        yield inner, packed.tell, "zip"
                elif packed.peek(2)[:2] == _GZIP_MARK:
                    with gzip.open(packed) as inner:
                        yield cast(BinaryIO, inner), packed.tell, "gzip"
                else:
                    yield packed, packed.tell, None
            except _DAMAGE as error:
                raise UnusableFileError(f"is damaged and cannot be unpacked ({error})") from error


def _member(archive: zipfile.ZipFile, name: str) -> BinaryIO:
    try:
        return cast(BinaryIO, archive.open(name))
    except (RuntimeError, NotImplementedError) as error:  # a password, a rare compression
        raise UnusableFileError(f"cannot be unpacked: {error}") from error


def recognise(binary: BinaryIO, known_columns: Callable[[Sequence[str]], int | None]) -> Dialect:
    """Returns the form of a file from its beginning, to which it goes back.

    `known_columns` says of a header how many of its columns are known, or None if a required one is
    missing. Where it is missing under every separator, the one that cuts the header best is
    returned. Raises UnusableFileError when two separators would do.
    """
    head = binary.read(_HEAD)
    binary.seek(0)
    if head.startswith(_ZIP_MARK):
        raise UnusableFileError("is a spreadsheet's workbook: save it as CSV UTF-8")
    encoding, name = _encoding(head)
    text = head.decode(encoding, "replace")
    line = _SEPARATOR_LINE.match(text)
    newline = "\r" if _first_line_end(text) == "\r" else "\n"
    if line is not None:
        return Dialect(line[1], encoding, name, newline, skipped=1)
    headers = {separator: _header(text, separator) for separator in SEPARATORS}
    known = {separator: known_columns(header) for separator, header in headers.items()}
    found = {separator: count for separator, count in known.items() if count is not None}
    best = [each for each, count in found.items() if count == max(found.values())]
    if len(best) > 1 and max(len(headers[each]) for each in best) > 1:
        ways = " and by ".join(SEPARATORS[each] for each in best)
        raise UnusableFileError(f"has a header that may be separated by {ways}")
    separator = best[0] if best else max(headers, key=lambda each: len(headers[each]))
    return Dialect(separator, encoding, name, newline)


def _encoding(head: bytes) -> tuple[str, str]:
    """Returns Python's name of the encoding and the one for people."""
    for mark, encoding, name in _MARKS:
        if head.startswith(mark):
            return encoding, name
    # Without a mark, every other byte of a header in UTF-16 is NUL.
    for first, encoding, name in ((1, "utf-16-le", "UTF-16 LE"), (0, "utf-16-be", "UTF-16 BE")):
        half = head[first:512:2]
        if half and half.count(0) > 0.8 * len(half) and head[1 - first : 512 : 2].count(0) == 0:
            return encoding, name
    return "utf-8-sig", "UTF-8"


def _first_line_end(text: str) -> str | None:
    match = _LINE_END.search(_QUOTED.sub("", text))
    return match[0] if match else None


def _header(text: str, separator: str) -> list[str]:
    """Returns the fields of the first line that has any."""
    try:
        for fields in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
            if any(map(str.strip, fields)):
                return fields
    except csv.Error:
        pass
    return []

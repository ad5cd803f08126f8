"""Which columns of the format a header has, however it spells them. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches

from tutor_pipeline.sources.csv.dialects import Dialect, UnusableFileError
from tutor_pipeline.sources.csv.format import CsvFile

_SHOWN = 300
"""Characters of a header that a message shows."""
# Blanks of all kinds, the byte order mark, joiners and soft hyphens, hyphens of all kinds.
_IGNORED = re.compile(r"[\s_\-\u00ad\u200b-\u200d\u2010-\u2015\u2060\ufeff]+")


def folded(name: str) -> str:
    """Returns what two spellings of a column's name have in common."""
    return _IGNORED.sub("", unicodedata.normalize("NFKC", name).casefold())


def columns_of(file: CsvFile, header: Sequence[str]) -> list[str]:
    """Returns the header with the format's names for the columns that it knows."""
    names = {folded(column.name): column.name for column in file.columns}
    return [names.get(folded(name), name.strip()) for name in header]


def known_columns(file: CsvFile, header: Sequence[str]) -> int | None:
    """Returns how many of the header's columns are known, None if a required one is missing."""
    found = set(columns_of(file, header))
    if any(column.required and column.name not in found for column in file.columns):
        return None
    return sum(column.name in found for column in file.columns)


def check_header(file: CsvFile, header: Sequence[str], dialect: Dialect) -> None:
    """Raises UnusableFileError when a required column is missing or a known one is repeated."""
    columns = columns_of(file, header)
    required = [column.name for column in file.columns if column.required]
    if missing := [name for name in required if name not in columns]:
        shown = ", ".join(name.strip() or "(without a name)" for name in header)
        raise UnusableFileError(
            f"has no column {', '.join(_with_nearest(name, file, header) for name in missing)}."
            f" Its header, separated by {dialect.words}: {shown[:_SHOWN]}"
        )
    for column in file.columns:
        spelled = [
            name for name, known in zip(header, columns, strict=True) if known == column.name
        ]
        if len(spelled) > 1:
            raise UnusableFileError(
                f"has the column {column.name} more than once: {' and '.join(spelled)}"
            )


def _with_nearest(name: str, file: CsvFile, header: Sequence[str]) -> str:
    """Returns the name, with the nearest ones of the header that are not known."""
    known = {folded(column.name) for column in file.columns}
    others = {folded(each): each.strip() for each in header if folded(each) not in known}
    near = get_close_matches(folded(name), others, n=2, cutoff=0.6)
    return f"{name} (nearest: {', '.join(others[each] for each in near)})" if near else name

"""Which columns of the format a header has, however it spells them. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from tutor_pipeline.sources.csv.dialects import Dialect, UnusableFileError
from tutor_pipeline.sources.csv.format import CsvFile

_SHOWN = 300
"""Characters of a header that a message shows."""
# Blanks of all kinds, the byte order mark, joiners and soft hyphens, hyphens of all kinds.
_IGNORED = re.compile(r"[\s_\-\u00ad\u200b-\u200d\u2010-\u2015\u2060\ufeff]+")

Names = Mapping[str, str]
"""Column of the format → what the file calls it, where a mapping says so."""


def folded(name: str) -> str:
    """Returns what two spellings of a column's name have in common."""
    return _IGNORED.sub("", unicodedata.normalize("NFKC", name).casefold())


def places_of(file: CsvFile, header: Sequence[str], names: Names) -> dict[str, int]:
    """Returns the position of each column of the format that a header has."""
    spelled = [folded(name) for name in header]
    wanted = {column.name: folded(names.get(column.name, column.name)) for column in file.columns}
    return {name: spelled.index(each) for name, each in wanted.items() if each in spelled}


def columns_of(file: CsvFile, header: Sequence[str], names: Names) -> list[str]:
    """Returns the header with the format's names for the columns that it knows. What a mapping
    names keeps its name.
    """
    places = places_of(file, header, names)
    known = {at: name for name, at in places.items() if name not in names}
    return [known.get(at, name.strip()) for at, name in enumerate(header)]


def known_columns(file: CsvFile, names: Names, header: Sequence[str]) -> int | None:
    """Returns how many of the header's columns are known, None if a required one is missing."""
    places = places_of(file, header, names)
    if any(column.required and column.name not in places for column in file.columns):
        return None
    return len(set(places.values()))


def check_header(file: CsvFile, header: Sequence[str], names: Names, dialect: Dialect) -> None:
    """Raises UnusableFileError when a required column, or one of the mapping, is missing, or a
    known one is repeated.
    """
    places = places_of(file, header, names)
    needed = [column.name for column in file.columns if column.required or column.name in names]
    if missing := [name for name in needed if name not in places]:
        shown = ", ".join(name.strip() or "(without a name)" for name in header)
        known = {folded(header[at]) for at in places.values()}
        wanted = (_with_nearest(name, names, known, header) for name in missing)
        raise UnusableFileError(
            f"has no column {', '.join(wanted)}."
            f" Its header, separated by {dialect.words}: {shown[:_SHOWN]}"
        )
    for name, at in places.items():
        spelled = [each for each in header if folded(each) == folded(header[at])]
        if len(spelled) > 1:
            raise UnusableFileError(
                f"has the column {name} more than once: {' and '.join(spelled)}"
            )


def _with_nearest(name: str, names: Names, known: set[str], header: Sequence[str]) -> str:
    """Returns the name, with the nearest ones of the header that are not known."""
    said = f"{names[name]}, which the mapping has for {name}" if name in names else name
    others = {folded(each): each.strip() for each in header if folded(each) not in known}
    near = get_close_matches(folded(names.get(name, name)), others, n=2, cutoff=0.6)
    return f"{said} (nearest: {', '.join(others[each] for each in near)})" if near else said

"""The columns of any table, as cross-validation reads them: numbers, words, ids, persons.

Belongs here: the value of a cell, the kind of a column, which columns name rows or persons.
Does not belong here: reading the file, learning from columns (`crossval`).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from tutor_pipeline.core.formatting import count, visible
from tutor_pipeline.judgement.scores.evaluation import Array

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
"""Missing values, in lower case."""

_FEW = 30
"""So few different texts are categories, however few rows each has."""
_ID_SHARE = 0.5  # a text with more different values per row than this names the rows
_WORDS_SHARE = 0.1  # a column of numbers with so few words is numeric; the words are missing values
_HUGE = 1e150
"""Larger numbers are missing values, as infinite ones are: their square must be finite, too."""

_IDS = frozenset({"id", "guid", "uuid"})
_NUMBERED = frozenset({"index", "key", "number", "unnamed"})
_PERSONS = frozenset(
    {"client", "customer", "email", "employee", "learner", "member", "patient", "person"}
    | {"student", "tutor", "user", "username", "worker"}
)
_OF_PERSONS = frozenset({"code", "email", "key", "name", "nr", "number"})

_LEAST_PERSONS, _LEAST_ROWS_EACH = 10, 2
_ALIKE, _TOLD = 0.2, 0.8
"""The share of a column's variance that must lie between persons; and that of the target's, where
the name of the column does not say that its values are persons.
"""
_RARE = 0.1
_CHANCE = 4.0  # standard deviations beyond what chance gives

Table = Mapping[str, Sequence[str]]
Key = Decimal | str


@dataclass(frozen=True)
class Coded:
    """Cells as codes of their values, -1 for missing ones. `names`: the most frequent spelling of
    each code's value.
    """

    codes: Array
    names: tuple[str, ...]

    def counts(self) -> Array:
        """Returns how often each value occurs."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))


@dataclass(frozen=True, slots=True)
class Column:
    """A column to learn from: numbers (NaN is missing) or words."""

    name: str
    numbers: Array | None = None
    words: Coded | None = None


@dataclass(frozen=True)
class Read:
    """The `columns` to learn from, why others are `dropped`, and remarks for the user."""

    columns: tuple[Column, ...]
    dropped: Mapping[str, str]
    remarks: tuple[str, ...]


def is_missing(cell: str) -> bool:
    """Returns whether a cell is a missing value."""
    return cell.strip().lower() in MISSING


def key(cell: str) -> Key:
    """Returns the value of a cell: the same for `Yes` and `yes `, and for 1 and 1.0."""
    try:
        exact = Decimal(cell.strip())
    except ArithmeticError:
        exact = None
    if exact is not None and exact.is_finite():
        return exact
    return " ".join(cell.split()).casefold()


def coded(cells: Sequence[str]) -> Coded:
    """Returns a column as codes, in the order of the values' names."""
    written: dict[Key, Counter[str]] = defaultdict(Counter)
    keys: dict[str, Key] = {}
    for cell, times in Counter(cells).items():
        if not is_missing(cell):
            keys[cell] = key(cell)
            written[keys[cell]][cell.strip()] += times
    names = {each: spellings.most_common(1)[0][0] for each, spellings in written.items()}
    places = {each: place for place, each in enumerate(sorted(names, key=lambda k: names[k]))}
    codes = [places[keys[cell]] if cell in keys else -1 for cell in cells]
    return Coded(np.array(codes, dtype=np.intp), tuple(names[each] for each in places))


def read(table: Table, drop: Mapping[str, str]) -> Read:
    """Returns the columns to learn from, and why the others are dropped. `drop`: columns that the
    caller drops, with the reason.
    """
    columns: list[Column] = []
    dropped = dict(drop)
    remarks: list[str] = []
    for name, cells in table.items():
        if name in dropped:
            continue
        found = _column(name, cells, remarks)
        if isinstance(found, Column):
            columns.append(found)
        else:
            dropped[name] = found
    return Read(tuple(columns), dropped, tuple(remarks))


def repeated(table: Table, columns: Sequence[Column], labels: Array) -> list[tuple[str, int]]:
    """Returns columns that seem to name persons with several rows each, the likeliest first, and
    the number of persons. `columns` and `labels` are of all rows.

    Such a column has the name of an id or a person, and the rows of one person are alike in the
    target or in another column, far more than by chance. Or it holds many texts, and each has rows
    of one outcome only.
    """
    found = []
    texts = {column.name for column in columns if column.words and len(column.words.names) > _FEW}
    marks: dict[str, list[Array]] = {}
    for name, cells in table.items():
        named = _ends_in_id(name) or _names_persons(name)
        if not named and name not in texts:
            continue
        persons = coded(cells)
        known = persons.codes >= 0
        if not _LEAST_PERSONS <= len(persons.names) <= known.sum() / _LEAST_ROWS_EACH:
            continue
        held_against = [labels.astype(float)]
        if named:
            marks = marks or {column.name: _marks(column) for column in columns}
            held_against += [mark for other in marks if other != name for mark in marks[other]]
        alike = max(_between(mark[known], persons.codes[known]) for mark in held_against)
        if alike >= (_ALIKE if named else _TOLD):
            found.append((alike, name, len(persons.names)))
    return [(name, persons) for _, name, persons in sorted(found, key=lambda each: -each[0])]


def _column(name: str, cells: Sequence[str], remarks: list[str]) -> Column | str:
    """Returns the column, or why it cannot be learned from."""
    texts = [None if is_missing(cell) else cell.strip() for cell in cells]
    given = [text for text in texts if text is not None]
    if not given:
        return "empty"
    if _ends_in_id(name):
        return "looks like an id: by its name (rename it to learn from it)"
    parsed = [np.nan if text is None else _number(text) for text in texts]
    words = [text for text, number in zip(texts, parsed, strict=True) if text and number is None]
    if not words or (len(words) <= _WORDS_SHARE * len(given) and len(set(given)) > _FEW):
        numbers = np.array([np.nan if number is None else number for number in parsed])
        return _of_numbers(name, numbers, words, remarks)
    found = coded(cells)
    different = len(found.names)
    if different == 1 and len(given) == len(texts):
        return "the same in every row"
    if different > _ID_SHARE * len(given) and different > min(_FEW, len(given) - 1):
        return (
            f"looks like an id or free text: {count(different, 'different value')} in"
            f" {count(len(given), 'row')}, such as {visible(given[0], 30)}"
        )
    return Column(name, words=found)


def _of_numbers(
    name: str, numbers: Array, words: Sequence[str], remarks: list[str]
) -> Column | str:
    known = numbers[np.isfinite(numbers)]
    if not len(known):
        return "it holds no finite number"
    different = len(np.unique(known))
    if different == 1 and len(known) == len(numbers):
        return "the same in every row"
    if different == len(known) and _numbers_rows(name) and (known == np.floor(known)).all():
        return "looks like an id: by its name, and another number in every row"
    if words:
        remarks.append(
            f"column {visible(name)} is one of numbers: {count(len(words), 'cell')} with other"
            f" text, such as {visible(words[0], 30)}, count as missing"
        )
    return Column(name, numbers=numbers)


def _number(text: str) -> float | None:
    """Returns the number; NaN where it is too large or infinite, None where the text is none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < _HUGE else np.nan


def _words_of(name: str) -> list[str]:
    """Returns the words of a name: studentId, student_id and STUDENT ID have two, paid has one."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+", name)]


def _ends_in_id(name: str) -> bool:
    last = "".join(_words_of(name)[-1:])
    return last in _IDS or (last.endswith("id") and last[:-2] in _PERSONS)


def _numbers_rows(name: str) -> bool:
    """Returns whether a name is that of row numbers, as EmployeeNumber, `Unnamed: 0` or none."""
    words = _words_of(name)
    return not words or words[0] == "unnamed" or words[-1] in _NUMBERED


def _names_persons(name: str) -> bool:
    *before, last = _words_of(name) or [""]
    return last in _PERSONS or (last in _OF_PERSONS and not _PERSONS.isdisjoint(before))


def _marks(column: Column) -> list[Array]:
    """Returns a column as numbers without outliers: ranks, or an indicator per frequent value."""
    if column.words is not None:
        codes = column.words.codes
        common = np.flatnonzero(column.words.counts() >= _RARE * len(codes))
        return [(codes == code).astype(float) for code in common]
    assert column.numbers is not None
    return [np.unique(column.numbers, return_inverse=True, equal_nan=True)[1].astype(float)]


def _between(values: Array, persons: Array) -> float:
    """Returns the share of the variance that lies between persons (the adjusted R²); 0 where chance
    may give as much.
    """
    rows, groups = len(values), len(np.unique(persons))
    away = values - values.mean()
    total = float(away @ away)
    if total <= 0 or rows <= groups:
        return 0.0
    sizes = np.bincount(persons)
    sums = np.bincount(persons, weights=away)
    inside = total - float(np.sum(np.square(sums) / np.maximum(sizes, 1)))
    found = 1 - (inside / (rows - groups)) / (total / (rows - 1))
    chance = np.sqrt(2 * (groups - 1) / ((rows - groups) * (rows + 1)))
    return found if found > _CHANCE * chance else 0.0

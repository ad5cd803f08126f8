"""The declared inputs of rules: the columns of a row, and the values they may hold.

Belongs here: names and types of columns, reading one value.
Does not belong here: thresholds, sentences, SQL.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from enum import StrEnum
from typing import Protocol

TUTOR_ID = "tutor_id"
MAIN_INPUT = "tutor_aggregates"
OPEN_ALERTS = "open_alerts"
"""The relation with one flag per alert of the profile: whether the tutor has it open."""


class Column(Protocol):
    """A declared column: its PostgreSQL type and its exposure column."""

    @property
    def type(self) -> str:
        """The PostgreSQL name of the type: `integer`, `double precision`, `text[]`."""

    @property
    def exposure(self) -> str | None:
        """The column of the same relation that counts the sessions behind this one, or None."""

    @property
    def values(self) -> tuple[str, ...]:
        """The words that a text column may hold; empty if it may hold any."""


class Scale(StrEnum):
    """What kind of value a column holds. Decides how it is compared and written."""

    COUNT = "count"
    NUMBER = "number"
    FLAG = "flag"
    TEXT = "text"
    SESSIONS = "sessions"
    OTHER = "other"


# Looking up an enum member costs more than comparing it, and millions of values are read.
_COUNT, _NUMBER, _FLAG, _TEXT, _SESSIONS, _ = Scale
NUMERIC = (_COUNT, _NUMBER)

_SCALES = {
    "smallint": Scale.COUNT,
    "integer": Scale.COUNT,
    "int": Scale.COUNT,
    "bigint": Scale.COUNT,
    "numeric": Scale.NUMBER,
    "double precision": Scale.NUMBER,
    "float8": Scale.NUMBER,
    "boolean": Scale.FLAG,
    "text": Scale.TEXT,
    "text[]": Scale.SESSIONS,
}


class BadValueError(Exception):
    """A value does not fit its column. The tutor is skipped; evaluation goes on with the others."""


class Inputs:
    """The columns of rows, by the name that rules use.

    `relations` maps relations with one row per tutor to their columns. A column of
    `tutor_aggregates` has its own name, a column of another relation is `relation.column`.
    """

    def __init__(self, relations: Mapping[str, Mapping[str, Column]]) -> None:
        self._columns: dict[str, Column] = {}
        self._exposures: dict[str, str | None] = {}
        for relation, columns in relations.items():
            prefix = "" if relation == MAIN_INPUT else f"{relation}."
            for name, column in columns.items():
                self._columns[prefix + name] = column
                self._exposures[prefix + name] = (
                    prefix + column.exposure if column.exposure else None
                )

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def scale(self, name: str) -> Scale:
        """Return what kind of value the column holds. Raises KeyError for an unknown name."""
        declared = self._columns[name].type.lower().split("(")[0].strip()
        return _SCALES.get(declared, Scale.OTHER)

    def exposure(self, name: str) -> str | None:
        """Return the column that counts the sessions behind this one, or None."""
        return self._exposures[name]

    def description(self, name: str) -> str:
        """Return the description of the column; empty if none is declared."""
        return str(getattr(self._columns.get(name), "description", ""))

    def values(self, name: str) -> tuple[str, ...]:
        """Return the words that the column may hold; empty if it may hold any."""
        return self._columns[name].values

    def nearest(self, name: str) -> str:
        """Return ` (did you mean …?)`, or an empty string if no name is near."""
        return nearest(name, self._columns)


@dataclass(frozen=True, slots=True)
class _OpenAlert:
    type: str = "boolean"
    exposure: str | None = None
    values: tuple[str, ...] = ()


def open_alerts(rule_ids: Iterable[str]) -> dict[str, Column]:
    """Return the columns of `OPEN_ALERTS` for the alerts of a profile."""
    return dict.fromkeys(rule_ids, _OpenAlert())


def nearest(name: str, names: Iterable[str]) -> str:
    """Return ` (did you mean …?)` with the nearest of the names, or an empty string."""
    found = get_close_matches(name, list(names), n=1)
    return f" (did you mean {found[0]}?)" if found else ""


def read(row: Mapping[str, object], name: str, scale: Scale) -> object:
    """Return the value of a column; None if it is NULL or not a finite number.

    Numbers are rounded to nine digits: the order in which floats are summed must not decide
    whether a threshold is met. Raises BadValueError for a missing column or a wrong type.
    """
    try:
        value = row[name]
    except KeyError:
        raise BadValueError(f"the row has no column {name}") from None
    if value is None or (type(value) is int and scale is _COUNT):  # nearly always
        return value
    if scale is _NUMBER and type(value) is float:
        return round(value, 9) if math.isfinite(value) else None
    if scale in NUMERIC:
        return _number(value, name, scale)
    if scale is _FLAG and not isinstance(value, bool):
        raise BadValueError(f"{name} is neither true nor false: {value!r}")
    if scale is _TEXT and not isinstance(value, str):
        raise BadValueError(f"{name} is not text: {value!r}")
    if scale is _SESSIONS and not (
        isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
    ):
        raise BadValueError(f"{name} is not a list of session ids: {value!r}")
    return value


def _number(value: object, name: str, scale: Scale) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise BadValueError(f"{name} is not a number: {value!r}")
    if not math.isfinite(value):
        return None
    if scale is _NUMBER:
        return round(float(value), 9)
    if value != int(value):
        raise BadValueError(f"{name} is not a whole number: {value!r}")
    return int(value)

"""Reads an event: which rows of the platform it changes, and what is wrong with it. Pure.

Belongs here: the values of fields. Does not belong here: whether a row may be written now
(applying.py), which of two events counts (merging.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse import platform
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.sources.events import aliases
from tutor_pipeline.sources.events.bodies import Body
from tutor_pipeline.sources.events.catalogue import (
    MAX_ID,
    Catalogue,
    EventType,
    Field,
    Target,
    load_types,
)
from tutor_pipeline.sources.events.merging import Version
from tutor_pipeline.sources.moments import moment_of
from tutor_pipeline.sources.problems import (
    MISSING,
    OUT_OF_RANGE,
    TWO_READINGS,
    UNKNOWN_VALUE,
    UNPARSABLE,
    BadValueError,
)

MALFORMED, NOTHING_SAID = "malformed_json", "nothing_said"
AHEAD = "timestamp_ahead"
MOST_AHEAD = timedelta(minutes=5)
"""An event of later than this waits: one of the year 2099 would win for ever."""

_INTEGER_MAX = 2**31 - 1
_INTEGER = re.compile(r"[+-]?\d{1,18}(\.0*)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
_TABLE = re.compile(
    r"^create table (?:if not exists )?{platform}\.(\w+) \((.+?)^\);", re.MULTILINE | re.DOTALL
)
_COLUMN = re.compile(
    r"^ +(\w+) (?:numeric\((\d+), (\d+)\)|[a-z ]+?)( not null| primary key)?,?$", re.MULTILINE
)


class UnknownTypeError(TutorPipelineError):
    """There is no such type of events."""


@dataclass(frozen=True, slots=True)
class Change:
    """What an event says of one row. `fields`: column → value; of `otherwise`, only what nothing
    else says counts.
    """

    table: str
    key: tuple[str, ...]
    fields: Mapping[str, Any]
    otherwise: Mapping[str, Any] = field(default_factory=dict)
    deletes: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What an event says. `reasons`: why it cannot count as it is; then it changes nothing.
    `due_at`: when it may be tried again. `ignored`: fields of its data that no type of events has.
    """

    version: Version | None
    changes: tuple[Change, ...]
    reasons: tuple[str, ...] = ()
    due_at: datetime | None = None
    ignored: tuple[str, ...] = ()


def event_time(body: Body) -> datetime:
    """Returns when the event happened. Raises BadValueError."""
    said = (body.value or {}).get("timestamp")
    if said is None or said == "":
        raise BadValueError(MISSING)
    if not isinstance(said, str):
        raise BadValueError(TWO_READINGS if isinstance(said, int | float) else UNPARSABLE)
    moment = datetime.fromisoformat(_moment(said))
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def read(body: Body, event_id: str, now: datetime, types: Catalogue | None = None) -> Reading:
    """Reads an event as of `now`. Raises UnknownTypeError."""
    types = types or load_types()
    if body.value is None:
        return Reading(None, (), (MALFORMED,))
    if not body.type:
        return Reading(None, (), ("type_missing",))
    parts = list(aliases.parts_of(body.type, body.data))
    reasons: list[str] = []
    changes: list[Change] = []
    rank = 0
    ignored = aliases.ignored(body.type, body.data)
    if not isinstance(body.value.get("data"), dict):
        reasons.append("data_missing")
    for name, data in parts:
        if name not in types.types:
            raise UnknownTypeError(body.type)
        rank = max(rank, types.types[name].rank)
        if "data_missing" not in reasons:
            found = _Data(types.types[name], data)
            changes += found.changes()
            reasons += found.reasons
            ignored += found.ignored
    if not reasons and not changes:
        reasons.append(NOTHING_SAID)
    ignored = sorted(set(ignored))
    try:
        at = event_time(body)
    except BadValueError as problem:
        return Reading(None, (), (f"timestamp_{problem}", *reasons), ignored=tuple(ignored))
    version = Version.of(at, rank, event_id)
    if reasons:
        return Reading(version, (), tuple(dict.fromkeys(reasons)), ignored=tuple(ignored))
    if at > now + MOST_AHEAD:
        return Reading(version, (), (AHEAD,), at - MOST_AHEAD, tuple(ignored))
    return Reading(version, tuple(changes), ignored=tuple(ignored))


def remarks_on(body: Body, event_id: str, now: datetime) -> dict[str, list[str]]:
    """Returns what its sender can be told of an event at once: why it cannot count as it is
    (`problems`), and which fields of it nobody reads (`ignored`); what there is of them.
    """
    try:
        found = read(body, event_id, now)
    except UnknownTypeError:
        return {"problems": ["type_unknown"]}
    told = {"problems": list(found.reasons), "ignored": list(found.ignored)}
    return {name: each for name, each in told.items() if each}


class _Data:
    """The data of one event, read field by field."""

    def __init__(self, kind: EventType, data: Mapping[str, Any]) -> None:
        self.kind = kind
        self.data = data
        self.reasons: list[str] = []
        set_by_type = {column for target in kind.targets for column in target.set}
        self.ignored = [name for name in data if name not in kind.fields.keys() | set_by_type]
        self._values: dict[str, Any] = {}
        for name, each in kind.fields.items():
            if name in data or each.is_key or each.is_required:
                try:
                    self._values[name] = value_of(each, data.get(name))
                except BadValueError as problem:
                    self.reasons.append(f"{name}_{problem}")

    def changes(self) -> Iterator[Change]:
        """Yields the rows that it is about."""
        for target in self.kind.targets:
            if self.reasons:
                return
            if (change := self._change(target)) is not None:
                yield change

    def _change(self, target: Target) -> Change | None:
        values = self._values
        fields = {
            column: values[name]
            for column, name in target.fields.items()
            if name in values and column not in target.key
        }
        names = [target.fields[column] for column in target.key]
        if target.optional:
            own = [each for each in names if not self.kind.fields[each].is_key]
            if not (fields if not own else all(values.get(each) is not None for each in own)):
                return None
        for column, value in fields.items():
            is_needed, largest = _of_ours().get((target.table, column), (False, math.inf))
            if value is None and is_needed:
                self.reasons.append(f"{target.fields[column]}_{MISSING}")
            elif isinstance(value, int | float) and abs(value) > largest:
                self.reasons.append(f"{target.fields[column]}_{OUT_OF_RANGE}")
        for column, value in target.set.items():
            # A program that sends whole rows sends this too; it must not say something else.
            if self.data.get(column, value) != value:
                self.reasons.append(f"{column}_{UNKNOWN_VALUE}")
            fields[column] = value
        key = tuple(str(values[name]) for name in names)
        otherwise = {
            column: values[name]
            for column, name in target.otherwise.items()
            if column not in fields and values.get(name) is not None
        }
        return Change(target.table, key, fields, otherwise, self.kind.deletes)


def value_of(of: Field, value: Any) -> Any:
    """Returns a value for PostgreSQL's JSON functions. Raises BadValueError."""
    # Nobody has an empty id: some programs write that for none.
    if value is None or (of.is_id and value == ""):
        if of.is_key or of.is_required:
            raise BadValueError(MISSING)
        return None
    read_value = _READERS[of.column.type](of, value)
    if of.is_id and not 0 < len(read_value) <= MAX_ID:
        raise BadValueError(OUT_OF_RANGE)
    return read_value


def _text(of: Field, value: Any) -> str:
    if of.is_id and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or _UNSTORABLE.search(value):
        raise BadValueError(UNPARSABLE)
    if of.accepted:
        for each in of.accepted:
            if each == value or each.casefold() == value.strip().casefold():
                return each
        raise BadValueError(UNKNOWN_VALUE)
    return value


def _timestamp(of: Field, value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise BadValueError(TWO_READINGS)
    if not isinstance(value, str):
        raise BadValueError(UNPARSABLE)
    return _moment(value)


def _moment(text: str) -> str:
    try:
        return moment_of(text.strip())
    except (ValueError, OverflowError):
        raise BadValueError(UNPARSABLE) from None


def _date(of: Field, value: Any) -> str:
    moment = _timestamp(of, value)
    # Of a moment, the day as it was written, wherever that was.
    day = value.strip()[:10]
    return date.fromisoformat(day if _DAY.fullmatch(day) else moment[:10]).isoformat()


def _boolean(of: Field, value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadValueError(UNPARSABLE)
    return value


def _integer(of: Field, value: Any) -> int:
    if of.is_whole:
        number = _bounded(of, _parsed(value))
        if not math.isfinite(number):
            raise BadValueError(OUT_OF_RANGE)
        whole = math.floor(number + 0.5)
    elif isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        whole = int(value.strip().split(".")[0])
    elif isinstance(value, float) and value.is_integer():
        whole = int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        whole = value
    else:
        raise BadValueError(UNPARSABLE)
    if abs(whole) > _INTEGER_MAX:
        raise BadValueError(OUT_OF_RANGE)
    return int(_bounded(of, whole))


def _number(of: Field, value: Any) -> float | int:
    number = _bounded(of, _parsed(value))
    if not math.isfinite(number):
        raise BadValueError(OUT_OF_RANGE)
    return math.floor(number + 0.5) if of.is_whole else number


@cache
def _of_ours() -> Mapping[tuple[str, str], tuple[bool, float]]:
    """Returns (table, column) → what the tables of our platform take beyond the contract: whether
    each row must have a value, and the largest number.
    """
    made = "\n".join(
        statement(platform.__file__, name) for name in ("platform", "session_students")
    )
    found = {}
    for table, columns in _TABLE.findall(made):
        for column, digits, places, needed in _COLUMN.findall(columns):
            largest = 10 ** (int(digits) - int(places)) - 10 ** -int(places) if digits else math.inf
            found[table, column] = (bool(needed), largest)
    return found


def _parsed(value: Any) -> float | int:
    if isinstance(value, bool):
        raise BadValueError(UNPARSABLE)
    if isinstance(value, int | float):
        if abs(value) > 1e300:
            raise BadValueError(OUT_OF_RANGE)
        return value
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value)
    raise BadValueError(UNPARSABLE)


def _bounded(of: Field, number: float | int) -> float | int:
    low, high = of.column.minimum, of.column.maximum
    if (low is not None and number < low) or (high is not None and number > high):
        raise BadValueError(OUT_OF_RANGE)
    return number


def _json(of: Field, value: Any) -> Any:
    if _has_unstorable(value):
        raise BadValueError(UNPARSABLE)
    return value


def _has_unstorable(value: Any) -> bool:
    if isinstance(value, str):
        return _UNSTORABLE.search(value) is not None
    if isinstance(value, dict):
        return any(map(_has_unstorable, value.keys())) or any(map(_has_unstorable, value.values()))
    return isinstance(value, list) and any(map(_has_unstorable, value))


_READERS: Mapping[str, Callable[[Field, Any], Any]] = {
    "text": _text,
    "timestamptz": _timestamp,
    "date": _date,
    "integer": _integer,
    "double precision": _number,
    "numeric": _number,
    "boolean": _boolean,
    "jsonb": _json,
}

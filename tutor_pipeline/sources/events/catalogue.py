"""The types of events as types, read from `types.yml` and the platform contract.

Belongs here: reading and validating that file, and the JSON schema of each type.
Does not belong here: values of events (reading.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tutor_pipeline.core.yaml_models import YamlModel, read_yaml
from tutor_pipeline.sources.contract import Column, Table, load_contract

_FILE = Path(__file__).with_name("types.yml")
MAX_ID = 255
"""Characters of an id: ids are parts of keys, which PostgreSQL indexes."""

JSON_TYPES: Mapping[str, tuple[str, ...]] = {
    "text": ("string",),
    "timestamptz": ("string",),
    "date": ("string",),
    # Decimals are often written as texts, so that nothing is lost on the way.
    "integer": ("integer", "string"),
    "double precision": ("number", "string"),
    "numeric": ("number", "string"),
    "boolean": ("boolean",),
    "jsonb": ("object", "array", "string", "number", "boolean"),
}
"""What a column's type may be in JSON, beside null; the first is the usual one."""
_FORMATS = {"timestamptz": "date-time"}


class _Target(YamlModel):
    table: str
    key: tuple[str, ...]
    names: Mapping[str, str] = {}
    set: Mapping[str, str | bool] = {}
    otherwise: Mapping[str, str] = {}
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    optional: bool = False


class _Type(YamlModel):
    says: str
    rank: int = 0
    deletes: bool = False
    required: tuple[str, ...] = ()
    accepted: Mapping[str, tuple[str, ...]] = {}
    example: tuple[str, ...] = ()
    targets: tuple[_Target, ...]


class _Types(YamlModel):
    whole: tuple[str, ...]
    types: Mapping[str, _Type]
    tables: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an event's data. `column` is that of the contract; `is_key`: part of a row's key,
    which must have a value. `accepted`: what it may be, empty = anything of its type.
    """

    name: str
    column: Column
    is_key: bool
    is_required: bool
    is_whole: bool
    accepted: tuple[str, ...]

    def schema(self) -> dict[str, Any]:
        """Returns its JSON schema."""
        kinds = list(JSON_TYPES["double precision" if self.is_whole else self.column.type])
        if self.is_id:  # it may be a number on the platform
            kinds.append("integer")
        schema: dict[str, Any] = {"description": self.column.description}
        if self.is_key or self.is_required:
            schema["type"] = kinds[0] if len(kinds) == 1 else kinds
        else:
            schema["type"] = [*kinds, "null"]
        if self.is_id:
            is_needed = self.is_key or self.is_required
            schema |= {"minLength": int(is_needed), "maxLength": MAX_ID}
        if self.column.type in _FORMATS:
            schema["format"] = _FORMATS[self.column.type]
        if self.accepted:
            schema["enum"] = [*self.accepted, *([None] if "null" in schema["type"] else [])]
            del schema["type"]
        for bound in ("minimum", "maximum"):
            if (value := getattr(self.column, bound)) is not None:
                schema[bound] = value
        return schema

    @property
    def is_id(self) -> bool:
        """Whether it names something."""
        return self.column.type == "text" and (
            self.is_key or self.column.name.endswith("_id")
        ) and not self.accepted  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """Rows of one table that the data of an event gives. `fields`: column → field of the data."""

    table: str
    key: tuple[str, ...]
    fields: Mapping[str, str]
    set: Mapping[str, str | bool]
    otherwise: Mapping[str, str]
    optional: bool


@dataclass(frozen=True, slots=True)
class EventType:
    """A type of events. `fields` are all fields of its data, by name; `usual` those that one of it
    has.
    """

    name: str
    says: str
    rank: int
    deletes: bool
    targets: tuple[Target, ...]
    fields: Mapping[str, Field]
    usual: tuple[str, ...]

    def schema(self) -> dict[str, Any]:
        """Returns the JSON schema of its data."""
        needed = [each.name for each in self.fields.values() if each.is_key or each.is_required]
        return {
            "type": "object",
            "description": self.says,
            "required": needed,
            "properties": {name: each.schema() for name, each in self.fields.items()},
            "additionalProperties": True,
        }


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All types, by name, and the keys of the tables that they write."""

    types: Mapping[str, EventType]
    keys: Mapping[str, tuple[str, ...]]


@cache
def load_types(path: Path = _FILE) -> Catalogue:
    """Returns the types of a file, by default ours.

    Raises TutorPipelineError: the file cannot be read, or says what the contract does not have.
    """
    read = read_yaml(path, _Types, "types of events")
    types = {name: _event_type(name, each, read.whole) for name, each in read.types.items()}
    for table, key in read.tables.items():
        what = table.replace("_", " ")
        for verb, says, deletes in (
            ("upserted", f"A row of {what} was made or changed.", False),
            ("deleted", f"A row of {what} was removed.", True),
        ):
            target = _Target(table=table, key=key, only=key if deletes else ())
            made = _Type(says=says, deletes=deletes, rank=9 if deletes else 0, targets=(target,))
            types[f"{table}.{verb}"] = _event_type(f"{table}.{verb}", made, read.whole)
    keys = {target.table: target.key for each in types.values() for target in each.targets}
    return Catalogue(types, keys)


def _event_type(name: str, made: _Type, whole: Iterable[str]) -> EventType:
    contract = load_contract()
    fields: dict[str, Field] = {}
    targets = []
    for target in made.targets:
        columns = _columns(contract.table(target.table), target)
        named = {column.name: target.names.get(column.name, column.name) for column in columns}
        for column in columns:
            field = named[column.name]
            if field not in fields:
                accepted = made.accepted.get(field, column.accepted)
                is_key = column.name in target.key and not target.optional
                # The key of an optional row is one of the data if it is that of all of them.
                is_key = is_key or (target.optional and column.name == "session_id")
                fields[field] = Field(
                    field,
                    column,
                    is_key,
                    field in made.required,
                    column.name in whole,
                    accepted,
                )
        targets.append(
            Target(target.table, target.key, named, target.set, target.otherwise, target.optional)
        )
    usual = made.example or tuple(fields)
    return EventType(name, made.says, made.rank, made.deletes, tuple(targets), fields, usual)


def _columns(table: Table, target: _Target) -> list[Column]:
    """Returns the columns of which the data may have fields, those of the key first."""
    wanted = [
        column
        for column in table.columns
        if column.name not in target.without and (not target.only or column.name in target.only)
    ]
    return sorted(wanted, key=lambda column: column.name not in target.key)

"""The CSV export's format as types, read from `csv_format.yml`.

Belongs here: reading and checking that file. Does not belong here: values of rows, SQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_FORMAT = Path(__file__).with_name("format.yml")


@dataclass(frozen=True, slots=True)
class CsvColumn:
    """A column of a file. Bounds are inclusive and in the file's units; None = no bound."""

    name: str
    type: str
    required: bool = False
    accepted: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    max_length: int | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A platform table that a good row of a file becomes a row of.

    `columns` maps the table's columns to SQL over the file's columns.
    """

    table: str
    key: tuple[str, ...]
    columns: Mapping[str, str]
    each: Mapping[str, str] = field(default_factory=dict)
    where: str | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class CsvFile:
    """One file of the export. `references` maps a column to (table, column) of the platform."""

    name: str
    required: bool
    key: tuple[str, ...]
    columns: tuple[CsvColumn, ...]
    references: Mapping[str, tuple[str, str]]
    rules: Mapping[str, str]
    targets: tuple[Target, ...]

    @property
    def stem(self) -> str:
        """The file's name without `.csv`."""
        return self.name.removesuffix(".csv")


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """All files in the order in which they are read, and those that are never read, with why."""

    files: tuple[CsvFile, ...]
    never_read: Mapping[str, str]


@cache
def csv_format() -> CsvFormat:
    """The format that the import reads."""
    document = yaml.safe_load(_FORMAT.read_text(encoding="utf-8"))
    return CsvFormat(
        files=tuple(_file(name, body) for name, body in document["files"].items()),
        never_read=document["never_read"],
    )


def _file(name: str, body: dict[str, Any]) -> CsvFile:
    references = {
        column: tuple(target.split(".")) for column, target in body.get("references", {}).items()
    }
    return CsvFile(
        name=name,
        required=body.get("required", False),
        key=tuple(body["key"]),
        columns=tuple(
            CsvColumn(column, **{**options, "accepted": tuple(options.get("accepted", ()))})
            for column, options in body["columns"].items()
        ),
        references=references,
        rules=body.get("rules", {}),
        targets=tuple(_target(target) for target in body["targets"]),
    )


def _target(body: dict[str, Any]) -> Target:
    same = {column: column for column in body.get("same", ())}
    return Target(
        table=body["table"],
        key=tuple(body["key"]),
        columns={**same, **body.get("columns", {})},
        each=body.get("each", {}),
        where=body.get("where"),
        owner=body.get("owner"),
    )

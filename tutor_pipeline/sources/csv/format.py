"""The format of the CSV export as types, read from `format.yml`.

Belongs here: reading and validating that file. Does not belong here: values of rows, SQL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import field_validator, model_validator

from tutor_pipeline.core.yaml_models import YamlModel, read_yaml

_WORD = re.compile(r"\w+")
_FORMAT = Path(__file__).with_name("format.yml")


class CsvColumn(YamlModel):
    """A column of a file. Bounds are inclusive and in the file's units; None = no bound."""

    name: str
    type: Literal[
        "id",
        "text",
        "integer",
        "minutes",
        "number",
        "percent",
        "share",
        "boolean",
        "timestamp",
        "list",
        "json",
    ]
    required: bool = False
    accepted: tuple[str, ...] = ()
    minimum: int | float | None = None
    maximum: int | float | None = None
    max_length: int | None = None


class Target(YamlModel):
    """A platform table to which a good row of a file gives a row.

    `columns` maps the table's columns to SQL over the file's columns.
    """

    table: str
    key: tuple[str, ...]
    columns: Mapping[str, str]
    each: Mapping[str, str] = {}
    where: str | None = None
    owner: str | None = None

    def reads(self) -> frozenset[str]:
        """Returns the words of its SQL, among them the columns of the file that it reads."""
        texts = (*self.columns.values(), *self.each.values(), self.where or "")
        return frozenset(word for text in texts for word in words_of(text))

    @model_validator(mode="before")
    @classmethod
    def _add_columns_of_same_name(cls, body: dict[str, Any]) -> dict[str, Any]:
        same = {column: column for column in body.get("same", ())}
        others = {key: value for key, value in body.items() if key != "same"}
        return {**others, "columns": {**same, **body.get("columns", {})}}


class CsvFile(YamlModel):
    """One file of the export. `references` maps a column to (table, column) of the platform."""

    name: str
    required: bool = False
    key: tuple[str, ...]
    columns: tuple[CsvColumn, ...]
    references: Mapping[str, tuple[str, str]] = {}
    rules: Mapping[str, str] = {}
    targets: tuple[Target, ...]

    @field_validator("columns", mode="before")
    @classmethod
    def _named_columns(cls, columns: Any) -> Any:
        return _named(columns)

    @field_validator("references", mode="before")
    @classmethod
    def _split_references(cls, references: dict[str, str]) -> dict[str, list[str]]:
        return {column: target.split(".") for column, target in references.items()}

    @property
    def stem(self) -> str:
        """The file's name without `.csv`."""
        return self.name.removesuffix(".csv")

    def writes(self, table: str) -> bool:
        """Whether rows of the file become rows of this table of the platform."""
        return any(target.table == table for target in self.targets)


class Words(YamlModel):
    """Texts that mean a value in any column, in lower case."""

    missing: frozenset[str]
    true: frozenset[str]
    false: frozenset[str]
    total: tuple[str, ...]


class Accepted(YamlModel):
    """What to write instead of a bad value: by type of column, and by reason of a whole row."""

    types: Mapping[str, str]
    two_readings: Mapping[str, str]
    reasons: Mapping[str, str]


class CsvFormat(YamlModel):
    """All files in the order in which they are read, and the files that are not read, with why."""

    words: Words
    accepted: Accepted
    files: tuple[CsvFile, ...]
    never_read: Mapping[str, str]

    @field_validator("files", mode="before")
    @classmethod
    def _named_files(cls, files: Any) -> Any:
        return _named(files)


def words_of(expression: str) -> frozenset[str]:
    """Returns the words of SQL; those that are columns of a file are what it reads."""
    return frozenset(_WORD.findall(expression))


def _named(entries: Any) -> Any:
    """Returns a mapping of bodies by name as a list of bodies with their names."""
    if not isinstance(entries, dict):
        return entries
    return [{"name": name, **body} for name, body in entries.items()]


@cache
def csv_format() -> CsvFormat:
    """Returns the format that the import reads."""
    return read_yaml(_FORMAT, CsvFormat, "CSV format")

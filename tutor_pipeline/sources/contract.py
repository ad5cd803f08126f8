"""The platform contract: which tables and columns the pipeline may read.

It is stated once, in dbt's sources file, and parsed here for Python. Belongs here: the contract as
types. Does not belong here: what a given database really has (`check.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tutor_pipeline.core.errors import TutorPipelineError

SOURCE = "platform"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the contract.

    `type` is what staging casts to; `required`: its table must have it when the table is there;
    `costs`: what is lost without it, in words; bounds are inclusive, None = none.
    """

    name: str
    type: str
    required: bool
    accepted: tuple[str, ...]
    minimum: float | None
    maximum: float | None
    costs: str
    description: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the contract; `required`: nothing works without it."""

    name: str
    required: bool
    costs: str
    description: str
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column:
        """The column of that name. Raises KeyError."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Contract:
    """All tables of the contract, in the order of the sources file."""

    tables: tuple[Table, ...]

    def table(self, name: str) -> Table:
        """The table of that name. Raises KeyError."""
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(name)


def load_contract(path: Path) -> Contract:
    """The contract in a dbt sources file.

    Raises TutorPipelineError when the file cannot be read or is no such contract.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        (source,) = (s for s in document["sources"] if s["name"] == SOURCE)
        return Contract(tuple(_table(table) for table in source["tables"]))
    except OSError as error:
        raise TutorPipelineError(
            f"cannot read the platform contract {path}: {error.strerror}"
        ) from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise TutorPipelineError(f"{path} is no platform contract: {error!r}") from error


def _table(body: Mapping[str, Any]) -> Table:
    meta = body["config"]["meta"]
    return Table(
        name=body["name"],
        required=meta["required"],
        costs=meta["costs"],
        description=body["description"],
        columns=tuple(_column(column) for column in body["columns"]),
    )


def _column(body: Mapping[str, Any]) -> Column:
    meta = body["config"]["meta"]
    return Column(
        name=body["name"],
        type=body["data_type"],
        required=meta["required"],
        accepted=tuple(meta.get("accepted", ())),
        minimum=meta.get("minimum"),
        maximum=meta.get("maximum"),
        costs=meta["costs"],
        description=body["description"],
    )

"""The columns of the metric tables, read from the YAML beside the models.

Belongs here: names, types and exposure columns. Does not belong here: the definition of a metric.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.paths import DBT_PROJECT_DIR

MODELS = DBT_PROJECT_DIR / "models"
MARTS = MODELS / "marts"
CONTRACT = MODELS / "staging" / "_platform__sources.yml"
"""The platform contract: the tables and columns that are read, their types, what is required."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a metric table.

    `exposure` is the column that counts what the metric is based on; None for a column that is not
    a metric: keys, moments, evidence arrays. `values` are the words that a text column may hold, if
    there are few. Only features have `unit` and `group`.
    """

    type: str
    description: str
    exposure: str | None
    values: tuple[str, ...] = ()
    unit: str | None = None
    group: str | None = None


class _Meta(BaseModel):
    exposure: str | None = None
    unit: str | None = None
    group: str | None = None


class _Config(BaseModel):
    meta: _Meta = _Meta()


class _Column(BaseModel):
    name: str
    data_type: str
    description: str
    config: _Config = _Config()

    def column(self) -> Column:
        return Column(self.data_type, self.description, **dict(self.config.meta))


class _Model(BaseModel):
    name: str
    columns: list[_Column]


class _File(BaseModel):
    """What is read of a dbt properties file; dbt checks the rest."""

    models: list[_Model]


@cache
def metric_columns() -> dict[str, dict[str, Column]]:
    """Return {model: {column: Column}} of every mart, in the order of the columns.

    Raises TutorPipelineError if a file is missing or wrong.
    """
    columns: dict[str, dict[str, Column]] = {}
    for path in sorted(MARTS.glob("_*__models.yml")):
        columns |= {
            model.name: {column.name: column.column() for column in model.columns}
            for model in _read(path).models
        }
    if "tutor_aggregates" not in columns:
        raise TutorPipelineError(
            f"{MARTS} does not describe tutor_aggregates\nIs this a whole checkout of the project?"
        )
    return columns


def _read(path: Path) -> _File:
    document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506
    try:
        return _File.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise TutorPipelineError(
            f"{path}: {_place(first['loc'], document)}: {first['msg']}"
        ) from error


def _place(loc: tuple[int | str, ...], document: Any) -> str:
    """Return where a value is, with the names of model and column instead of their numbers."""
    steps = []
    found = document
    for step in loc:
        try:
            found = found[step]
        except (KeyError, IndexError, TypeError):
            found = None
        name = found.get("name") if isinstance(step, int) and isinstance(found, dict) else None
        steps.append(str(name or step))
    return ".".join(steps)


# The parser written in C, where PyYAML was built with it: 10 times faster on this file.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

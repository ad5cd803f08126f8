"""The columns of the metric tables, read from the YAML beside the models.

Belongs here: names, types and exposure columns. Does not belong here: the definition of a metric.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from pydantic import BaseModel

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.paths import DBT_PROJECT_DIR
from tutor_pipeline.core.yaml_models import read_yaml
from tutor_pipeline.metrics.entries import WRITTEN

MARTS = DBT_PROJECT_DIR / "models" / "marts"
TUTOR_METRICS = DBT_PROJECT_DIR / WRITTEN
_NO_MART = "int_"


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
    for path in [*sorted(MARTS.glob("_*__models.yml")), TUTOR_METRICS]:
        columns |= {
            model.name: {column.name: column.column() for column in model.columns}
            for model in read_yaml(path, _File, "file of models").models
            if not model.name.startswith(_NO_MART)
        }
    if "tutor_aggregates" not in columns:
        raise TutorPipelineError(
            f"{MARTS} does not describe tutor_aggregates\nIs this a whole checkout of the project?"
        )
    return columns

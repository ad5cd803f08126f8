"""Writes the columns of the tutors' tables, with their documentation, from the entries of metrics.

    python -m tutor_pipeline.metrics.entries

reads dbt_project/tutor_metrics.yml, which says what an entry may hold, and writes
dbt_project/models/_tutor_metrics__models.yml.

Belongs here: what follows from an entry. Does not belong here: SQL.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, model_validator

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.formatting import count
from tutor_pipeline.core.paths import DBT_PROJECT_DIR
from tutor_pipeline.core.yaml_models import YamlModel, read_yaml

Described = tuple[dict[str, Any], dict[str, Any]]
"""A column as dbt has it, and how it is computed: an entry of one window."""

ENTRIES = "tutor_metrics.yml"
WRITTEN = "models/_tutor_metrics__models.yml"

_HEAD = f"""\
# Written from {ENTRIES} by: python -m tutor_pipeline.metrics.entries
"""
_MACRO = "tutor_metrics"
_DESCRIPTION = (
    "How each column of int_tutor_days and of the wide row is computed, as {model: {column:"
    " entry}}; of a column that is written by hand the entry is empty."
)
_IDS = "text[]"


class Measure(YamlModel):
    """What a tutor's day adds up to."""

    name: str
    description: str
    count: str | None = None
    sum: str | None = None
    where: str | None = None
    of: Literal["sessions", "students"] = "sessions"
    expr: str | None = None
    type: str | None = None
    windows: tuple[str, ...] = ()

    def columns(self) -> Iterator[Described]:
        """Yield the columns of a day."""
        of = {} if self.of == "sessions" else {"of": self.of}
        if self.sum is None:
            how: dict[str, Any] = self.model_dump(include={"count", "expr"}, exclude_none=True) | of
            if self.windows:
                how["windows"] = list(self.windows)
            yield _column(self.name, self.type or "integer", self.description, **how)
            return
        where = "is_completed" if self.where is None else f"is_completed and {self.where}"
        counted = f"Completed sessions with a value of: {self.description}."
        yield _column(f"{self.name}_count", "integer", counted, known=self.sum, where=where, **of)
        summed = f"Sum in millionths of: {self.description}."
        yield _column(f"{self.name}_sum", "bigint", summed, sum=self.sum, where=where, **of)


class Metric(YamlModel):
    """What is known of a tutor: one column for each of its windows."""

    name: str
    description: str
    window: str | None = None
    windows: tuple[str, ...] = ()
    count: str | None = None
    observed: str | None = None
    unless: str | None = None
    average: str | None = None
    rate: tuple[str, str] | None = None
    change: str | None = None
    since: str | None = None
    at_least: str | None = None
    expr: str | None = None
    evidence: str | None = None
    n: str | None = None
    exposure: str | None = None
    type: str | None = None

    def columns(self) -> Iterator[Described]:
        """Yield the columns of the wide row."""
        for window in self.windows or (self.window,):
            name = f"{self.name}_{window}" if self.windows else self.name
            days = {"days": _in_words(window), "window": window}
            exposure = None
            if self._type() != _IDS:
                exposure = (self.exposure or f"{name}_n").format(**days)
            how = self.model_dump(
                include={
                    *("count", "observed", "unless", "average", "rate", "change", "since"),
                    *("at_least", "expr", "evidence"),
                },
                exclude_none=True,
            )
            how = {key: list(value) if key == "rate" else value for key, value in how.items()}
            if window:
                how["window"] = window
            described = self.description.format(**days)
            yield _column(name, self._type(), described, exposure=exposure, **how)
            if self.n is not None:
                of = {"count": self._rests_on(), "window": window}
                yield _column(
                    f"{name}_n", "integer", self.n.format(**days), exposure=exposure, **of
                )

    def _type(self) -> str:
        if self.type:
            return self.type
        if self.evidence:
            return _IDS
        return "integer" if self.count else "double precision"

    def _rests_on(self) -> str | None:
        """The measure that counts what the metric rests on."""
        if self.average:
            return f"{self.average}_count"
        return self.rate[1] if self.rate else self.observed


class Table(BaseModel, extra="allow"):
    """A model, as dbt has it, with the columns that no entry gives."""

    name: str
    columns: list[dict[str, Any]]


class Entries(YamlModel):
    """The file of entries."""

    tables: list[Table]
    measures: list[Measure]
    metrics: list[Metric] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_sums(self) -> Self:
        sums = {each.name for each in self.measures if each.sum is not None}
        millionths = {f"{name}_sum" for name in sums}
        for metric in self.metrics:
            for name in {metric.average, metric.change} - {None} - sums:
                near = get_close_matches(str(name), sums, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ValueError(f"{metric.name}: no measure has a `sum` {name}{hint}")
            if metric.count in millionths:
                raise ValueError(
                    f"{metric.name}: {metric.count} is in millionths, a `count` is not; a total is"
                    f" `expr: {metric.count}_30d / 1000000.0` of type double precision"
                )
        return self


def _in_words(window: str | None) -> str:
    """The length of a window (`30d`: 30 days); a window without an end has none (`all`)."""
    days = (window or "").removesuffix("d")
    return count(int(days), "day") if days.isdigit() else ""


def _column(
    name: str, data_type: str, description: str, exposure: str | None = None, **how: Any
) -> Described:
    column: dict[str, Any] = {"name": name, "data_type": data_type, "description": description}
    if exposure:
        column["config"] = {"meta": {"exposure": exposure}}
    return column, how


def _read(project: Path) -> Entries:
    return read_yaml(project / ENTRIES, Entries, "file of metrics")


def definition_of_days(project: Path = DBT_PROJECT_DIR) -> str:
    """Return how each measure is computed, as text: without descriptions, and without metrics."""
    measures = [
        measure.model_dump(exclude={"description", "windows"})
        for measure in _read(project).measures
    ]
    return json.dumps(measures)


def _check_unique(names: Sequence[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise TutorPipelineError(f"{ENTRIES} gives a column twice: {', '.join(twice)}")


def properties(project: Path = DBT_PROJECT_DIR) -> dict[str, Any]:
    """Return the content of the file that is written.

    Raises TutorPipelineError if the file of entries is missing or wrong.
    """
    entries = _read(project)
    measures = [column for entry in entries.measures for column in entry.columns()]
    metrics = [column for entry in entries.metrics for column in entry.columns()]
    _check_unique([column["name"] for column, _ in measures + metrics])
    described = {
        "int_tutor_days": measures,
        "tutor_aggregates": metrics,
        "tutor_aggregates_history": [each for each in metrics if each[0]["data_type"] != _IDS],
    }
    # A column of two tables is one object: the YAML of the second points to that of the first.
    tables = [
        {
            **table.model_dump(),
            "columns": [*table.columns, *(column for column, _ in described[table.name])],
        }
        for table in entries.tables
    ]
    computed: dict[str, dict[str, dict[str, Any]]] = {
        table.name: {column["name"]: {} for column in table.columns}
        | {column["name"]: how for column, how in described[table.name]}
        for table in entries.tables
        if table.name != "tutor_aggregates_history"
    }
    return {
        "version": 2,
        "models": tables,
        "macros": [
            {"name": _MACRO, "description": _DESCRIPTION, "config": {"meta": computed}},
        ],
    }


class _Dumper(yaml.SafeDumper):
    """Anchors are names of columns."""

    def generate_anchor(self, node: yaml.Node) -> str:
        return str(node.value[0][1].value)


def text(project: Path = DBT_PROJECT_DIR) -> str:
    """Return the text of the file that is written."""
    return _HEAD + yaml.dump(
        properties(project), Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True
    )


def write(project: Path = DBT_PROJECT_DIR) -> None:
    """Write the file."""
    (project / WRITTEN).write_text(text(project), encoding="utf-8")


if __name__ == "__main__":
    write()
    sys.stdout.write(f"{WRITTEN} is written\n")

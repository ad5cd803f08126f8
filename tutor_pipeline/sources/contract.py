"""The platform contract: the tables and columns that the pipeline may read.

dbt's sources file states it; this module parses that file for Python.
Belongs here: the contract as types.
Does not belong here: what a given database has (`platform_check`).
"""

from __future__ import annotations

from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import AliasPath, ConfigDict, Field, model_validator

from tutor_pipeline.core.paths import DBT_PROJECT_DIR
from tutor_pipeline.core.yaml_models import YamlModel, read_yaml

CONTRACT = DBT_PROJECT_DIR / "models" / "staging" / "_platform__sources.yml"
"""The file that states it."""

SOURCE = "platform"


def _meta(name: str, **options: Any) -> Any:
    return Field(validation_alias=AliasPath("config", "meta", name), **options)


class _Described(YamlModel):
    # dbt's files have more keys than the contract.
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore")

    name: str
    description: str


class Column(_Described):
    """A column of the contract.

    `type`: the type that staging casts to. `required`: its table must have the column. `costs`:
    what the pipeline loses without it. Bounds are inclusive; None = no bound.
    """

    type: str = Field(validation_alias="data_type")
    required: bool = _meta("required")
    accepted: tuple[str, ...] = _meta("accepted", default=())
    minimum: int | float | None = _meta("minimum", default=None)
    maximum: int | float | None = _meta("maximum", default=None)
    costs: str = _meta("costs")


class Table(_Described):
    """A table of the contract.

    `required`: the pipeline does not work without it. `costs`: what it loses without it; None: who
    lacks the table lacks nothing.
    """

    required: bool = _meta("required")
    costs: str | None = _meta("costs", default=None)
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column:
        """Returns the column of that name. Raises KeyError."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


class _Source(YamlModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore")

    name: str
    tables: tuple[Table, ...] = ()


class Contract(YamlModel):
    """All tables of the contract, in the order of the sources file."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore")

    sources: tuple[_Source, ...]

    @model_validator(mode="after")
    def _one_platform(self) -> Self:
        if [source.name for source in self.sources].count(SOURCE) != 1:
            raise ValueError(f"it must have one source named {SOURCE}")
        return self

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """The tables of the platform."""
        return next(source.tables for source in self.sources if source.name == SOURCE)

    def table(self, name: str) -> Table:
        """Returns the table of that name. Raises KeyError."""
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(name)


@cache
def load_contract(path: Path = CONTRACT) -> Contract:
    """Returns the contract in a dbt sources file, by default ours.

    Raises TutorPipelineError when the file cannot be read or is no such contract.
    """
    return read_yaml(path, Contract, "platform contract")

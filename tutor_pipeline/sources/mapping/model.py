"""The file of a mapping (`TUTOR_SOURCE_MAP`), as types.

What the file does not list is not read: a mapping never guesses. A table without `columns` has the
contract's names.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from tutor_pipeline.core.yaml_models import YamlModel
from tutor_pipeline.sources.csv.readings import Dates, Decimal
from tutor_pipeline.sources.mapping import statements


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name} is no time zone; write it as Europe/Berlin or UTC") from error
    return name


def _expression(text: str) -> str:
    statements.parse_expression(text)
    return text


def _query(text: str) -> str:
    statements.parse_query(text)
    return text


def _column(entry: Any) -> Any:
    return {"column": entry} if isinstance(entry, str) else entry


Timezone = Annotated[str, AfterValidator(_timezone)]
Expression = Annotated[str, AfterValidator(_expression)]
Query = Annotated[str, AfterValidator(_query)]


class ValuesEntry(YamlModel):
    """What a column's values mean.

    `timezone`: of timestamps without a zone. `values`: the platform's value → the contract's; with
    `others: null` its other values are none, else they are errors. `scale`: the smallest and the
    largest value; they become the contract's.
    """

    timezone: Timezone | None = None
    values: dict[str, str] | None = Field(None, min_length=1)
    others: Literal["null", "~", ""] | None = None
    scale: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _one_meaning(self) -> Self:
        if self.values is not None and self.scale is not None:
            raise ValueError("say either values or scale")
        if self.others is not None and self.values is None:
            raise ValueError("others is of values: list some")
        if self.scale is not None and self.scale[0] == self.scale[1]:
            raise ValueError("scale needs two different numbers, as [0, 10]")
        return self


class ColumnEntry(ValuesEntry):
    """Where the values of a column of the contract come from. A text alone is a `column`.

    `column`: a column of the relation, written as the database has it. `expression`: a scalar
    expression over the relation.
    """

    column: str | None = None
    expression: Expression | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.column is None) == (self.expression is None):
            raise ValueError("say either column or expression")
        return self


class TableEntry(YamlModel):
    """Where the rows of a table of the contract come from.

    `relation`: a table or view, of the platform's schema or as schema.table; without it and a
    `query`, the one of the contract's name. `where`: a condition on its rows. `query`: one SELECT
    instead. `unique`: the column of the contract of which a query
    gives each value once, and never NULL.
    """

    relation: str | None = Field(None, min_length=1)
    where: Expression | None = None
    query: Query | None = None
    unique: str | None = None
    columns: dict[str, Annotated[ColumnEntry, BeforeValidator(_column)]] | None = Field(
        None, min_length=1
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.relation is not None and self.query is not None:
            raise ValueError("say either relation or query")
        if self.unique is not None and self.query is None:
            raise ValueError("unique is of a query; of a table its indexes say it")
        return self


class FileColumnEntry(ValuesEntry):
    """What a file calls a column of the format, and what its texts mean. A text alone is a
    `column`; without one it is called as in the format.

    `dates`: how moments are written. `decimal`: the mark of decimals.
    """

    column: str | None = None
    dates: Dates | None = None
    decimal: Decimal | None = None


class FileEntry(YamlModel):
    """How an export has a file of the format.

    `file`: what it is called, also as a pattern (`lessons-*.csv`). `dates`, `decimal`, `timezone`:
    of all its columns, where they say no other. `columns`: those that are called otherwise, or
    whose texts mean something else than in the format.
    """

    file: str | None = Field(None, min_length=1)
    dates: Dates | None = None
    decimal: Decimal | None = None
    timezone: Timezone | None = None
    columns: dict[str, Annotated[FileColumnEntry, BeforeValidator(_column)]] = Field(
        default_factory=dict
    )


class SourceMap(YamlModel):
    """A mapping. `timezone`: of all timestamps without a zone, where their column says no other.
    `tables`: of a database. `files`: of a CSV export.
    """

    timezone: Timezone | None = None
    tables: dict[str, TableEntry] = Field(default_factory=dict)
    files: dict[str, FileEntry] = Field(default_factory=dict)

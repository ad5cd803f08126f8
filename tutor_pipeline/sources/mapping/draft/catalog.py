"""The platform's columns, and a sample of their values. Only reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import psycopg
from psycopg import sql

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.statements import statement

FEW = 30
"""A column with more values than this in the sample is no enum."""
NAIVE = "timestamp without time zone"
TIME = "time without time zone"
INTEGERS = {"smallint", "integer", "bigint"}
FRACTIONS = {"real", "double precision", "numeric"}
MOMENTS = {"date", NAIVE, "timestamp with time zone"}
TEXTS = {"text", "character varying", "character", "citext"}
FLAGS = {"boolean", "smallint"}
_SAMPLE = 50_000
_TYPES = {
    "integer": INTEGERS | FRACTIONS,
    "double precision": INTEGERS | FRACTIONS,
    "numeric": INTEGERS | FRACTIONS,
    "boolean": FLAGS,
    "timestamptz": MOMENTS | {"bigint"},
    "date": MOMENTS,
}


@dataclass(frozen=True, slots=True)
class Found:
    """A column of the platform. `points_to`: the table that it is a foreign key of. `labels`: the
    values of its enum.
    """

    name: str
    type: str
    points_to: str | None
    labels: tuple[str, ...]

    def may_be(self, wanted: str, *, is_id: bool = False) -> bool:
        """Whether its type can hold what the contract calls by a type of PostgreSQL."""
        if is_id:
            return self.type in {*INTEGERS, *TEXTS, "uuid"}
        if wanted in ("text", "jsonb"):
            return self.type not in ("boolean", *MOMENTS, TIME)
        return self.type in _TYPES.get(wanted, {wanted})


@dataclass(frozen=True)
class Catalog:
    """The tables and views of the platform's schema that this user may read."""

    database: Database

    @property
    def schema(self) -> str:
        """The platform's."""
        return self.database.schemas.platform

    @cached_property
    def tables(self) -> Mapping[str, Sequence[Found]]:
        """Table → columns."""
        found: dict[str, list[Found]] = {}
        rows = self.database.execute(
            statement(__file__, "platform_columns"), {"schema": self.schema}
        )
        for table, name, kind, points_to, labels in rows:
            found.setdefault(table, []).append(Found(name, kind, points_to, tuple(labels)))
        return found

    def schemas(self) -> list[str]:
        """Returns the schemas that are not the server's own."""
        names = self.database.execute(
            "select nspname from pg_namespace where nspname !~ '^pg_' and nspname <>"
            " 'information_schema' order by 1"
        )
        return [name for (name,) in names]

    def ends(self, relation: str, column: str) -> tuple[float, float]:
        """Returns the lowest and the highest value of a number in the sample; 0: there is none."""
        rows = self._rows("select min({column}), max({column}) from {sample}", relation, column)
        low, high = rows[0] if rows else (0, 0)
        return float(low or 0), float(high or 0)

    def counts(self, relation: str, column: Found) -> dict[str, int] | None:
        """Returns how often each value is in the sample; None: there are more than FEW."""
        rows = self._rows(
            "select {column}::text, count(*) from {sample} where {column} is not null"
            " group by 1 order by 2 desc, 1 limit {most}",
            relation,
            column.name,
        )
        if len(rows) > FEW:
            return None
        return dict(rows) | {label: 0 for label in column.labels if label not in dict(rows)}

    def legend(self, column: Found) -> dict[str, str]:
        """Returns what the values of a foreign key are called in the small table it refers to."""
        if column.points_to is None:
            return {}
        columns = self.tables.get(column.points_to, ())
        names = [each.name for each in columns if each.type in TEXTS]
        if not names or not columns:
            return {}
        query = sql.SQL("select {}::text, {}::text from {} limit {}").format(
            sql.Identifier(columns[0].name),
            sql.Identifier(names[0]),
            sql.Identifier(self.schema, column.points_to),
            sql.Literal(FEW + 1),
        )
        rows = self._read(query)
        return dict(rows) if len(rows) <= FEW else {}

    def _rows(self, query: str, relation: str, column: str) -> list[tuple[Any, ...]]:
        sampled = sql.SQL("(select {} from {} limit {}) as sampled").format(
            sql.Identifier(column), sql.Identifier(self.schema, relation), sql.Literal(_SAMPLE)
        )
        return self._read(
            self.database.sql(
                query,
                column=sql.Identifier(column),
                sample=sampled,
                most=sql.Literal(FEW + 1),
            )
        )

    def _read(self, query: sql.Composed) -> list[tuple[Any, ...]]:
        try:
            with self.database.transaction():
                return self.database.execute(query).fetchall()
        except psycopg.DatabaseError:
            if self.database.connection.closed:
                raise
            return []

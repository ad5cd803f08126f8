"""The versions of the weights of the student churn score, in `ops.churn_algorithm_weights`.

Belongs here: seeding the first version, reading the newest, adding the next. A version is never
changed: a trigger refuses it, and another that its weights do not add up to 1.
Does not belong here: fitting new weights, computing the score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import yaml
from psycopg.rows import tuple_row

from tutor_pipeline.warehouse.connection import Warehouse

FIRST = Path(__file__).parent / "churn_weights.yml"


@dataclass(frozen=True, slots=True)
class Weights:
    """One version: factor -> weight (0 to 1, together 1), in force since a moment."""

    version: int
    weights: Mapping[str, float]
    effective_from: datetime
    notes: str


def seed(connection: psycopg.Connection[Any], warehouse: Warehouse, at: datetime) -> bool:
    """Write the first version where there is none; whether it did. Safe when two do it at once."""
    first = yaml.safe_load(FIRST.read_text(encoding="utf-8"))
    with connection.transaction():
        connection.execute(
            "select pg_advisory_xact_lock(hashtextextended(%s, 0))",
            (f"{warehouse.schemas.ops}.churn_algorithm_weights",),
        )
        if current(connection, warehouse) is not None:
            return False
        _insert(
            connection, warehouse, Weights(first["version"], first["weights"], at, first["notes"])
        )
    return True


def current(connection: psycopg.Connection[Any], warehouse: Warehouse) -> Weights | None:
    """The newest version, heaviest factor first; None before the seeding."""
    with connection.cursor(row_factory=tuple_row) as cursor:
        rows = cursor.execute(
            warehouse.sql(
                "select version, factor, weight, effective_from, notes"
                " from {ops}.churn_algorithm_weights"
                " where version = (select max(version) from {ops}.churn_algorithm_weights)"
                " order by weight desc, factor"
            )
        ).fetchall()
    if not rows:
        return None
    version, _, _, effective_from, notes = rows[0]
    return Weights(version, {row[1]: row[2] for row in rows}, effective_from, notes)


def add(
    connection: psycopg.Connection[Any],
    warehouse: Warehouse,
    weights: Mapping[str, float],
    *,
    replaces: Weights,
    at: datetime,
    notes: str,
) -> Weights:
    """Write the version after `replaces`, whole or not at all; returns it.

    Raises psycopg.errors.IntegrityError when there is another one after it already, or the weights
    do not add up to 1.
    """
    version = Weights(replaces.version + 1, dict(weights), at, notes)
    with connection.transaction():
        _insert(connection, warehouse, version)
        # Now, not when an outer transaction ends.
        connection.execute(warehouse.sql("set constraints {ops}.sums_to_one immediate"))
    return version


def _insert(connection: psycopg.Connection[Any], warehouse: Warehouse, version: Weights) -> None:
    connection.execute(
        warehouse.sql(
            "insert into {ops}.churn_algorithm_weights"
            " (version, factor, weight, effective_from, notes)"
            " select %s, factor, weight, %s, %s"
            " from unnest(%s::text[], %s::double precision[]) as given (factor, weight)"
        ),
        (
            version.version,
            version.effective_from,
            version.notes,
            list(version.weights),
            list(version.weights.values()),
        ),
    )

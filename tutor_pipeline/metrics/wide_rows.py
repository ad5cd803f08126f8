"""The wide rows that rules read: `marts.tutor_aggregates`, of one refresh or of everybody."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row, tuple_row

from tutor_pipeline.errors import TutorPipelineError
from tutor_pipeline.warehouse.connection import Warehouse


@dataclass(frozen=True, slots=True)
class WideRows:
    """One row per active tutor as of a moment. `scope` None = all tutors."""

    rows: list[dict[str, Any]]
    as_of: datetime
    active_tutors: frozenset[str]
    scope: tuple[str, ...] | None


def read(connection: psycopg.Connection[Any], warehouse: Warehouse, run_id: str) -> WideRows:
    """The rows that the refresh `run_id` made; all rows where it made none (alerts alone).

    The moment comes from the rows themselves, so alerts are as of what they were made from,
    whatever happened between the two steps. Raises TutorPipelineError: never built, no tutor.
    """
    with connection.cursor(row_factory=tuple_row) as cursor:
        built = cursor.execute(
            "select to_regclass(%s) is not null",
            (f'"{warehouse.schemas.marts}"."tutor_aggregates"',),
        ).fetchone()
        if built != (True,):
            raise TutorPipelineError(
                f"{warehouse.schemas.marts}.tutor_aggregates is not built yet.\n"
                "Run the whole refresh first: tutor-pipeline enrich"
            )
        header = cursor.execute(
            warehouse.sql("select is_full, as_of from {ops}.refresh_runs where run_id = %s"),
            (run_id,),
        ).fetchone()
        scope: tuple[str, ...] | None = None
        if header is not None and not header[0]:
            found = cursor.execute(
                warehouse.sql(
                    "select tutor_id from {ops}.refresh_scope where run_id = %s order by tutor_id"
                ),
                (run_id,),
            ).fetchall()
            scope = tuple(tutor_id for (tutor_id,) in found)
        active = cursor.execute(
            warehouse.sql("select tutor_id from {marts}.dim_tutors where is_active")
        ).fetchall()
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            warehouse.sql(
                "select * from {marts}.tutor_aggregates"
                " where %(scope)s::text[] is null or tutor_id = any(%(scope)s::text[])"
                " order by tutor_id"
            ),
            {"scope": None if scope is None else list(scope)},
        ).fetchall()
    moments = [row["as_of"] for row in rows]
    if not moments:
        if header is None:
            raise TutorPipelineError(
                f"{warehouse.schemas.marts}.tutor_aggregates has no row: the platform has no"
                " active tutor.\nSee what was found with: tutor-pipeline check-source"
            )
        moments = [header[1]]
    return WideRows(rows, max(moments), frozenset(tutor for (tutor,) in active), scope)

"""Queries on the findings of any kind (alerts, insights, achievements) after a run. Reads only."""

from __future__ import annotations

from psycopg.sql import Identifier

from tutor_pipeline.core.warehouse.database import Database, Row


def open_findings(database: Database, table: str) -> Row:
    """Returns how many rows of a findings table are open (`open`), and of how many tutors
    (`tutors_with_one`).
    """
    (counts,) = database.rows(
        database.sql(
            "select count(*) as open, count(distinct tutor_id) as tutors_with_one"
            " from {ops}.{table} where resolved_at is null",
            table=Identifier(table),
        )
    )
    return counts


def skipped_tutors(database: Database, kind: str, run_id: str) -> tuple[int, dict[str, str]]:
    """Returns how many tutors a run evaluated for one kind, and the skipped ones with the reason.

    Describes the newest run when this one evaluated nobody.
    """
    found = database.one(
        "select tutors, skipped from {ops}.reconcile_runs where kind = %(kind)s"
        " order by run_id = %(run_id)s desc, applied_at desc limit 1",
        {"kind": kind, "run_id": run_id},
    )
    return (found["tutors"], found["skipped"]) if found else (0, {})

"""Students: how many there are of each kind, who may leave, which tutors lose some."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.desk.filters import PAGE, StudentFilter
from tutor_pipeline.desk.queries.paging import page_of
from tutor_pipeline.desk.queries.people import like

LOST_DAYS = 90
"""Students who left within so many days are told of."""

_GROUP = {
    "risk": "risk_level in ('High', 'Medium')",
    "at_risk": "segment = 'at_risk'",
    "churned": "segment like 'churned%%'",
    "healthy": "segment in ('healthy', 'thriving')",
    "unknown": "segment is null",
    "all": "true",
}
_ORDER = {
    "risk": "risk_score desc nulls last",
    "silent": "days_since_last_session desc nulls last",
    "name": "name",
}


def segments(database: Database) -> dict[str | None, int]:
    """Returns how many students there are of each segment; None = not known yet."""
    rows = database.rows("select segment, count(*) as n from {ops}.student_health group by segment")
    return {row["segment"]: row["n"] for row in rows}


def students_listed(
    database: Database, asked: StudentFilter, limit: int = PAGE, *, by_name: bool
) -> tuple[list[Row], int]:
    """Returns the students of a page, and how many there are in all. `by_name`: whether the search
    looks at names, too.
    """
    values: dict[str, Any] = {}
    conditions = [_GROUP[asked.group]]
    if asked.tutor:
        conditions.append("last_tutor_id = %(tutor)s")
        values["tutor"] = asked.tutor
    if asked.q:
        name = " or name ilike %(like)s" if by_name else ""
        conditions.append(f"(student_id = %(q)s{name})")
        values |= {"q": asked.q, "like": like(asked.q)}
    return page_of(
        database,
        database.sql(statement(__file__, "students")),
        asked,
        limit,
        where=conditions,
        order=f"{_ORDER[asked.order]}, student_id",
        values=values,
    )


def tutors_losing_students(database: Database, today: date) -> list[Row]:
    """Returns the tutors whose students left lately, those who lost most first: tutor_id, `lost` of
    `students` whom they taught last.
    """
    return database.rows(
        """
        select last_tutor_id as tutor_id, lost, students
        from (
            select
                last_tutor_id,
                count(*) filter (where churned_date > %(since)s) as lost,
                count(*) filter (where churned_date is null or churned_date > %(since)s) as students
            from {marts}.student_aggregates
            where last_tutor_id is not null
            group by last_tutor_id
        ) as counted
        where lost > 0
        order by lost desc, lost::float8 / students desc, last_tutor_id
        limit 10
        """,
        {"since": today - timedelta(days=LOST_DAYS)},
    )

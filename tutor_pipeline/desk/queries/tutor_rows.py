"""Tutors: the list, and one with everything known."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg.sql import SQL

from tutor_pipeline.core.findings import Subject
from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.desk.filters import PAGE, TutorFilter
from tutor_pipeline.desk.queries.alert_rows import with_events
from tutor_pipeline.desk.queries.paging import page_of
from tutor_pipeline.desk.queries.people import like, notes, risks
from tutor_pipeline.judgement.lifecycle.active import ACTIVE
from tutor_pipeline.people.reports import alert_queries

_TUTOR_ORDER = {
    "name": "name",
    "score": "overall_score desc nulls last",
    "risk": "risk_score desc nulls last",
    "sessions": "sessions_30d desc",
    "rating": "avg_rating_30d desc nulls last",
    "moved": "reschedule_rate_30d desc nulls last",
}


_TUTORS = statement(__file__, "tutors")


def tutors(
    database: Database, asked: TutorFilter, now: datetime, limit: int = PAGE
) -> tuple[list[Row], int]:
    """Returns the active tutors of a page, and how many there are in all."""
    values: dict[str, Any] = {"now": now}
    conditions = ["true"]
    if asked.group == "attention":
        conditions.append("alerts is not null")
    if asked.group == "best":
        conditions.append("rank_number is not null")
    if asked.level:
        conditions.append(
            "risk_level is null" if asked.level == "unknown" else "risk_level = any(%(levels)s)"
        )
        values["levels"] = ["High", "Medium"] if asked.level == "any" else [asked.level]
    if asked.teaches:
        conditions.append("primary_subject = %(teaches)s")
        values["teaches"] = asked.teaches
    if asked.certified:
        conditions.append("certification_level = %(certified)s")
        values["certified"] = asked.certified
    if asked.q:
        conditions.append("(tutor_id = %(q)s or name ilike %(like)s)")
        values |= {"q": asked.q, "like": like(asked.q)}
    return page_of(
        database,
        database.sql(_TUTORS, active=SQL(ACTIVE)),
        asked,
        limit,
        where=conditions,
        order=f"{_TUTOR_ORDER[asked.sorted_by]}, tutor_id",
        values=values,
    )


def tutor(database: Database, tutor_id: str) -> Row | None:
    """Returns one tutor's profile, metrics, risk, alerts, insights and badges."""
    profile = database.one("select * from {marts}.dim_tutors where tutor_id = %s", (tutor_id,))
    if profile is None:
        return None
    one = (tutor_id,)
    found = alert_queries.alerts(database, tutor=tutor_id, include_resolved=True)
    return {
        "profile": profile,
        "metrics": database.one("select * from {marts}.tutor_aggregates where tutor_id = %s", one),
        "risk": risks(database, [tutor_id]).get(tutor_id),
        "risk_history": database.rows(
            "select distinct on (as_of_on) as_of_on, score, level from {ops}.tutor_scores"
            " where tutor_id = %s and scorer = (select scorer from {ops}.current_tutor_risk"
            " where tutor_id = %s) and score is not null order by as_of_on, as_of desc",
            (tutor_id, tutor_id),
        ),
        "health": database.one("select * from {ops}.tutor_health where tutor_id = %s", one),
        "alerts": with_events(database, found),
        "insights": database.rows(
            "select * from {ops}.tutor_insights where tutor_id = %s and is_active"
            " order by insight_type desc, category",
            one,
        ),
        "achievements": database.rows(
            "select * from {ops}.achievements where tutor_id = %s"
            " order by is_active desc, earned_date, achievement_type",
            one,
        ),
        "notes": notes(database, Subject.tutor(tutor_id)),
    }

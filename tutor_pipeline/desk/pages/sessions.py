"""Sessions: a day of sessions, and one session with everything known."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from starlette.responses import Response

from tutor_pipeline.core.formatting import visible
from tutor_pipeline.core.warehouse.database import Row
from tutor_pipeline.desk import filters, queries
from tutor_pipeline.desk.filters import SessionFilter
from tutor_pipeline.desk.formats import student
from tutor_pipeline.desk.site import Limit, NotFoundError, Place, Visit
from tutor_pipeline.desk.tables import MAX_ROWS, as_csv, as_json
from tutor_pipeline.metrics.thresholds import thresholds
from tutor_pipeline.people.access.roles import Role

GROUPS = (
    ("The session", (
        ("subject", "Subject", ""), ("session_number", "Session no. with this student", "0"),
        ("scheduled_duration_minutes", "Planned minutes", "0"),
        ("actual_duration_minutes", "Minutes taught", "0"),
        ("late_minutes", "Minutes late (early: below 0)", "0"), ("rescheduled_by", "Moved by", ""),
        ("technical_issues", "Technical problem", ""),
        ("connection_quality", "Connection", ""), ("homework_assigned", "Homework given", ""),
        ("follow_up_booked", "Next session booked", ""),
    )),
    ("How it went", (
        ("session_score", "Score (0 to 10)", "1"),
        ("student_satisfaction_rating", "Rating (1 to 5)", ""),
        ("student_satisfaction", "Satisfaction (0 to 10)", "1"),
        ("would_recommend", "Would recommend", ""),
        ("student_engagement_score", "Engagement (0 to 10)", "1"),
        ("tutor_enthusiasm_score", "Enthusiasm (0 to 10)", "1"),
        ("empathy_score", "Empathy (0 to 10)", "1"), ("clarity_score", "Clarity (0 to 10)", "1"),
    )),
    ("Talking", (
        ("tutor_talk_ratio", "The tutor talked", "%"),
        ("student_initiated_questions", "Questions by the student", "0"),
        ("open_ended_questions", "Open questions", "0"),
        ("tutor_checks_understanding_count", "Checks of understanding", "0"),
        ("tutor_positive_reinforcement_count", "Praise", "0"),
        ("student_confusion_count", "Moments of confusion", "0"),
        ("student_frustration_count", "Moments of frustration", "0"),
    )),
    ("On the screen", (
        ("student_on_screen_attention_pct", "The student looked at the screen", "%"),
        ("tutor_camera_on_pct", "Camera of the tutor on", "%"),
        ("whiteboard_usage_minutes", "Minutes at the whiteboard", "0"),
        ("distraction_events_count", "Distractions", "0"),
    )),
)  # fmt: skip
"""What a session's page shows: groups of column, words, form."""


def list_(visit: Visit) -> Response:
    """GET /sessions."""
    if not visit.is_built:
        return visit.page("empty.html.j2")
    asked = SessionFilter.of(visit.asked)
    newest = queries.newest_day(visit.database, visit.now, asked.tutor)
    on = asked.on or (None if asked.tutor else newest)
    rows, total = queries.sessions(visit.database, asked, on, visit.now, thresholds())
    return visit.page(
        "sessions.html.j2",
        on=on,
        before=on and asked.address(day=(on - timedelta(days=1)).isoformat()),
        after=asked.address(day=(on + timedelta(days=1)).isoformat())
        if on and newest and on < newest
        else None,
        names=queries.tutor_names(visit.database, [row["tutor_id"] for row in rows]),
        students=queries.students(visit.database, [row["student_id"] for row in rows]),
        filters=filters,
        **filters.listing(asked, rows, total, "session"),
    )


def csv(visit: Visit) -> Response:
    """GET /sessions.csv."""
    return as_csv(visit, "sessions.csv", _exported(visit))


def json(visit: Visit) -> Response:
    """GET /sessions.json."""
    return as_json(visit, "sessions.json", _exported(visit))


def _exported(visit: Visit) -> list[Row]:
    asked = SessionFilter.of(visit.asked)
    on = asked.on
    if on is None and not asked.tutor:
        on = queries.newest_day(visit.database, visit.now)
    rows, _ = queries.sessions(
        visit.database, replace(asked, page=1), on, visit.now, thresholds(), limit=MAX_ROWS
    )
    names = queries.tutor_names(visit.database, [row["tutor_id"] for row in rows])
    students = queries.students(visit.database, [row["student_id"] for row in rows])
    how = visit.site.options.student_names
    return [
        {"tutor_name": names.get(row["tutor_id"])}
        # The words of an excuse are for those who may act.
        | {name: value for name, value in row.items() if name != "excuses"}
        | {"excused": ", ".join(each["kind"] for each in row["excuses"])}
        | {"student_name": student(students.get(row["student_id"]), row["student_id"], how)}
        for row in rows
    ]


def one(visit: Visit) -> Response:
    """GET /sessions/ID; `of` in the address is the tutor, which spares reading all sessions."""
    session_id = visit.path("session_id")
    found = (
        queries.session(visit.database, session_id, visit.asked.get("of", ""))
        if visit.is_built
        else None
    )
    if found is None:
        raise NotFoundError(
            f"There is no session {visible(session_id, 80)}. The platform may have deleted it."
        )
    tutor_id = found["tutor_id"]
    return visit.page(
        "session.html.j2",
        session=found,
        tutor=queries.profiles(visit.database, [tutor_id]).get(tutor_id) or {"tutor_id": tutor_id},
        students=queries.students(visit.database, [found["student_id"]]),
        groups=GROUPS,
        alerts=queries.alerts_on(visit.database, tutor_id, session_id),
        feedback=found["feedback_text"] if visit.may(Role.COACH) else None,
        has_feedback=found["feedback_text"] is not None,
    )


PLACES = (
    Place("/sessions", list_, Role.VIEWER, nav=(4, "Sessions")),
    Place("/sessions.csv", csv, Role.VIEWER, limit=Limit.LARGE),
    Place("/sessions.json", json, Role.VIEWER, limit=Limit.LARGE),
    Place("/sessions/{session_id:path}", one, Role.VIEWER, limit=Limit.LARGE),
)

"""Tutors: the lists, and one tutor with everything known."""

from __future__ import annotations

from dataclasses import replace

from starlette.responses import Response

from tutor_pipeline.core.formatting import visible
from tutor_pipeline.core.warehouse.database import Row
from tutor_pipeline.desk import charts, filters, queries
from tutor_pipeline.desk.filters import SessionFilter, TutorFilter
from tutor_pipeline.desk.pages.cards import Lines
from tutor_pipeline.desk.site import Limit, NotFoundError, Place, Visit
from tutor_pipeline.desk.tables import MAX_ROWS, as_csv, as_json
from tutor_pipeline.metrics.thresholds import thresholds
from tutor_pipeline.people.access.roles import Role

SPARKS = (
    ("sessions_30d", "Sessions in 30 days", "0", ""),
    ("avg_session_score_30d", "Score of sessions", "1", "0 to 10, mean of 30 days"),
    ("avg_rating_30d", "Rating by students", "2", "1 to 5, mean of 30 days"),
    ("avg_engagement_30d", "Engagement of students", "1", "0 to 10, mean of 30 days"),
    ("reschedule_rate_30d", "Moved by the tutor", "%", "of the sessions of 30 days"),
    ("no_show_tutor_30d", "Did not come", "0", "sessions in 30 days"),
)
"""Metrics with a line on a tutor's page: name, words, form, unit."""

_SESSIONS_SHOWN = 12


def list_(visit: Visit) -> Response:
    """GET /tutors."""
    if not visit.is_built:
        return visit.page("empty.html.j2")
    asked = TutorFilter.of(visit.asked)
    rows, total = queries.tutors(visit.database, asked, visit.now)
    return visit.page(
        "tutors.html.j2",
        sentence=asked.sentence(),
        subjects=queries.subjects(visit.database),
        certifications=queries.certifications(visit.database),
        filters=filters,
        **filters.listing(asked, rows, total, "tutor"),
    )


def csv(visit: Visit) -> Response:
    """GET /tutors.csv."""
    return as_csv(visit, "tutors.csv", _exported(visit))


def json(visit: Visit) -> Response:
    """GET /tutors.json."""
    return as_json(visit, "tutors.json", _exported(visit))


def _exported(visit: Visit) -> list[Row]:
    rows, _ = queries.tutors(
        visit.database, replace(TutorFilter.of(visit.asked), page=1), visit.now, limit=MAX_ROWS
    )
    return rows


def one(visit: Visit) -> Response:
    """GET /tutors/ID."""
    return show(visit, visit.path("tutor_id"))


def show(visit: Visit, tutor_id: str, status: int = 200, **said: object) -> Response:
    """Returns the page of a tutor. `said`: what was filled into its forms, and why it is back."""
    found = queries.tutor(visit.database, tutor_id) if visit.is_built else None
    if found is None:
        raise NotFoundError(
            f"There is no tutor {visible(tutor_id, 80)}. One who is new on the platform appears"
            " with the next refresh."
        )
    lines = Lines(visit, [tutor_id], [name for name, *_ in SPARKS])
    sessions, total = queries.sessions(
        visit.database, SessionFilter(tutor=tutor_id), None, visit.now, thresholds(),
        limit=_SESSIONS_SHOWN,
    )  # fmt: skip
    of_insights = queries.sessions_by_id(
        visit.database,
        {tutor_id: {each for row in found["insights"] for each in row["sample_sessions"]}},
    )
    evidence = queries.sessions_by_id(
        visit.database,
        {tutor_id: {each for row in found["alerts"] for each in row["evidence_session_ids"]}},
    )
    for row in found["alerts"]:
        held = row["evidence_session_ids"]
        row["sessions"] = [evidence[each] for each in held if each in evidence]
    risk_line = charts.line(
        [(row["as_of_on"], row["score"]) for row in found["risk_history"]], width=640, height=80
    )
    return visit.page(
        "tutor.html.j2",
        status,
        tutor_id=tutor_id,
        sparks=[
            {"words": words, "form": form, "unit": unit, "line": lines.of(tutor_id, name),
             "value": (found["metrics"] or {}).get(name),
             "n": (found["metrics"] or {}).get(f"{name}_n")}
            for name, words, form, unit in SPARKS
        ],
        risk_line=risk_line,
        sessions=sessions,
        sessions_total=total,
        of_insights=of_insights,
        students=queries.students(
            visit.database, [row["student_id"] for row in [*sessions, *of_insights.values()]]
        ),
        **found | {"notes": found["notes"] if visit.may(Role.COACH) else []},
        **({"filled": {}} | said),
    )  # fmt: skip


PLACES = (
    Place("/tutors", list_, Role.VIEWER, nav=(3, "Tutors")),
    Place("/tutors.csv", csv, Role.VIEWER, limit=Limit.LARGE),
    Place("/tutors.json", json, Role.VIEWER, limit=Limit.LARGE),
    Place("/tutors/{tutor_id:path}", one, Role.VIEWER),
)

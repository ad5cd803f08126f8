"""Students: who may leave, and which tutors lose some."""

from __future__ import annotations

from dataclasses import replace

from starlette.responses import Response

from tutor_pipeline.core.warehouse.database import Row
from tutor_pipeline.desk import filters, queries
from tutor_pipeline.desk.filters import StudentFilter
from tutor_pipeline.desk.formats import student
from tutor_pipeline.desk.site import Limit, Place, Visit
from tutor_pipeline.desk.tables import MAX_ROWS, as_csv, as_json
from tutor_pipeline.people.access.roles import Role

_HIDDEN = ("name", "recommendations", "risk_reasons")


def list_(visit: Visit) -> Response:
    """GET /students."""
    if not visit.is_built:
        return visit.page("empty.html.j2")
    asked = StudentFilter.of(visit.asked)
    by_name = visit.may_search_students
    rows, total = queries.students_listed(visit.database, asked, by_name=by_name)
    losing = queries.tutors_losing_students(visit.database, visit.now.astimezone(visit.zone).date())
    tutors = {row["last_tutor_id"] for row in rows} | {row["tutor_id"] for row in losing}
    return visit.page(
        "students.html.j2",
        sentence=asked.sentence(),
        by_name=by_name,
        segments=queries.segments(visit.database),
        losing=losing,
        names=queries.tutor_names(visit.database, {each for each in tutors if each}),
        filters=filters,
        **filters.listing(asked, rows, total, "student"),
    )


def csv(visit: Visit) -> Response:
    """GET /students.csv."""
    return as_csv(visit, "students.csv", _exported(visit))


def json(visit: Visit) -> Response:
    """GET /students.json."""
    return as_json(visit, "students.json", _exported(visit))


def _exported(visit: Visit) -> list[Row]:
    asked = replace(StudentFilter.of(visit.asked), page=1)
    rows, _ = queries.students_listed(
        visit.database, asked, MAX_ROWS, by_name=visit.may_search_students
    )
    how = visit.site.options.student_names
    return [
        {"student": student(row, row["student_id"], how)}
        | {name: value for name, value in row.items() if name not in _HIDDEN}
        for row in rows
    ]


PLACES = (
    Place("/students", list_, Role.VIEWER, nav=(5, "Students")),
    Place("/students.csv", csv, Role.VIEWER, limit=Limit.LARGE),
    Place("/students.json", json, Role.VIEWER, limit=Limit.LARGE),
)

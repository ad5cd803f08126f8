"""Students: who may leave, and which tutors lose some."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from starlette.responses import Response

from tutor_pipeline.core.warehouse.database import Row
from tutor_pipeline.desk import filters, queries
from tutor_pipeline.desk.filters import StudentFilter
from tutor_pipeline.desk.formats import student
from tutor_pipeline.desk.options import StudentNames
from tutor_pipeline.desk.site import Limit, Place, Visit
from tutor_pipeline.desk.tables import MAX_ROWS, as_csv, as_json
from tutor_pipeline.people.access.roles import Role

_HIDDEN = ("name", "recommendations", "risk_reasons")


def list_(visit: Visit) -> Response:
    """GET /students."""
    if not queries.is_built(visit.database):
        return visit.page("empty.html.j2")
    asked = _asked(visit, visit.asked)
    rows, total = queries.students_listed(visit.database, asked)
    losing = queries.tutors_losing_students(visit.database, visit.now.astimezone(visit.zone).date())
    tutors = {row["last_tutor_id"] for row in rows} | {row["tutor_id"] for row in losing}
    return visit.page(
        "students.html.j2",
        asked=asked,
        sentence=asked.sentence(),
        rows=rows,
        total=total,
        shown=filters.shown(asked, total, "student"),
        pages=filters.pages(asked, total),
        segments=queries.segments(visit.database),
        losing=losing,
        names=queries.tutor_names(visit.database, {each for each in tutors if each}),
        filters=filters,
    )


def csv(visit: Visit) -> Response:
    """GET /students.csv."""
    return as_csv(visit, "students.csv", _exported(visit))


def json(visit: Visit) -> Response:
    """GET /students.json."""
    return as_json(visit, "students.json", _exported(visit))


def _asked(visit: Visit, asked: Mapping[str, str]) -> StudentFilter:
    """What is asked for. Who reads students by first name alone does not search their names."""
    names = visit.site.options.student_names
    may_search = visit.may(Role.COACH) or names is StudentNames.FULL
    return replace(StudentFilter.of(asked), by_student=may_search)


def _exported(visit: Visit) -> list[Row]:
    asked = replace(_asked(visit, visit.asked), page=1)
    rows, _ = queries.students_listed(visit.database, asked, limit=MAX_ROWS)
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

"""Alerts: the list with its filters, one alert with its history, what became of all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from starlette.responses import Response

from tutor_pipeline.core.findings import Kind, Subject, SubjectKind
from tutor_pipeline.core.formatting import visible
from tutor_pipeline.core.warehouse.database import Row
from tutor_pipeline.desk import charts, filters, queries
from tutor_pipeline.desk.filters import AlertFilter
from tutor_pipeline.desk.formats import student
from tutor_pipeline.desk.pages.cards import Lines
from tutor_pipeline.desk.site import Limit, NotFoundError, Place, Visit
from tutor_pipeline.desk.tables import MAX_ROWS, as_csv, as_json
from tutor_pipeline.judgement.lifecycle import outcomes, overrides
from tutor_pipeline.people.access.roles import Role
from tutor_pipeline.people.reports import alert_queries

_ACTIVITY_DAYS = 30
MAX_AT_ONCE = 500
"""The most alerts that are acted on at once."""
_EXPORTED = (
    "about", "severity", "title", "description", "recommended_action", "triggered_date", "owner",
    "acknowledged_at", "acknowledged_by", "acknowledged_note", "snoozed_until", "snoozed_by",
    "resolved_at", "resolved_by", "resolution", "action_taken", "last_confirmed_at", "alert_id",
    "alert_type", "subject_kind", "subject_id", "tutor_id", "name", "primary_subject",
    "evidence_session_ids",
)  # fmt: skip
"""Columns of a file, in the order in which people read them."""
_FOR_COACHES = ("acknowledged_note", "action_taken")


def list_(visit: Visit) -> Response:
    """GET /alerts."""
    return show_list(visit, AlertFilter.of(visit.asked))


def show_list(
    visit: Visit, asked: AlertFilter, status: int = 200, said: str | None = None
) -> Response:
    """Returns the page of a list. `said`: why somebody sees it again."""
    if not visit.is_built:
        return visit.page("empty.html.j2")
    by_student = visit.may_search_students
    rows, total = queries.alerts(visit.database, asked, visit.now, by_student=by_student)
    matching = (
        queries.all_that_match(
            visit.database, asked, visit.now, MAX_AT_ONCE + 1, by_student=by_student
        )
        if visit.may(Role.COACH) and len(rows) < total
        else {}
    )
    return visit.page(
        "alerts.html.j2",
        status,
        sentence=asked.sentence(_tutor_name(visit, asked.tutor)),
        facets=queries.alert_facets(visit.database),
        filters=filters,
        match=fingerprint(matching) if 0 < len(matching) <= MAX_AT_ONCE else None,
        said=said,
        list_path=f"/alerts{asked.address(page=asked.page)}",
        **filters.listing(asked, with_subjects(visit, rows), total, "alert"),
    )


def fingerprint(seen: Mapping[str, int]) -> str:
    """Returns what differs when other alerts match, or something happened to one of them."""
    return hashlib.sha256(repr(sorted(seen.items())).encode()).hexdigest()


def csv(visit: Visit) -> Response:
    """GET /alerts.csv."""
    return as_csv(visit, "alerts.csv", _exported(visit))


def json(visit: Visit) -> Response:
    """GET /alerts.json."""
    return as_json(visit, "alerts.json", _exported(visit))


def one(visit: Visit) -> Response:
    """GET /alerts/ID."""
    return show(visit, visit.path("alert_id"))


def show(visit: Visit, alert_id: str, status: int = 200, **said: object) -> Response:
    """Returns the page of an alert. `said`: what was filled into its forms, and why it is back."""
    found = queries.alert(visit.database, alert_id) if visit.is_built else None
    if found is None:
        raise NotFoundError(f"There is no alert {visible(alert_id, 80)}. It may have been erased.")
    tutor_id = found["tutor_id"]
    sessions = queries.sessions_by_id(visit.database, {tutor_id: found["evidence_session_ids"]})
    found["sessions"] = [
        sessions[each] for each in found["evidence_session_ids"] if each in sessions
    ]
    excused = queries.excused_sessions(visit.database, tutor_id, visit.now) if tutor_id else []
    found["missing_sessions"] = len(found["evidence_session_ids"]) - len(found["sessions"])
    students = queries.students(
        visit.database,
        [row["student_id"] for row in [*sessions.values(), *excused]] + [found["subject_id"]],
    )
    found["line"] = None
    if found["subject_kind"] == SubjectKind.TUTOR:
        lines = Lines(visit, [tutor_id], sorted(found["metrics"]))
        found["line"] = lines.of_alert(tutor_id, found["metrics"])
    held = overrides.of(visit.database, Kind.ALERT, tutor_id, found["alert_type"], visit.now)
    return visit.page(
        "alert.html.j2",
        status,
        alert=with_subjects(visit, [found])[0],
        students=students,
        excused=excused,
        exception=held if found["subject_kind"] == SubjectKind.TUTOR else None,
        risk=queries.risks(visit.database, [tutor_id]).get(tutor_id)
        if found["subject_kind"] == SubjectKind.TUTOR
        else None,
        earlier=queries.earlier_alerts(visit.database, found),
        notes=queries.notes(
            visit.database,
            Subject(tutor_id, SubjectKind(found["subject_kind"]), found["subject_id"]),
        )
        if visit.may(Role.COACH)
        else [],
        **({"conflict": None, "filled": {}} | said),
    )


def activity(visit: Visit) -> Response:
    """GET /alerts/activity: what became of alerts in 30 days, by type and by day."""
    today = visit.now.astimezone(visit.zone).date()
    since = today - timedelta(days=_ACTIVITY_DAYS - 1)
    by_day: dict[object, int] = {}
    for row in alert_queries.activity(visit.database, since, by_day=True):
        by_day[row["day"]] = by_day.get(row["day"], 0) + row["opened"]
    ended, by_type = outcomes.read(visit.database, visit.now)
    days = [since + timedelta(days=number) for number in range(_ACTIVITY_DAYS)]
    return visit.page(
        "activity.html.j2",
        rows=alert_queries.activity(visit.database, since, by_day=False),
        bars=charts.bars([(each, by_day.get(each, 0)) for each in days]),
        days=_ACTIVITY_DAYS,
        ended=ended,
        by_type={each.alert_type: each for each in by_type},
    )


def with_subjects(visit: Visit, rows: list[Row]) -> list[Row]:
    """Returns alerts with whom they are about (`about`)."""
    ids = [row["subject_id"] for row in rows if row["subject_kind"] == SubjectKind.STUDENT]
    students = queries.students(visit.database, ids) if ids else {}
    found = []
    for row in rows:
        kind, subject_id = row["subject_kind"], row["subject_id"]
        about = row["name"] or row["tutor_id"]
        if kind == SubjectKind.STUDENT:
            name = student(students.get(subject_id), subject_id, visit.site.options.student_names)
            about = f"student {name}"
        elif kind == SubjectKind.SUBJECT:
            about = f"sessions in {subject_id}"
        found.append(row | {"about": about})
    return found


def _tutor_name(visit: Visit, tutor_id: str) -> str:
    names = queries.tutor_names(visit.database, [tutor_id]) if tutor_id else {}
    return names.get(tutor_id) or tutor_id


def _exported(visit: Visit) -> list[Row]:
    rows, _ = queries.alerts(
        visit.database,
        replace(AlertFilter.of(visit.asked), page=1),
        visit.now,
        MAX_ROWS,
        by_student=visit.may_search_students,
    )
    names = [each for each in _EXPORTED if visit.may(Role.COACH) or each not in _FOR_COACHES]
    return [{name: row[name] for name in names} for row in with_subjects(visit, rows)]


PLACES = (
    Place("/alerts", list_, Role.VIEWER, nav=(2, "Alerts")),
    Place("/alerts.csv", csv, Role.VIEWER, limit=Limit.LARGE),
    Place("/alerts.json", json, Role.VIEWER, limit=Limit.LARGE),
    Place("/alerts/activity", activity, Role.VIEWER),
    Place("/alerts/{alert_id:path}", one, Role.VIEWER),
)

"""Alerts: lists, one, what to tell of them on Today."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from psycopg.sql import SQL, Composed, Identifier

from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.desk.filters import NOBODY, PAGE, AlertFilter
from tutor_pipeline.desk.queries.people import like, subjects, tutor_names
from tutor_pipeline.judgement.lifecycle.active import ACTIVE
from tutor_pipeline.people.reports import alert_queries

QUIET_DAYS = 7
"""An alert that was acknowledged so long ago, and nothing done since, is worth a word."""


_STATE = {
    "active": ACTIVE,
    "new": f"{ACTIVE} and acknowledged_at is null",
    "acknowledged": f"{ACTIVE} and acknowledged_at is not null",
    "snoozed": "resolved_at is null and snoozed_until > %(now)s",
    "resolved": "resolved_at is not null",
    "all": "true",
}


_WORKS = "coalesce(owner, acknowledged_by)"


_ALERT_ORDER = {
    "urgent": "resolved_at desc nulls first, severity, excess desc, triggered_date desc",
    "newest": "triggered_date desc",
    "oldest": "triggered_date",
    "name": "tutors.name",
}


def alerts(
    database: Database, asked: AlertFilter, now: datetime, limit: int = PAGE, *, by_student: bool
) -> tuple[list[Row], int]:
    """Returns the alerts of a page with the tutor's name, and how many there are in all. Each with
    its newest event (`event_no`, `newest_event`, `newest_actor`). `by_student`: whether the search
    looks at names of students, too.
    """
    where, values = _alerts_where(database, asked, now, by_student)
    tables = SQL(
        "{ops}.alerts as alerts left join {marts}.dim_tutors as tutors"
        " on alerts.tutor_id = tutors.tutor_id"
    ).format(**database.schemas.identifiers())
    total: int = database.value(
        database.sql("select count(*) from {tables} where {where}", tables=tables, where=where),
        values,
    )
    rows = database.rows(
        database.sql(
            "select {columns}, tutors.name, tutors.primary_subject from {tables} where {where}"
            " order by {order}, alerts.tutor_id, alerts.alert_id limit %(limit)s offset %(offset)s",
            columns=_of_alerts(),
            tables=tables,
            where=where,
            order=database.sql(_ALERT_ORDER[asked.order]),
        ),
        {**values, "limit": limit, "offset": asked.offset},
    )
    return with_events(database, rows), total


def all_that_match(
    database: Database, asked: AlertFilter, now: datetime, limit: int, *, by_student: bool
) -> dict[str, int]:
    """Returns the first alerts that fit, each with the number of its newest event."""
    where, values = _alerts_where(database, asked, now, by_student)
    rows = database.rows(
        database.sql(
            "select alerts.tutor_id, alerts.alert_id from {ops}.alerts as alerts"
            " left join {marts}.dim_tutors as tutors on alerts.tutor_id = tutors.tutor_id"
            " where {where} order by {order}, alerts.tutor_id, alerts.alert_id limit %(limit)s",
            where=where,
            order=database.sql(_ALERT_ORDER[asked.order]),
        ),
        {**values, "limit": limit},
    )
    return {row["alert_id"]: row["event_no"] for row in with_events(database, rows)}


def _of_alerts() -> SQL | Composed:
    names = alert_queries.ALERT_COLUMNS
    return SQL(", ").join(Identifier("alerts", name) for name in names)


def _alerts_where(
    database: Database, asked: AlertFilter, now: datetime, by_student: bool
) -> tuple[Composed, dict[str, Any]]:
    values: dict[str, Any] = {"now": now}
    conditions = [_STATE[asked.state]]
    for name, condition in (
        ("severity", "severity = %(severity)s"),
        ("type", "alert_type = %(type)s"),
        ("about", "subject_kind = %(about)s"),
        ("tutor", "alerts.tutor_id = %(tutor)s"),
        ("teaches", "tutors.primary_subject = %(teaches)s"),
    ):
        if value := getattr(asked, name):
            conditions.append(condition)
            values[name] = value
    if asked.owner:
        is_nobody = asked.owner == NOBODY
        # Who acknowledged it works on it, as long as it is nobody else's.
        conditions.append(f"{_WORKS} is null" if is_nobody else f"{_WORKS} = %(owner)s")
        values["owner"] = asked.owner
    if asked.older:
        conditions.append("triggered_date < %(before)s")
        values["before"] = now - timedelta(days=int(asked.older))
    if asked.q:
        conditions.append(
            "(alerts.alert_id = %(q)s or alerts.tutor_id = %(q)s or subject_id = %(q)s"
            " or tutors.name ilike %(like)s or title ilike %(like)s or description ilike %(like)s"
            " or (subject_kind = 'student' and subject_id = any(%(students)s)))"
        )
        values |= {
            "q": asked.q,
            "like": like(asked.q),
            "students": _students_called(database, asked.q) if by_student else [],
        }
    return database.sql(" and ".join(conditions)), values


def _students_called(database: Database, text: str) -> list[str]:
    rows = database.rows(
        "select student_id from {marts}.dim_students where name ilike %s limit 1000", (like(text),)
    )
    return [row["student_id"] for row in rows]


def newest_events(database: Database, alerts: Iterable[Row]) -> dict[str, Row]:
    """Returns the newest event of alerts by id: event_no, newest_event, newest_at, newest_actor.

    One that was erased meanwhile has none.
    """
    wanted = [(row["tutor_id"], row["alert_id"]) for row in alerts]
    rows = database.rows(
        "select distinct on (tutor_id, alert_id) alert_id, event_no, event as newest_event,"
        " at as newest_at, actor as newest_actor"
        " from {ops}.alert_events where tutor_id = any(%s) and alert_id = any(%s)"
        " order by tutor_id, alert_id, event_no desc",
        ([tutor for tutor, _ in wanted], [alert for _, alert in wanted]),
    )
    return {row.pop("alert_id"): row for row in rows}


def with_events(database: Database, alerts: Sequence[Row]) -> list[Row]:
    """Returns alerts with their newest events, without those that were erased meanwhile."""
    newest = newest_events(database, alerts)
    return [row | newest[row["alert_id"]] for row in alerts if row["alert_id"] in newest]


def alert(database: Database, alert_id: str) -> Row | None:
    """Returns an alert with the tutor's name, its events and its newest event."""
    found = alert_queries.alerts_by_id(database, [alert_id]).get(alert_id)
    if found is None:
        return None
    events = database.rows(
        "select event_no, event, at, actor, run_id, details from {ops}.alert_events"
        " where tutor_id = %s and alert_id = %s order by event_no",
        (found["tutor_id"], alert_id),
    )
    if not events:
        return None
    newest = events[-1]
    return found | {
        "name": tutor_names(database, [found["tutor_id"]]).get(found["tutor_id"]),
        "events": events,
        "event_no": newest["event_no"],
        "newest_event": newest["event"],
        "newest_actor": newest["actor"],
        "newest_at": newest["at"],
    }


def alert_facets(database: Database) -> Row:
    """Returns what alerts can be filtered by: types, owners, subjects that tutors teach."""
    return {
        "types": sorted(alert_queries.alert_types(database)),
        "owners": [
            row["owner"]
            for row in database.rows(
                f"select distinct {_WORKS} as owner from {{ops}}.alerts"
                f" where {_WORKS} is not null and resolved_at is null order by owner limit 200"
            )
        ],
        "subjects": subjects(database),
    }


def earlier_alerts(database: Database, alert_row: Row) -> list[Row]:
    """Returns the other alerts of the same subject and type, newest first."""
    return database.rows(
        "select alert_id, severity, triggered_date, resolved_at, resolved_by, resolution,"
        " action_taken, acknowledged_at, acknowledged_by, snoozed_until"
        " from {ops}.alerts where tutor_id = %(tutor_id)s and subject_kind = %(subject_kind)s"
        " and subject_id = %(subject_id)s and alert_type = %(alert_type)s"
        " and alert_id <> %(alert_id)s order by occurrence desc limit 10",
        {name: alert_row[name] for name in
         ("tutor_id", "subject_kind", "subject_id", "alert_type", "alert_id")},
    )  # fmt: skip


def counts(database: Database, now: datetime) -> Row:
    """Returns what the line of state counts: tutors in need, of them new within a day; critical
    alerts; alerts about students and subjects.
    """
    found = database.one(
        f"""
        select
            count(distinct tutor_id) filter (where subject_kind = 'tutor') as tutors,
            count(distinct tutor_id) filter (
                where subject_kind = 'tutor' and triggered_date > %(yesterday)s
            ) as new,
            count(*) filter (where severity = 'critical') as critical,
            count(distinct tutor_id) filter (where subject_kind = 'tutor') - count(
                distinct tutor_id
            ) filter (where subject_kind = 'tutor' and {_WORKS} is null) as seen_to,
            count(*) filter (where subject_kind = 'student') as students,
            count(*) filter (where subject_kind = 'subject') as subjects
        from {{ops}}.alerts
        where {ACTIVE}
        """,
        {"now": now, "yesterday": now - timedelta(days=1)},
    )
    assert found is not None
    return found


def quiet_alerts(database: Database, now: datetime) -> list[Row]:
    """Returns active alerts that were acknowledged a week ago and nothing was done since, oldest
    first.
    """
    return database.rows(
        database.sql(statement(__file__, "quiet_alerts"), active=SQL(ACTIVE)),
        {"now": now, "before": now - timedelta(days=QUIET_DAYS)},
    )


def ending_snoozes(database: Database, now: datetime) -> list[Row]:
    """Returns alerts whose snooze ends within a week, the next to end first."""
    return database.rows(
        """
        select
            alerts.tutor_id, alerts.alert_id, alerts.subject_kind, alerts.subject_id,
            alerts.severity, alerts.title, alerts.snoozed_until, alerts.snoozed_by, tutors.name
        from {ops}.alerts as alerts
        left join {marts}.dim_tutors as tutors on alerts.tutor_id = tutors.tutor_id
        where
            alerts.resolved_at is null
            and alerts.snoozed_until > %(now)s
            and alerts.snoozed_until <= %(until)s
        order by alerts.snoozed_until, alerts.alert_id
        limit 20
        """,
        {"now": now, "until": now + timedelta(days=7)},
    )


def last_acts(database: Database, tutors: Collection[str]) -> dict[str, Row]:
    """Returns by tutor the newest act of a person on an alert of theirs."""
    rows = database.rows(
        "select distinct on (tutor_id) tutor_id, alert_id, event, at, actor, details"
        " from {ops}.alert_events where tutor_id = any(%s) and actor <> 'pipeline'"
        " order by tutor_id, at desc, event_no desc",
        (list(tutors),),
    )
    return {row["tutor_id"]: row for row in rows}


def alerts_on(database: Database, tutor_id: str, session_id: str) -> list[Row]:
    """Returns the alerts of a tutor that rest on a session, open ones first."""
    return database.rows(
        "select alert_id, severity, title, description, triggered_date, resolved_at, resolution,"
        " resolved_by, snoozed_until, acknowledged_at, acknowledged_by from {ops}.alerts"
        " where tutor_id = %s and %s = any(evidence_session_ids)"
        " order by resolved_at is not null, triggered_date desc",
        (tutor_id, session_id),
    )

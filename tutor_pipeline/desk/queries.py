"""All that the desk reads of alerts, metrics, scores and sessions. Reads only.

What the command line reads too stands in `people.reports`. On a cluster a query of its own fetches
what belongs to rows that another one made, by their ids.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from psycopg.sql import SQL, Composed, Identifier

from tutor_pipeline.core.findings import Subject
from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.desk.filters import (
    NOBODY,
    PAGE,
    AlertFilter,
    SessionFilter,
    TutorFilter,
)
from tutor_pipeline.judgement.lifecycle.active import ACTIVE
from tutor_pipeline.people.reports import alert_queries, status_queries
from tutor_pipeline.people.reports.status_queries import exists

STALE_DAYS = 7
"""A newest session older than this is worth a word."""
QUIET_DAYS = 7
"""An alert that was acknowledged so long ago, and nothing done since, is worth a word."""
SPARK_DAYS = 90

Values = Mapping[str, Any]


def is_built(database: Database) -> bool:
    """Whether there is anything to show: what a first refresh makes last is there."""
    marts = database.schemas.marts
    return all(exists(database, marts, table) for table in ("tutor_scoreboard", "platform_metrics"))


def facts(database: Database) -> Row:
    """Returns what a page says of its data: as of when, and what is wrong with it."""
    return {
        "alerts_as_of": status_queries.alerts_as_of(database),
        "missing_rows": status_queries.missing_rows(database),
        "stopped": status_queries.stopped_refresh(database),
        "stale": status_queries.is_stale(database),
        "newest_session_age_days": status_queries.newest_session_age_days(database),
        "stale_days": STALE_DAYS,
    }


# -- alerts ---------------------------------------------------------------------------------------

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
    database: Database, asked: AlertFilter, now: datetime, limit: int = PAGE
) -> tuple[list[Row], int]:
    """Returns the alerts of a page with the tutor's name, and how many there are in all. Each with
    its newest event (`event_no`, `newest_event`, `newest_actor`).
    """
    where, values = _alerts_where(database, asked, now)
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
    database: Database, asked: AlertFilter, now: datetime, limit: int
) -> dict[str, int]:
    """Returns the first alerts that fit, each with the number of its newest event."""
    where, values = _alerts_where(database, asked, now)
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
    database: Database, asked: AlertFilter, now: datetime
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
            "like": _like(asked.q),
            "students": _students_called(database, asked.q) if asked.by_student else [],
        }
    return database.sql(" and ".join(conditions)), values


def _like(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _students_called(database: Database, text: str) -> list[str]:
    rows = database.rows(
        "select student_id from {marts}.dim_students where name ilike %s limit 1000", (_like(text),)
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


# -- today ----------------------------------------------------------------------------------------


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


def platform_bar(database: Database) -> Row | None:
    """Returns the newest row of the platform's metrics."""
    return database.one("select * from {marts}.platform_metrics order by metric_date desc limit 1")


# -- people ---------------------------------------------------------------------------------------


def tutor_names(database: Database, ids: Collection[str]) -> dict[str, str | None]:
    """Returns the names of tutors by id."""
    rows = database.rows(
        "select tutor_id, name from {marts}.dim_tutors where tutor_id = any(%s)", (list(ids),)
    )
    return {row["tutor_id"]: row["name"] for row in rows}


def profiles(database: Database, ids: Collection[str]) -> dict[str, Row]:
    """Returns name, member_since, primary_subject … of tutors by id."""
    rows = database.rows(
        "select tutor_id, name, member_since, primary_subject, certification_level,"
        " months_experience, is_active from {marts}.dim_tutors where tutor_id = any(%s)",
        (list(ids),),
    )
    return {row["tutor_id"]: row for row in rows}


def students(database: Database, ids: Collection[str]) -> dict[str, Row]:
    """Returns student_id and name of students by id."""
    rows = database.rows(
        "select student_id, name from {marts}.dim_students where student_id = any(%s)",
        (sorted({each for each in ids if each}),),
    )
    return {row["student_id"]: row for row in rows}


def subjects(database: Database) -> list[str]:
    """Returns the main subjects of tutors."""
    rows = database.rows(
        "select distinct primary_subject from {marts}.dim_tutors"
        " where primary_subject is not null order by primary_subject limit 200"
    )
    return [row["primary_subject"] for row in rows]


def certifications(database: Database) -> list[str]:
    """Returns the levels of certification that tutors have."""
    rows = database.rows(
        "select distinct certification_level from {marts}.dim_tutors"
        " where certification_level is not null order by certification_level limit 50"
    )
    return [row["certification_level"] for row in rows]


def risks(database: Database, ids: Collection[str]) -> dict[str, Row]:
    """Returns the risk of tutors by id."""
    rows = database.rows(
        "select * from {ops}.current_tutor_risk where tutor_id = any(%s)", (list(ids),)
    )
    return {row["tutor_id"]: row for row in rows}


def colleagues(database: Database, account: str) -> list[str]:
    """Returns the accounts that may act on alerts, `account` included."""
    rows = database.rows(
        "select name from {ops}.accounts where role in ('coach', 'admin') and disabled_at is null"
        " order by name limit 500"
    )
    return sorted({account, *(row["name"] for row in rows)})


def notes(database: Database, about: Subject) -> list[Row]:
    """Returns the notes about a tutor, student or subject, newest first."""
    return database.rows(
        "select tutor_id, note_id, alert_id, at, author, text from {ops}.notes"
        " where tutor_id = %s and subject_kind = %s and subject_id = %s"
        " order by at desc, note_id desc limit 100",
        about,
    )


def newest_notes(database: Database, tutors: Collection[str]) -> dict[str, Row]:
    """Returns the newest note about each of some tutors, by tutor."""
    rows = database.rows(
        "select distinct on (tutor_id) tutor_id, at, author, text from {ops}.notes"
        " where tutor_id = any(%s) and subject_kind = 'tutor'"
        " order by tutor_id, at desc, note_id desc",
        (list(tutors),),
    )
    return {row["tutor_id"]: row for row in rows}


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
    values: dict[str, Any] = {"now": now, "limit": limit, "offset": asked.offset}
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
        values |= {"q": asked.q, "like": _like(asked.q)}
    listed = database.sql(_TUTORS, active=SQL(ACTIVE))
    where = database.sql(" and ".join(conditions))
    total: int = database.value(
        database.sql(
            "select count(*) from ({listed}) as listed where {where}", listed=listed, where=where
        ),
        values,
    )
    rows = database.rows(
        database.sql(
            "select * from ({listed}) as listed where {where} order by {order}, tutor_id"
            " limit %(limit)s offset %(offset)s",
            listed=listed,
            where=where,
            order=SQL(_TUTOR_ORDER[asked.sorted_by]),
        ),
        values,
    )
    return rows, total


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


def history(
    database: Database, tutors: Collection[str], metrics: Sequence[str], today: date
) -> dict[str, list[Row]]:
    """Returns by tutor the daily values of metrics in the last 90 days, oldest first. Empty without
    a history; a metric that it does not have is None.
    """
    held = _history_columns(database)
    known = [name for name in metrics if name in held]
    if not known:
        return {}
    rows = database.rows(
        database.sql(
            "select tutor_id, as_of_date, {metrics} from {marts}.tutor_aggregates_history"
            " where tutor_id = any(%s) and as_of_date > %s order by tutor_id, as_of_date",
            metrics=SQL(", ").join(map(Identifier, known)),
        ),
        (list(tutors), today - timedelta(days=SPARK_DAYS)),
    )
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["tutor_id"], []).append(row)
    return found


def band(database: Database, metric: str, days: Sequence[date]) -> list[Row]:
    """Returns the middle half of all tutors (`low`, `high`) of a metric on some days."""
    if metric not in _history_columns(database):
        return []
    return database.rows(
        database.sql(
            "select as_of_date,"
            " percentile_cont(0.25) within group (order by {metric}) as low,"
            " percentile_cont(0.75) within group (order by {metric}) as high"
            " from {marts}.tutor_aggregates_history"
            " where as_of_date = any(%s) and {metric} is not null"
            " group by as_of_date order by as_of_date",
            metric=Identifier(metric),
        ),
        (list(days),),
    )


def _history_columns(database: Database) -> set[str]:
    """The numbers of the history."""
    rows = database.rows(
        "select attname from pg_attribute where attrelid = to_regclass(%s) and attnum > 0"
        " and not attisdropped and atttypid in ('integer'::regtype, 'double precision'::regtype)",
        (f'"{database.schemas.marts}".tutor_aggregates_history',),
    )
    return {row["attname"] for row in rows}


# -- sessions -------------------------------------------------------------------------------------

_SESSION_COLUMNS = (
    "tutor_id, session_id, student_id, session_on, scheduled_start, status, rescheduled_by,"
    " is_late, late_minutes, is_first_session, session_score, tutor_talk_ratio,"
    " student_frustration_count, technical_issues, student_satisfaction_rating,"
    " is_tutor_reschedule, subject, actual_duration_minutes"
)
_OVER = "scheduled_start <= %(now)s and status not in ('scheduled', 'in_progress')"
_SESSION_KIND = {
    "all": "true",
    "notable": "(status <> 'completed' or is_late or technical_issues or is_first_session"
    " or student_frustration_count >= 1 or session_score < %(low_score)s"
    " or tutor_talk_ratio > %(high_talk_ratio)s)",
    "first": "is_first_session",
    "missed": "status <> 'completed'",
}


_SESSION_ORDER = {"newest": "", "score": "session_score asc nulls last,"}


def newest_day(database: Database, now: datetime, tutor_id: str = "") -> date | None:
    """Returns the newest day with a session that is over."""
    found: date | None = database.value(
        f"select max(session_on) from {{marts}}.fct_sessions where {_OVER}"
        " and (%(tutor)s = '' or tutor_id = %(tutor)s)",
        {"now": now, "tutor": tutor_id},
    )
    return found


def sessions(
    database: Database,
    asked: SessionFilter,
    on: date | None,
    now: datetime,
    limits: Mapping[str, float],
    limit: int = PAGE,
) -> tuple[list[Row], int]:
    """Returns the sessions of a page that are over, newest first, and how many there are: of a day,
    or without one of a tutor.
    """
    values = {
        "now": now,
        "on": on,
        "tutor": asked.tutor,
        "limit": limit,
        "offset": asked.offset,
        "low_score": limits["low_score"],
        "high_talk_ratio": limits["high_talk_ratio"],
    }
    where = f"{_OVER} and {_SESSION_KIND[asked.kind]}"
    where += " and session_on = %(on)s" if on is not None else ""
    where += " and tutor_id = %(tutor)s" if asked.tutor else ""
    total: int = database.value(
        f"select count(*) from {{marts}}.fct_sessions where {where}", values
    )
    rows = database.rows(
        f"select {_SESSION_COLUMNS} from {{marts}}.fct_sessions where {where}"
        f" order by {_SESSION_ORDER[asked.order]}"
        " session_on desc, scheduled_start desc, session_id desc"
        " limit %(limit)s offset %(offset)s",
        values,
    )
    return rows, total


def sessions_by_id(database: Database, wanted: Mapping[str, Collection[str]]) -> dict[str, Row]:
    """Returns sessions by id; `wanted` are the ids by tutor."""
    rows = database.rows(
        f"select {_SESSION_COLUMNS} from {{marts}}.fct_sessions"
        " where tutor_id = any(%s) and session_id = any(%s)",
        (list(wanted), [each for ids in wanted.values() for each in ids]),
    )
    return {row["session_id"]: row for row in rows}


def session(database: Database, session_id: str, tutor_id: str) -> Row | None:
    """Returns all that is known of a session. `tutor_id`: whose it is, '' = not known, which reads
    all sessions.
    """
    return database.one(
        "select * from {marts}.fct_sessions where session_id = %(session)s"
        " and (%(tutor)s = '' or tutor_id = %(tutor)s) limit 1",
        {"session": session_id, "tutor": tutor_id},
    )


def alerts_on(database: Database, tutor_id: str, session_id: str) -> list[Row]:
    """Returns the alerts of a tutor that rest on a session, open ones first."""
    return database.rows(
        "select alert_id, severity, title, description, triggered_date, resolved_at, resolution,"
        " resolved_by, snoozed_until, acknowledged_at, acknowledged_by from {ops}.alerts"
        " where tutor_id = %s and %s = any(evidence_session_ids)"
        " order by resolved_at is not null, triggered_date desc",
        (tutor_id, session_id),
    )

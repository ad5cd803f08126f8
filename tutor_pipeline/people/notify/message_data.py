"""What messages say, read from our tables: plain SQL that returns dicts.

No feedback text, no address of a person, and no student's name is read here: a message may be
forwarded to anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tutor_pipeline.core.warehouse.database import Database

Row = dict[str, Any]

MAX_LISTED = 10
"""Of anything in a digest: who needs more looks at `attention`."""
MOVERS = 3
TOLD_WITHIN = timedelta(days=7)
"""A digest that is made later than this after its week tells of the week alone."""

_ALERTS = """
    select
        alerts.tutor_id,
        alerts.alert_id,
        alerts.alert_type,
        alerts.severity,
        alerts.title,
        alerts.description,
        alerts.recommended_action,
        alerts.evidence_session_ids,
        alerts.excess,
        alerts.triggered_date,
        alerts.acknowledged_at,
        alerts.acknowledged_by,
        alerts.snoozed_until,
        alerts.resolved_at,
        tutors.name,
        aggregates.is_high_reschedule,
        aggregates.sessions_30d,
        aggregates.last_session_at,
        health.segment,
        health.recommendations
    from {ops}.alerts as alerts
    inner join unnest(%(tutors)s::text[], %(alerts)s::text[]) as wanted (tutor_id, alert_id)
        on alerts.tutor_id = wanted.tutor_id and alerts.alert_id = wanted.alert_id
    left join {marts}.dim_tutors as tutors on alerts.tutor_id = tutors.tutor_id
    left join {marts}.tutor_aggregates as aggregates on alerts.tutor_id = aggregates.tutor_id
    left join {ops}.tutor_health as health on alerts.tutor_id = health.tutor_id
"""

_SESSIONS = """
    select
        sessions.tutor_id,
        sessions.session_id,
        sessions.scheduled_start,
        sessions.status,
        sessions.subject,
        sessions.actual_duration_minutes,
        sessions.late_minutes,
        sessions.is_late,
        sessions.is_first_session,
        sessions.technical_issues,
        sessions.session_score,
        sessions.student_engagement_score,
        sessions.student_satisfaction_rating,
        sessions.empathy_score,
        sessions.clarity_score,
        sessions.tutor_talk_ratio,
        sessions.student_frustration_count
    from {marts}.fct_sessions as sessions
    inner join unnest(%(tutors)s::text[], %(sessions)s::text[]) as wanted (tutor_id, session_id)
        on sessions.tutor_id = wanted.tutor_id and sessions.session_id = wanted.session_id
    order by sessions.tutor_id, sessions.scheduled_start, sessions.session_id
"""

# The tutor's own averages are of 30 days, the session itself among them.
_TUTORS = """
    select
        tutors.tutor_id,
        tutors.name,
        aggregates.is_high_reschedule,
        aggregates.sessions_7d,
        aggregates.sessions_30d,
        aggregates.sessions_90d,
        aggregates.reschedule_rate_7d,
        aggregates.reschedule_rate_30d,
        aggregates.reschedule_rate_90d,
        aggregates.avg_session_score_30d,
        aggregates.avg_engagement_30d,
        aggregates.avg_rating_30d,
        aggregates.avg_empathy_30d,
        aggregates.avg_clarity_30d,
        aggregates.avg_talk_ratio,
        (
            select json_agg(json_build_object(
                'insight_type', insights.insight_type,
                'display_text', insights.display_text,
                'coaching_tip', insights.coaching_tip
            ) order by insights.detected_at desc, insights.category)
            from {ops}.tutor_insights as insights
            where
                insights.tutor_id = tutors.tutor_id
                and insights.is_active
                and insights.insight_type <> 'at_threshold'
        ) as insights,
        (
            select json_agg(json_build_object(
                'severity', alerts.severity, 'title', alerts.title,
                'description', alerts.description
            ) order by alerts.severity, alerts.triggered_date desc, alerts.alert_id)
            from {ops}.alerts as alerts
            where
                alerts.tutor_id = tutors.tutor_id
                and alerts.resolved_at is null
                and (alerts.snoozed_until is null or alerts.snoozed_until <= %(now)s)
        ) as alerts
    from {marts}.dim_tutors as tutors
    left join {marts}.tutor_aggregates as aggregates on tutors.tutor_id = aggregates.tutor_id
    where tutors.tutor_id = any(%(tutors)s::text[])
"""

# Whoever is on the list at a moment: open then, and not snoozed now.
_IN_NEED = """
    select count(distinct tutor_id) as tutors
    from {ops}.alerts
    where
        triggered_date < %(at)s
        and (resolved_at is null or resolved_at >= %(at)s)
        and (snoozed_until is null or snoozed_until <= %(at)s)
"""

_NEW = """
    select
        alerts.tutor_id, tutors.name, alerts.alert_id, alerts.severity, alerts.title,
        alerts.description, alerts.recommended_action, alerts.triggered_date,
        alerts.acknowledged_by, alerts.resolved_at, alerts.resolution
    from {ops}.alerts as alerts
    left join {marts}.dim_tutors as tutors on alerts.tutor_id = tutors.tutor_id
    where alerts.triggered_date >= %(since)s and alerts.triggered_date < %(until)s
    order by
        alerts.resolved_at is not null, alerts.severity, alerts.excess desc, alerts.tutor_id,
        alerts.alert_id
"""

_RESOLVED = """
    select
        alerts.tutor_id, tutors.name, alerts.title, alerts.resolution, alerts.resolved_by,
        alerts.action_taken, alerts.resolved_at
    from {ops}.alerts as alerts
    left join {marts}.dim_tutors as tutors on alerts.tutor_id = tutors.tutor_id
    where alerts.resolved_at >= %(since)s and alerts.resolved_at < %(until)s
    order by
        alerts.resolved_by = 'pipeline', alerts.resolved_at desc, alerts.tutor_id, alerts.alert_id
"""

_OLDEST = """
    select
        alerts.tutor_id, tutors.name, alerts.alert_id, alerts.severity, alerts.title,
        alerts.triggered_date, alerts.acknowledged_by
    from {ops}.alerts as alerts
    left join {marts}.dim_tutors as tutors on alerts.tutor_id = tutors.tutor_id
    where
        (alerts.resolved_at is null or alerts.resolved_at >= %(at)s)
        and alerts.triggered_date < %(since)s
        and (alerts.snoozed_until is null or alerts.snoozed_until <= %(at)s)
    order by alerts.triggered_date, alerts.severity, alerts.tutor_id, alerts.alert_id
"""

_MOVERS = """
    select
        aggregates.tutor_id, tutors.name, aggregates.avg_session_score_14d as now,
        aggregates.avg_session_score_prior_14d as before, aggregates.score_change_14d as change,
        aggregates.avg_session_score_14d_n as n
    from {marts}.tutor_aggregates as aggregates
    left join {marts}.dim_tutors as tutors on aggregates.tutor_id = tutors.tutor_id
    where aggregates.score_change_14d is not null
"""

_BADGES = """
    select badges.tutor_id, tutors.name, badges.title, badges.icon
    from {ops}.achievements as badges
    left join {marts}.dim_tutors as tutors on badges.tutor_id = tutors.tutor_id
    where
        coalesce(badges.last_earned_date, badges.earned_date) >= %(since)s
        and coalesce(badges.last_earned_date, badges.earned_date) < %(until)s
        and badges.is_active
    order by badges.title, badges.tutor_id
"""

_TREND = """
    select * from {marts}.platform_metrics where metric_date <= %(last_day)s
    order by metric_date desc limit 1
"""

_SESSIONS_OF_WEEK = """
    select
        count(*) filter (where status not in ('scheduled', 'in_progress')) as sessions,
        count(*) filter (where status = 'completed') as completed,
        count(*) filter (where status = 'no_show_tutor') as no_shows,
        count(*) filter (where is_tutor_reschedule) as reschedules,
        avg(session_score) filter (where status = 'completed') as score
    from {marts}.fct_sessions
    where session_on between %(first_day)s and %(last_day)s and scheduled_start <= %(now)s
"""

TRENDS = (
    ("sessions", "Sessions", "number", True),
    ("completion_rate", "Sessions completed", "percent", True),
    ("no_show_rate", "Tutor did not come", "percent", False),
    ("reschedule_rate", "Rescheduled by the tutor", "percent", False),
    ("avg_session_score", "Session score (0 to 10)", "decimal", True),
    ("avg_rating", "Student rating (1 to 5)", "decimal", True),
    ("avg_engagement", "Engagement (0 to 10)", "decimal", True),
)
"""What of `platform_metrics` is told: column, words, form, and whether more is better."""


def alerts(database: Database, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Row]:
    """Alerts as they stand now, by (tutor, alert): name, texts, evidence, health."""
    tutors, ids = zip(*wanted, strict=True) if wanted else ((), ())
    rows = database.rows(_ALERTS, {"tutors": list(tutors), "alerts": list(ids)})
    return {(row["tutor_id"], row["alert_id"]): row for row in rows}


def sessions(database: Database, wanted: Sequence[tuple[str, str]], now: datetime) -> list[Row]:
    """A report for each tutor of these (tutor, session): `sessions`, own averages, insights."""
    tutors, ids = zip(*wanted, strict=True) if wanted else ((), ())
    found = database.rows(_SESSIONS, {"tutors": list(tutors), "sessions": list(ids)})
    reports = database.rows(_TUTORS, {"tutors": sorted(set(tutors)), "now": now})
    for report in reports:
        report["sessions"] = [
            row
            for row in found
            if row["tutor_id"] == report["tutor_id"] and row["status"] == "completed"
        ]
        report["insights"] = report["insights"] or []
        report["alerts"] = report["alerts"] or []
    kept = [report for report in reports if report["sessions"]]
    return sorted(
        kept, key=lambda report: (report["sessions"][0]["scheduled_start"], report["tutor_id"])
    )


def week(database: Database, first_day: date, now: datetime) -> Row:
    """What happened in the seven days from `first_day` on, in the pipeline's time zone."""
    zone = ZoneInfo(database.timezone)
    last_day = first_day + timedelta(days=6)
    values: dict[str, Any] = {
        "since": datetime.combine(first_day, time(), zone),
        "until": datetime.combine(first_day + timedelta(days=7), time(), zone),
        "first_day": first_day,
        "last_day": last_day,
        "now": now,
    }

    # A week that ended long ago is told as it ended; what is known of today alone is left out.
    is_late = now > values["until"] + TOLD_WITHIN
    at = values["at"] = values["until"] if is_late else now

    def read(query: str) -> list[Row]:
        return database.rows(query, values)

    def in_need(at: datetime) -> int:
        (row,) = database.rows(_IN_NEED, {"at": at})
        return int(row["tutors"])

    moved = [] if is_late else read(_MOVERS)
    movers = sorted(moved, key=lambda row: (row["change"], row["tutor_id"]))
    trend = read(_TREND)
    return {
        "first_day": first_day,
        "last_day": last_day,
        "at": at,
        "in_need": in_need(at),
        "in_need_before": in_need(values["since"]),
        "sessions": read(_SESSIONS_OF_WEEK)[0],
        "new": read(_NEW),
        "resolved": read(_RESOLVED),
        "oldest": read(_OLDEST),
        "falling": [row for row in movers if row["change"] < 0][:MOVERS],
        "rising": [row for row in reversed(movers) if row["change"] > 0][:MOVERS],
        "badges": read(_BADGES),
        "trend": _trend(trend[0]) if trend else [],
    }


def rules_in_force(database: Database) -> str | None:
    """The rule profile of the newest run over alerts; None before the first."""
    rows = database.rows(
        "select profile from {ops}.reconcile_runs where kind = 'alert'"
        " order by applied_at desc limit 1",
        {},
    )
    return rows[0]["profile"] if rows else None


def open_warnings(database: Database, now: datetime) -> int:
    """How many warnings are open and not snoozed."""
    (row,) = database.rows(
        "select count(*) as alerts from {ops}.alerts where severity = 'warning'"
        " and resolved_at is null and (snoozed_until is null or snoozed_until <= %(now)s)",
        {"now": now},
    )
    return int(row["alerts"])


def _trend(row: Row) -> list[Row]:
    return [
        {
            "words": words,
            "form": form,
            "now": row[f"{name}_30d"],
            "before": row[f"{name}_prior_30d"],
            "change": row[f"{name}_change"],
            "trend": row[f"{name}_trend"],
            "is_good": None
            if row[f"{name}_trend"] in (None, "neutral")
            else (row[f"{name}_trend"] == "up") == more_is_better,
        }
        for name, words, form, more_is_better in TRENDS
        if row[f"{name}_30d"] is not None
    ]

"""Reads the data of a digest: a week of alerts, sessions, movers, badges and the platform.

Reads no feedback text, no address of a person and no name of a student: anybody may forward a
message.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.judgement.lifecycle import outcomes
from tutor_pipeline.judgement.lifecycle.active import tutors_in_need

MAX_LISTED = 10
"""The length of each list in a digest; `attention` shows all."""
MOVERS = 3
"""How many tutors a digest names whose scores rose most, and whose fell most."""
TOLD_WITHIN = timedelta(days=7)
"""A digest made later than this after its week leaves out what is only known as of today."""

_NEW = """
    select
        alerts.tutor_id, alerts.subject_kind as about_kind, alerts.subject_id as about_id,
        tutors.name, alerts.alert_id, alerts.severity, alerts.title, alerts.description,
        alerts.recommended_action, alerts.triggered_date,
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
        alerts.tutor_id, alerts.subject_kind as about_kind, alerts.subject_id as about_id,
        tutors.name, alerts.title, alerts.resolution, alerts.resolved_by,
        alerts.action_taken, alerts.resolved_at
    from {ops}.alerts as alerts
    left join {marts}.dim_tutors as tutors on alerts.tutor_id = tutors.tutor_id
    where alerts.resolved_at >= %(since)s and alerts.resolved_at < %(until)s
    order by
        alerts.resolved_by = 'pipeline', alerts.resolved_at desc, alerts.tutor_id, alerts.alert_id
"""

_OLDEST = """
    select
        alerts.tutor_id, alerts.subject_kind as about_kind, alerts.subject_id as about_id,
        tutors.name, alerts.alert_id, alerts.severity, alerts.title, alerts.triggered_date,
        alerts.acknowledged_by
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
"""Metrics of `platform_metrics` in a digest: column, words, form, and whether more is better."""


def week_data(database: Database, first_day: date, now: datetime) -> Row:
    """Returns the data of a digest: the seven days from `first_day` on, in the pipeline's zone."""
    zone = ZoneInfo(database.timezone)
    last_day = first_day + timedelta(days=6)
    since = datetime.combine(first_day, time(), zone)
    until = datetime.combine(first_day + timedelta(days=7), time(), zone)
    # The digest of an earlier week describes its end; metrics as of today do not belong in it.
    is_late = now > until + TOLD_WITHIN
    at = until if is_late else now
    values = {"since": since, "until": until, "first_day": first_day, "last_day": last_day,
              "now": now, "at": at}  # fmt: skip

    def read(query: str) -> list[Row]:
        return database.rows(query, values)

    moved = [] if is_late else read(_MOVERS)
    movers = sorted(moved, key=lambda row: (row["change"], row["tutor_id"]))
    platform = database.one(_TREND, values)
    return {
        "first_day": first_day,
        "last_day": last_day,
        "at": at,
        "in_need": tutors_in_need(database, at),
        "in_need_before": tutors_in_need(database, since),
        "sessions": read(_SESSIONS_OF_WEEK)[0],
        "new": read(_NEW),
        "resolved": read(_RESOLVED),
        "oldest": read(_OLDEST),
        "outcomes": outcomes.read(database, at)[0],
        "falling": [row for row in movers if row["change"] < 0][:MOVERS],
        "rising": [row for row in reversed(movers) if row["change"] > 0][:MOVERS],
        "badges": read(_BADGES),
        "trend": _trend(platform) if platform else [],
    }


def _trend(row: Row) -> list[Row]:
    """Returns the metrics of the platform that are known, each with its change."""
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

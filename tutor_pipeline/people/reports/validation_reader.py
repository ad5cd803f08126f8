"""Reads the validation report from what the pipeline keeps.

Belongs here: the queries, the trend of the quarantine, the comparison with the previous report.
Does not belong here: the verdict (`validation`) and running checks. Outcomes of checks come from
`ops.dq_results` only, so the report is the same for every reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.judgement.lifecycle.store import profile_in_force
from tutor_pipeline.people.reports.status_queries import alerts_as_of, exists, is_stale
from tutor_pipeline.people.reports.validation import (
    AchievementCount,
    AlertCount,
    Changes,
    Check,
    Count,
    Coverage,
    Day,
    Forced,
    Freshness,
    InsightCount,
    Quarantine,
    Reason,
    State,
    Validation,
    judge,
)

TREND_DAYS = 30
"""Days of the quarantine's trend, the newest included."""

_SESSIONS = """
    select
        count(*) as sessions,
        max(scheduled_start) filter (where status = 'completed' and scheduled_start <= %(now)s)
            as newest_session
    from {marts}.fct_sessions
"""

_NEWEST_REFRESH = """
    select as_of, started_at from {ops}.refresh_runs
    where is_full and snapshot_from is null
    order by started_at desc, run_id
    limit 1
"""

_ALERTS = """
    select
        alert_type,
        (array_agg(title order by triggered_date desc, alert_id))[1] as title,
        count(*) filter (where severity = 'critical') as critical,
        count(*) filter (where severity = 'warning') as warning,
        count(*) filter (where snoozed_until > %(now)s) as snoozed
    from {ops}.alerts
    where resolved_at is null
    group by alert_type
    order by critical desc, warning desc, alert_type
"""

_INSIGHTS = """
    select category, insight_type, count(*) as tutors
    from {ops}.tutor_insights
    where resolved_at is null
    group by category, insight_type
    order by insight_type desc, tutors desc, category
"""

_ACHIEVEMENTS = """
    select
        achievement_type,
        (array_agg(title order by last_earned_date desc, tutor_id))[1] as title,
        (array_agg(icon order by last_earned_date desc, tutor_id))[1] as icon,
        count(*) filter (where resolved_at is null) as held,
        count(*) filter (where resolved_at is not null) as lapsed
    from {ops}.achievements
    group by achievement_type
    order by held desc, achievement_type
"""

# The newest run of each kind: the kinds do not always run together.
_COVERAGE = """
    select kind, rule_id, tutors, evaluated
    from (
        select *, first_value(run_id) over newest as newest_run_id
        from {ops}.rule_coverage
        window newest as (partition by kind order by evaluated_at desc, run_id)
    ) as coverage
    where run_id = newest_run_id
    order by kind, evaluated::double precision / nullif(tutors, 0), rule_id
"""

_FORCED = """
    select asset, forced_by, forced_at, objections
    from {ops}.dq_overrides
    where %(since)s::timestamptz is null or forced_at > %(since)s
    order by forced_at desc, asset
"""

_SOURCES = """
    select source, count(*) as rows
    from {ops}.quarantine
    where resolved_at is null
    group by source
    order by source
"""

_REASONS = """
    select source, reason, count(*) as rows
    from {ops}.quarantine, unnest(reasons) as reason
    where resolved_at is null
    group by source, reason
    order by source, rows desc, reason
"""

# A row that was corrected and broke again keeps its first day and counts as open since then.
_EVENTS = """
    select day, sum(opened)::int as opened, sum(resolved)::int as resolved
    from (
        select (first_seen at time zone 'UTC')::date as day, 1 as opened, 0 as resolved
        from {ops}.quarantine
        union all
        select (resolved_at at time zone 'UTC')::date as day, 0 as opened, 1 as resolved
        from {ops}.quarantine
        where resolved_at is not null
    ) as events
    group by day
    order by day
"""

_PREVIOUS = """
    select made_at, summary
    from {ops}.validation_reports
    where run_id is distinct from %(run_id)s::text
    order by made_at desc, run_id
    limit 1
"""


def gather(database: Database, now: datetime, run_id: str | None = None) -> Validation:
    """Returns the report as of `now`. Tables that are not built yet are left out.

    `run_id` is the run that the report belongs to: a report that is written again for the same run
    is compared with the report before it, not with itself.
    """
    sessions, freshness = _read_freshness(database, now)
    checks = _read_checks(database)
    quarantine = _read_quarantine(database, (freshness.as_of or now).astimezone(UTC).date())
    alerts = tuple(AlertCount(**row) for row in database.rows(_ALERTS, {"now": now}))
    insights = tuple(InsightCount(**row) for row in database.rows(_INSIGHTS))
    achievements = tuple(AchievementCount(**row) for row in database.rows(_ACHIEVEMENTS))
    counts = {
        "sessions": sessions or 0,
        "checks": len(checks),
        "checks_not_holding": sum(not check.is_sound for check in checks),
        "quarantined_rows": quarantine.open,
        "critical_alerts": sum(each.critical for each in alerts),
        "warning_alerts": sum(each.warning for each in alerts),
        "strengths": sum(each.tutors for each in insights if each.insight_type == "strength"),
        "growth_areas": sum(each.tutors for each in insights if each.insight_type == "growth_area"),
        "achievements": sum(each.held for each in achievements),
    }
    changes = _changes(database.one(_PREVIOUS, {"run_id": run_id}), checks, counts)
    forced = tuple(Forced(**row) for row in database.rows(_FORCED, {"since": changes.since}))
    return Validation(
        made_at=now,
        verdict=judge(checks, sessions, freshness, forced),
        sessions=sessions,
        freshness=freshness,
        checks=checks,
        changes=changes,
        forced=forced,
        quarantine=quarantine,
        alerts=alerts,
        insights=insights,
        achievements=achievements,
        coverage=tuple(Coverage(**row) for row in database.rows(_COVERAGE)),
        rules=profile_in_force(database),
    )


def _read_freshness(database: Database, now: datetime) -> tuple[int | None, Freshness]:
    """Returns the number of sessions (None before the table is built) and how new all is."""
    sessions, newest_session = None, None
    if exists(database, database.schemas.marts, "fct_sessions"):
        (found,) = database.rows(_SESSIONS, {"now": now})
        sessions, newest_session = found["sessions"], found["newest_session"]
    refresh = database.one(_NEWEST_REFRESH) or {"as_of": None, "started_at": None}
    freshness = Freshness(
        newest_session,
        refresh["as_of"],
        refresh["started_at"],
        loaded_since=is_stale(database),
        alerts_as_of=alerts_as_of(database),
    )
    return sessions, freshness


def _read_checks(database: Database) -> tuple[Check, ...]:
    """Returns the checks by table, within a table the most urgent first."""
    rows = database.rows(statement(__file__, "validation_checks"))
    checks = (
        Check(**{**row, "state": State(row["state"]), "sample": _ids_first(row["sample"])})
        for row in rows
    )
    return tuple(
        sorted(
            checks,
            key=lambda check: (check.asset, check.is_sound, not check.stops, not check.is_error),
        )
    )


def _read_quarantine(database: Database, until: date) -> Quarantine:
    sources = {row["source"]: row["rows"] for row in database.rows(_SOURCES)}
    return Quarantine(
        open=sum(sources.values()),
        sources=sources,
        reasons=tuple(Reason(**row) for row in database.rows(_REASONS)),
        days=_trend(database.rows(_EVENTS), until),
    )


def _ids_first(sample: Sequence[Any]) -> list[Row]:
    """Returns failing rows with their id columns first: jsonb does not keep the order of keys."""
    rows = [row if isinstance(row, dict) else {"value": row} for row in sample]
    return [dict(sorted(row.items(), key=lambda item: not item[0].endswith("_id"))) for row in rows]


def _changes(previous: Row | None, checks: Sequence[Check], counts: Mapping[str, int]) -> Changes:
    """Compares with the previous report. A check that it did not have counts as sound in it."""
    if previous is None:
        now = tuple(Count(name, None, number) for name, number in counts.items())
        return Changes(since=None, counts=now)
    states = previous["summary"].get("checks", {})

    def was_sound(check: Check) -> bool:
        return bool(states.get(check.asset, {}).get(check.name, State.PASSED) == State.PASSED)

    before = previous["summary"].get("counts", {})
    return Changes(
        since=previous["made_at"],
        began=tuple(check for check in checks if not check.is_sound and was_sound(check)),
        mended=tuple(check for check in checks if check.is_sound and not was_sound(check)),
        counts=tuple(Count(name, before.get(name), number) for name, number in counts.items()),
    )


def _trend(events: Sequence[Row], until: date) -> tuple[Day, ...]:
    """Returns TREND_DAYS days that end at `until`, or at the newest event when that is later."""
    until = max([until, *(row["day"] for row in events)])
    first = until - timedelta(days=TREND_DAYS - 1)
    by_day = {row["day"]: row for row in events}
    still_open = sum(row["opened"] - row["resolved"] for row in events if row["day"] < first)
    days = []
    for number in range(TREND_DAYS):
        day = first + timedelta(days=number)
        opened, resolved = (by_day.get(day, {}).get(name, 0) for name in ("opened", "resolved"))
        still_open += opened - resolved
        days.append(Day(day, opened, resolved, still_open))
    return tuple(days)

"""When it happens: sessions that were moved or missed by weekday and hour, by month, by reason."""

from __future__ import annotations

from datetime import datetime, timedelta

from tutor_pipeline.core.warehouse.database import Database, Row

DAYS = 90
"""The days of which weekdays and hours are counted."""
MONTHS = 12

_COUNTED = """
    count(*) as sessions,
    count(*) filter (where is_tutor_reschedule) as moved,
    count(*) filter (where status = 'no_show_tutor') as missed,
    count(*) filter (where status = 'no_show_student') as missed_by_student
"""
_OVER = "scheduled_start <= %(now)s and status not in ('scheduled', 'in_progress')"


def by_hour(database: Database, now: datetime) -> list[Row]:
    """Returns counts by weekday (1 = Monday) and hour of the pipeline's zone, of 90 days."""
    return database.rows(
        "select extract(isodow from scheduled_start at time zone %(zone)s)::int as weekday,"
        f" extract(hour from scheduled_start at time zone %(zone)s)::int as hour, {_COUNTED}"
        f" from {{marts}}.fct_sessions where session_on > %(since)s and {_OVER}"
        " group by 1, 2 order by 1, 2",
        {"now": now, "zone": database.timezone, "since": (now - timedelta(days=DAYS)).date()},
    )


def by_month(database: Database, now: datetime) -> list[Row]:
    """Returns counts by month, oldest first, of the last twelve with sessions."""
    rows = database.rows(
        f"select date_trunc('month', session_on)::date as month, {_COUNTED}"
        f" from {{marts}}.fct_sessions where session_on > %(since)s and {_OVER}"
        " group by 1 order by 1 desc limit %(months)s",
        {"now": now, "since": (now - timedelta(days=31 * MONTHS)).date(), "months": MONTHS},
    )
    return rows[::-1]


def reasons(database: Database, now: datetime) -> list[Row]:
    """Returns the reasons that tutors gave for moving sessions in 90 days, the most frequent first;
    None = none given.
    """
    return database.rows(
        "select nullif(btrim(reschedule_reason), '') as reason, count(*) as sessions"
        f" from {{marts}}.fct_sessions where session_on > %(since)s and {_OVER}"
        " and is_tutor_reschedule group by 1 order by 2 desc, 1 limit 10",
        {"now": now, "since": (now - timedelta(days=DAYS)).date()},
    )

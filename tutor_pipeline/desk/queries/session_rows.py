"""Sessions: those of a day or a tutor, one with everything known."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, datetime

from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.desk.filters import PAGE, SessionFilter
from tutor_pipeline.judgement.lifecycle import excuses
from tutor_pipeline.sources.changes import ledger

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
    return _with_excuses(database, rows), total


def sessions_by_id(database: Database, wanted: Mapping[str, Collection[str]]) -> dict[str, Row]:
    """Returns sessions by id; `wanted` are the ids by tutor."""
    rows = database.rows(
        f"select {_SESSION_COLUMNS} from {{marts}}.fct_sessions"
        " where tutor_id = any(%s) and session_id = any(%s)",
        (list(wanted), [each for ids in wanted.values() for each in ids]),
    )
    return {row["session_id"]: row for row in _with_excuses(database, rows)}


def _with_excuses(database: Database, rows: list[Row]) -> list[Row]:
    """The sessions with the excuses in force (`excuses`), whether a refresh counts them yet or
    not.
    """
    held = excuses.of_sessions(database, [(row["tutor_id"], row["session_id"]) for row in rows])
    return [row | {"excuses": held.get((row["tutor_id"], row["session_id"]), [])} for row in rows]


def excused_sessions(database: Database, tutor_id: str, now: datetime) -> list[Row]:
    """Returns the sessions of a tutor that are excused and of which an alert could be, newest
    first.
    """
    since = now - ledger.LOOKBACK
    made = excuses.made(database, [tutor_id], since)
    found = sessions_by_id(database, {tutor_id: {row["session_id"] for row in made}})
    return sorted(found.values(), key=lambda row: row["scheduled_start"], reverse=True)


def session(database: Database, session_id: str, tutor_id: str) -> Row | None:
    """Returns all that is known of a session. `tutor_id`: whose it is, '' = not known, which reads
    all sessions.
    """
    found = database.one(
        "select * from {marts}.fct_sessions where session_id = %(session)s"
        " and (%(tutor)s = '' or tutor_id = %(tutor)s) limit 1",
        {"session": session_id, "tutor": tutor_id},
    )
    return found and _with_excuses(database, [found])[0]

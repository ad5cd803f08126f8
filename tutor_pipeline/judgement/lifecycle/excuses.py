"""Excuses: sessions that people strike from what speaks against a tutor, in `ops.session_excuses`.

Belongs here: making and undoing them. The session is marked as changed, so that a refresh follows
at once; open alerts that rest on the session get an event.
Does not belong here: what an excuse does to metrics (the macros of dbt_project/macros/excuses.sql).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from psycopg.types.json import Jsonb

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.findings import Kind
from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.judgement.lifecycle.store import check_person, checked_reason, lock
from tutor_pipeline.sources.changes import ledger


class ExcuseKind(StrEnum):
    """What a session is excused from."""

    ABSENCE = "absence"
    RESCHEDULE = "reschedule"
    LATENESS = "lateness"
    QUALITY = "quality"
    ALL = "all"


_WHAT = {
    ExcuseKind.ABSENCE: "the tutor is not said to have missed it",
    ExcuseKind.RESCHEDULE: "the tutor did not move it",
    ExcuseKind.LATENESS: "it did not begin late",
    ExcuseKind.QUALITY: "it did not take place, so nothing is known of its quality",
}


def fitting(session: Mapping[str, Any]) -> tuple[ExcuseKind, ...]:
    """Returns what a session (a row of fct_sessions) can be excused from, `all` last; nothing
    before it is over. Pure.
    """
    if session["status"] in ("scheduled", "in_progress"):
        return ()
    found = {
        ExcuseKind.ABSENCE: session["status"] in ("no_show_tutor", "not_held"),
        ExcuseKind.RESCHEDULE: session["is_tutor_reschedule"],
        ExcuseKind.LATENESS: session["is_late"],
        ExcuseKind.QUALITY: session["status"] == "completed",
    }
    kinds = tuple(kind for kind, fits in found.items() if fits)
    return (*kinds, ExcuseKind.ALL) if kinds else ()


def excuse(
    database: Database,
    tutor_id: str,
    session_id: str,
    kind: ExcuseKind,
    *,
    reason: str,
    by: str,
    at: datetime,
) -> int:
    """Excuses a session. Returns the number of the excuse.

    Raises UsageError for a session that is not there, not over, or too old to count in any alert,
    of which nothing of that kind is said, or which is excused of it already; and without a reason.
    """
    check_person(by)
    reason = checked_reason(reason, "an excuse")
    with database.transaction():
        lock(database, Kind.ALERT)
        _check(database, tutor_id, session_id, kind, at)
        number: int = database.value(
            """
            insert into {ops}.session_excuses
                (tutor_id, session_id, kind, reason, excused_by, excused_at)
            values (%s, %s, %s, %s, %s, %s)
            returning excuse_id
            """,
            (tutor_id, session_id, kind, reason, by, at),
        )
        details = {"excuse_id": number, "session_id": session_id, "kind": kind, "note": reason}
        alerts = _resting_on(database, tutor_id, session_id)
        _tell(database, "excused", tutor_id, alerts, by, at, details)
        ledger.mark(database, tutor_id, session_id, at)
    return number


def undo(database: Database, excuse_id: int, *, by: str, at: datetime) -> Row:
    """Ends an excuse: from today on the session counts again. Returns the excuse.

    Raises UsageError for one that is not there or undone already.
    """
    check_person(by)
    with database.transaction():
        lock(database, Kind.ALERT)
        found = find(database, excuse_id)
        if found is None:
            raise UsageError(f"there is no excuse {excuse_id}")
        if found["undone_at"] is not None:
            raise UsageError(f"{found['undone_by']} undid this excuse already")
        tutor_id, session_id = found["tutor_id"], found["session_id"]
        database.execute(
            "update {ops}.session_excuses set undone_by = %s, undone_at = greatest(%s, excused_at)"
            " where tutor_id = %s and excuse_id = %s",
            (by, at, tutor_id, excuse_id),
        )
        details = {
            "excuse_id": excuse_id,
            "session_id": session_id,
            "kind": found["kind"],
        }
        alerts = _told_of(database, tutor_id, excuse_id)
        _tell(database, "unexcused", tutor_id, alerts, by, at, details)
        ledger.mark(database, tutor_id, session_id, at)
    return found


def made(
    database: Database, tutors: Sequence[str] | None, since: datetime, *, undone: bool = False
) -> list[Row]:
    """Returns the excuses of tutors (None = all) that were made since a moment, newest first: those
    in force, with `undone` all.
    """
    return database.rows(
        "select * from {ops}.session_excuses"
        " where (%(tutors)s::text[] is null or tutor_id = any(%(tutors)s))"
        " and excused_at >= %(since)s and (%(undone)s or undone_at is null)"
        " order by excused_at desc, excuse_id desc",
        {"tutors": None if tutors is None else list(tutors), "since": since, "undone": undone},
    )


def find(database: Database, excuse_id: int) -> Row | None:
    """Returns an excuse, in force or undone."""
    return database.one("select * from {ops}.session_excuses where excuse_id = %s", (excuse_id,))


def of_sessions(
    database: Database, sessions: Collection[tuple[str, str]]
) -> dict[tuple[str, str], list[Row]]:
    """Returns the excuses in force of sessions, by (tutor, session)."""
    found: dict[tuple[str, str], list[Row]] = {}
    if sessions:
        tutors, ids = zip(*sessions, strict=True)
        for row in database.rows(
            "select * from {ops}.session_excuses"
            " where tutor_id = any(%s) and session_id = any(%s) and undone_at is null"
            " order by excuse_id",
            (sorted(set(tutors)), list(ids)),
        ):
            found.setdefault((row["tutor_id"], row["session_id"]), []).append(row)
    return found


def _check(
    database: Database, tutor_id: str, session_id: str, kind: ExcuseKind, at: datetime
) -> None:
    session = database.one(
        "select status, scheduled_start, is_tutor_reschedule, is_late from {marts}.fct_sessions"
        " where tutor_id = %s and session_id = %s",
        (tutor_id, session_id),
    )
    if session is None:
        raise UsageError(f"there is no session {session_id} of this tutor")
    if session["scheduled_start"] > at or not fitting(session):
        raise UsageError(
            "there is nothing to excuse: the session is not over, or nothing that it says counts"
            " against the tutor"
        )
    if session["scheduled_start"] < at - timedelta(days=ledger.LOOKBACK.days):
        raise UsageError(
            f"the session is older than {ledger.LOOKBACK.days} days: it counts in no alert any more"
        )
    if kind not in fitting(session):
        raise UsageError(f"there is nothing to excuse of that kind: {_WHAT[kind]}")
    earlier = database.one(
        "select excused_by, kind from {ops}.session_excuses where tutor_id = %s"
        " and session_id = %s and kind in (%s, 'all') and undone_at is null"
        " order by excused_at limit 1",
        (tutor_id, session_id, kind),
    )
    if earlier is not None:
        of_all = " of all" if earlier["kind"] == ExcuseKind.ALL else ""
        raise UsageError(f"{earlier['excused_by']} excused the session{of_all} already")


def _resting_on(database: Database, tutor_id: str, session_id: str) -> list[str]:
    """The open alerts that show the session as evidence."""
    rows = database.execute(
        "select alert_id from {ops}.alerts where tutor_id = %s and resolved_at is null"
        " and %s = any(evidence_session_ids) order by alert_id",
        (tutor_id, session_id),
    )
    return [alert_id for (alert_id,) in rows]


def _told_of(database: Database, tutor_id: str, excuse_id: int) -> list[str]:
    """The open alerts whose history has the excuse. What closed because of it reopens by itself."""
    rows = database.execute(
        "select distinct alerts.alert_id from {ops}.alerts as alerts"
        " inner join {ops}.alert_events as events"
        " on alerts.tutor_id = events.tutor_id and alerts.alert_id = events.alert_id"
        " where alerts.tutor_id = %s and alerts.resolved_at is null and events.event = 'excused'"
        " and events.details ->> 'excuse_id' = %s",
        (tutor_id, str(excuse_id)),
    )
    return sorted(alert_id for (alert_id,) in rows)


def _tell(
    database: Database,
    event: str,
    tutor_id: str,
    alerts: Sequence[str],
    by: str,
    at: datetime,
    details: Mapping[str, Any],
) -> None:
    """Adds an event to the history of alerts."""
    database.execute(
        """
        insert into {ops}.alert_events
            (tutor_id, alert_id, event_no, event, at, actor, details)
        select tutor_id, alert_id, max(event_no) + 1, %(event)s, %(at)s, %(by)s, %(details)s
        from {ops}.alert_events
        where tutor_id = %(tutor_id)s and alert_id = any(%(alerts)s)
        group by tutor_id, alert_id
        """,
        {
            "event": event,
            "at": at,
            "by": by,
            "details": Jsonb(dict(details)),
            "tutor_id": tutor_id,
            "alerts": list(alerts),
        },
    )

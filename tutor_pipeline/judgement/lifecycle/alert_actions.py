"""Administrators' actions on alerts: assign, acknowledge, snooze, wake, resolve, reopen.

Belongs here: one transaction per action, and an event in `ops.alert_events` for each change.
Does not belong here: finding the alerts (the caller has their full ids), the current time.

An action takes the lock of the alerts first, as runs do, so actions and runs never overlap. Every
action may be repeated: alerts that it would not change stay as they are, with a reason. So do those
of which an actor saw an older state: `seen` maps alerts to the newest event number that the actor
saw; None = whatever it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.findings import BY_HAND, Kind, Resolution, SubjectKind
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.platform_source import quoted
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.judgement.lifecycle.store import check_person, last_applied, lock

# Evidence comes from windows of at most 90 days, so older sessions need not be kept. The other days
# are slack for the time zone of a session's day.
_KNOWN_SESSIONS_SPAN = timedelta(days=100)

Alert = Mapping[str, Any]
Seen = Mapping[str, int] | None


@dataclass(frozen=True, slots=True)
class ActionResult:
    """The ids that an action changed, and those it did not change with the reason.

    `moved`: those of the latter of which the actor saw an older state.
    """

    changed: tuple[str, ...]
    unchanged: Mapping[str, str]
    moved: tuple[str, ...] = ()


def assign(
    database: Database,
    alert_ids: Sequence[str],
    *,
    by: str,
    at: datetime,
    owner: str | None,
    seen: Seen = None,
) -> ActionResult:
    """Say who works on alerts (None = nobody). Raises UsageError for an unknown id."""

    def refusal(alert: Alert) -> str | None:
        if alert["resolved_at"] is not None:
            return "resolved already"
        return f"{owner or 'nobody'} works on it already" if alert["owner"] == owner else None

    return _change(
        database,
        alert_ids,
        refusal,
        "owner = %(owner)s",
        by=by,
        at=at,
        values={"owner": owner},
        event="assigned",
        details={"owner": owner},
        seen=seen,
    )


def acknowledge(
    database: Database,
    alert_ids: Sequence[str],
    *,
    by: str,
    at: datetime,
    note: str | None = None,
    seen: Seen = None,
) -> ActionResult:
    """Acknowledge alerts. They stay open. Raises UsageError for an unknown id."""

    def refusal(alert: Alert) -> str | None:
        if alert["resolved_at"] is not None:
            return "resolved already"
        return "acknowledged already" if alert["acknowledged_at"] is not None else None

    return _change(
        database,
        alert_ids,
        refusal,
        "acknowledged_at = %(at)s, acknowledged_by = %(by)s, acknowledged_note = %(note)s",
        by=by,
        at=at,
        values={"note": note},
        event="acknowledged",
        details={"note": note},
        seen=seen,
    )


def snooze(
    database: Database,
    alert_ids: Sequence[str],
    *,
    by: str,
    at: datetime,
    until: datetime,
    note: str | None = None,
    seen: Seen = None,
) -> ActionResult:
    """Hide alerts until a moment. Runs still update them.

    Raises UsageError for an unknown id or an `until` that is not after `at`.
    """
    if until <= at:
        raise UsageError(f"{until.isoformat()} is past: an alert is snoozed until later")

    def refusal(alert: Alert) -> str | None:
        if alert["resolved_at"] is not None:
            return "resolved already"
        return "snoozed until then already" if alert["snoozed_until"] == until else None

    return _change(
        database,
        alert_ids,
        refusal,
        "snoozed_until = %(until)s, snoozed_by = %(by)s",
        by=by,
        at=at,
        values={"until": until},
        event="snoozed",
        details={"until": until.isoformat(), "note": note},
        seen=seen,
    )


def wake(
    database: Database, alert_ids: Sequence[str], *, by: str, at: datetime, seen: Seen = None
) -> ActionResult:
    """End the snooze of alerts. Raises UsageError for an unknown id."""

    def refusal(alert: Alert) -> str | None:
        if alert["resolved_at"] is not None:
            return "resolved already"
        until = alert["snoozed_until"]
        return "not snoozed" if until is None or until <= at else None

    return _change(
        database,
        alert_ids,
        refusal,
        "snoozed_until = null, snoozed_by = null",
        by=by,
        at=at,
        event="woken",
        details={},
        seen=seen,
    )


def resolve(
    database: Database,
    alert_ids: Sequence[str],
    *,
    by: str,
    at: datetime,
    reason: Resolution,
    action_taken: str | None = None,
    seen: Seen = None,
) -> ActionResult:
    """Close alerts. They come back only with a session that is first processed after this.

    Raises UsageError for an unknown id or a reason that is not an administrator's.
    """
    if reason not in BY_HAND:
        raise UsageError(
            f"{reason} is no reason of a person; choose from {', '.join(sorted(BY_HAND))}"
        )

    def refusal(alert: Alert) -> str | None:
        return "resolved already" if alert["resolved_at"] is not None else None

    with database.transaction():
        lock(database, Kind.ALERT)
        # Sessions after the newest run may be loaded, but no run has evaluated them yet.
        seen_until = last_applied(database, Kind.ALERT) or at
        since = seen_until - _KNOWN_SESSIONS_SPAN
        return _change(
            database,
            alert_ids,
            refusal,
            """
            resolved_at = %(at)s, resolved_by = %(by)s, resolution = %(reason)s,
            action_taken = %(action_taken)s,
            known_session_ids = array(
                select sessions.session_id
                from {marts}.fct_sessions as sessions
                where sessions.tutor_id = held.tutor_id
                    and sessions.scheduled_start between %(since)s and %(seen_until)s
                    and sessions.status not in ('scheduled', 'in_progress')
                order by sessions.session_id
            )
            """,
            by=by,
            at=at,
            values={
                "reason": reason,
                "action_taken": action_taken,
                "since": since,
                "seen_until": seen_until,
            },
            event="resolved",
            details={"resolution": reason, "action_taken": action_taken},
            seen=seen,
            then=lambda alerts: _know_sessions(database, alerts, since, seen_until),
        )


def reopen(
    database: Database,
    alert_ids: Sequence[str],
    *,
    by: str,
    at: datetime,
    note: str | None = None,
    seen: Seen = None,
) -> ActionResult:
    """Reopen resolved alerts: the same rows, acknowledged if they were, no longer snoozed.

    Only the newest alert about a subject and of a type can be reopened. Raises UsageError for an
    unknown id.
    """

    def refusal(alert: Alert) -> str | None:
        if alert["resolved_at"] is None:
            return "open already"
        if alert["newest_id"] != alert["alert_id"]:
            state = "open" if alert["newest_is_open"] else "there"
            about = alert["subject_kind"]
            return f"a newer alert of the {about} and type is {state}: {alert['newest_id']}"
        return None

    return _change(
        database,
        alert_ids,
        refusal,
        "resolved_at = null, resolved_by = null, resolution = null, action_taken = null,"
        " snoozed_until = null, snoozed_by = null,"
        " known_session_ids = '{{}}'",
        by=by,
        at=at,
        event="reopened",
        details={"note": note},
        seen=seen,
    )


_KNOWN = """
    select {about} as subject_id, session_id
    from {{marts}}.{table}
    where {about} = any(%(ids)s) and scheduled_start between %(since)s and %(seen_until)s
        and status not in ('scheduled', 'in_progress')
"""
_ABOUT = {
    SubjectKind.STUDENT: (("fct_sessions", "student_id"), ("fct_session_students", "student_id")),
    SubjectKind.SUBJECT: (("fct_sessions", "coalesce(subject_id, subject)"),),
}
"""Where the sessions stand of a student (in lessons of several in a list) and of a subject."""


def _know_sessions(
    database: Database, resolved: Sequence[Alert], since: datetime, seen_until: datetime
) -> None:
    """Keeps the sessions that were processed of alerts about students and subjects.

    A query of its own: a cluster joins alerts to the sessions of their tutor alone.
    """
    for kind, places in _ABOUT.items():
        alerts = [alert for alert in resolved if alert["subject_kind"] == kind]
        if not alerts:
            continue
        known: dict[str, set[str]] = {alert["subject_id"]: set() for alert in alerts}
        for table, about in places:
            # Before the first refresh of a new version there are no lists.
            name = quoted(database.schemas.marts, table)
            if database.value("select to_regclass(%s)", (name,)):
                rows = database.execute(
                    _KNOWN.format(table=table, about=about),
                    {"ids": list(known), "since": since, "seen_until": seen_until},
                )
                for subject_id, session_id in rows:
                    known[subject_id].add(session_id)
        database.execute_many(
            "update {ops}.alerts set known_session_ids = %s where tutor_id = %s and alert_id = %s",
            [
                (sorted(known[alert["subject_id"]]), alert["tutor_id"], alert["alert_id"])
                for alert in alerts
            ],
        )


def _change(
    database: Database,
    alert_ids: Sequence[str],
    refusal: Callable[[Alert], str | None],
    assignments: str,
    *,
    by: str,
    at: datetime,
    event: str,
    details: Mapping[str, object],
    values: Mapping[str, object] | None = None,
    seen: Seen = None,
    then: Callable[[Sequence[Alert]], None] = lambda _: None,
) -> ActionResult:
    """Change the alerts for which `refusal` returns None, and add an event to each; `then` gets
    them, in the same transaction.
    """
    if at.tzinfo is None:
        raise ValueError("at needs a time zone")
    check_person(by)
    ids = list(dict.fromkeys(alert_ids))
    with database.transaction():
        lock(database, Kind.ALERT)
        alerts = _read(database, ids)
        moved = {
            alert_id: f"{alert['newest_event']} by {alert['newest_actor']} meanwhile"
            for alert_id, alert in alerts.items()
            if seen is not None and seen.get(alert_id) != alert["events"]
        }
        refused = moved | {
            alert_id: why
            for alert_id in ids
            if alert_id not in moved and (why := refusal(alerts[alert_id]))
        }
        changed = [alert_id for alert_id in ids if alert_id not in refused]
        target = {
            "tutors": [alerts[alert_id]["tutor_id"] for alert_id in changed],
            "ids": changed,
        }
        database.execute(
            database.sql(
                "update {ops}.alerts as held set {assignments} from"
                " unnest(%(tutors)s::text[], %(ids)s::text[]) as chosen (tutor_id, alert_id)"
                " where held.tutor_id = chosen.tutor_id and held.alert_id = chosen.alert_id",
                assignments=database.sql(assignments),
            ),
            {"by": by, "at": at, **(values or {}), **target},
        )
        database.execute(
            """
            insert into {ops}.alert_events
                (tutor_id, alert_id, event_no, event, at, actor, details)
            select tutor_id, alert_id, event_no, %(event)s, %(at)s, %(by)s, %(details)s
            from unnest(%(tutors)s::text[], %(ids)s::text[], %(numbers)s::integer[])
                as chosen (tutor_id, alert_id, event_no)
            """,
            {
                **target,
                "numbers": [alerts[alert_id]["events"] + 1 for alert_id in changed],
                "event": event,
                "at": at,
                "by": by,
                "details": Jsonb({key: value for key, value in details.items() if value}),
            },
        )
        then([alerts[alert_id] for alert_id in changed])
    return ActionResult(tuple(changed), refused, tuple(moved))


def _read(database: Database, alert_ids: Collection[str]) -> dict[str, Alert]:
    """Return the alerts by id, with their newest event and the newest alert of the same subject and
    type. Raises UsageError naming the ids that do not exist.
    """
    found = database.rows(statement(__file__, "alerts_by_id"), {"alert_ids": list(alert_ids)})
    alerts: dict[str, Alert] = {row["alert_id"]: row for row in found}
    if unknown := [alert_id for alert_id in alert_ids if alert_id not in alerts]:
        raise UsageError(
            f"there is no alert {', '.join(unknown)}; nothing was changed.\n"
            "See the ids with: tutor-pipeline alerts list --all"
        )
    return alerts

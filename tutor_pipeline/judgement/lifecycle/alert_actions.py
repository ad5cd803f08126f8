"""What administrators do to alerts: acknowledge, snooze, resolve, reopen.

Belongs here: one transaction per act, each change with its event in `ops.alert_events`.
Does not belong here: which alerts are meant (the caller has their full ids), what the time is.

An act takes the lock of the alerts first, as runs do: whatever happens at once ends as one after
the other. Every act may be repeated; what it would not change it leaves alone and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.findings import BY_HAND, Kind, Resolution
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.judgement.lifecycle.store import check_person, last_applied, lock

# Evidence comes from windows of at most 90 days, so older sessions need not be remembered; the
# days beyond are slack for the time zone in which a session has its day.
_REMEMBERED = timedelta(days=100)

Alert = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Acted:
    """What an act did: the ids it changed, and those it left alone with the reason."""

    changed: tuple[str, ...]
    unchanged: Mapping[str, str]


def acknowledge(
    database: Database, alert_ids: Sequence[str], *, by: str, at: datetime, note: str | None = None
) -> Acted:
    """Say that somebody is on it. The alerts stay open. Raises UsageError for an unknown id."""

    def refusal(alert: Alert) -> str | None:
        if alert["resolved_at"] is not None:
            return "resolved already"
        return "acknowledged already" if alert["acknowledged_at"] is not None else None

    return _act(
        database,
        alert_ids,
        refusal,
        "acknowledged_at = %(at)s, acknowledged_by = %(by)s, acknowledged_note = %(note)s",
        by=by,
        at=at,
        values={"note": note},
        event="acknowledged",
        details={"note": note},
    )


def snooze(
    database: Database,
    alert_ids: Sequence[str],
    *,
    by: str,
    at: datetime,
    until: datetime,
    note: str | None = None,
) -> Acted:
    """Hide alerts until a moment; they are kept current meanwhile.

    Raises UsageError for an unknown id and for an `until` that is not after `at`.
    """
    if until <= at:
        raise UsageError(f"{until.isoformat()} is past: an alert is snoozed until later")

    def refusal(alert: Alert) -> str | None:
        if alert["resolved_at"] is not None:
            return "resolved already"
        return "snoozed until then already" if alert["snoozed_until"] == until else None

    return _act(
        database,
        alert_ids,
        refusal,
        "snoozed_until = %(until)s, snoozed_by = %(by)s",
        by=by,
        at=at,
        values={"until": until},
        event="snoozed",
        details={"until": until.isoformat(), "note": note},
    )


def resolve(
    database: Database,
    alert_ids: Sequence[str],
    *,
    by: str,
    at: datetime,
    reason: Resolution,
    action_taken: str | None = None,
) -> Acted:
    """Close alerts. They come back only with a session that is first processed after this.

    Raises UsageError for an unknown id and for a reason that is not an administrator's.
    """
    if reason not in BY_HAND:
        raise UsageError(
            f"{reason} is no reason of a person; choose from {', '.join(sorted(BY_HAND))}"
        )

    def refusal(alert: Alert) -> str | None:
        return "resolved already" if alert["resolved_at"] is not None else None

    with database.transaction():
        lock(database, Kind.ALERT)
        # What took place after the newest run was not looked at yet, though it may be loaded.
        seen_until = last_applied(database, Kind.ALERT) or at
        return _act(
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
                "since": seen_until - _REMEMBERED,
                "seen_until": seen_until,
            },
            event="resolved",
            details={"resolution": reason, "action_taken": action_taken},
        )


def reopen(
    database: Database, alert_ids: Sequence[str], *, by: str, at: datetime, note: str | None = None
) -> Acted:
    """Open resolved alerts again: the same rows, acknowledged if they were, no longer snoozed.

    Of a tutor and type only the newest alert may be opened. Raises UsageError for an unknown id.
    """

    def refusal(alert: Alert) -> str | None:
        if alert["resolved_at"] is None:
            return "open already"
        if alert["newest_id"] != alert["alert_id"]:
            state = "open" if alert["newest_is_open"] else "there"
            return f"a newer alert of the tutor and type is {state}: {alert['newest_id']}"
        return None

    return _act(
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
    )


def _act(
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
) -> Acted:
    """Change the alerts that `refusal` has nothing against, and add the event to each."""
    if at.tzinfo is None:
        raise ValueError("at needs a time zone")
    check_person(by)
    ids = list(dict.fromkeys(alert_ids))
    with database.transaction():
        lock(database, Kind.ALERT)
        alerts = _read(database, ids)
        refused = {alert_id: why for alert_id in ids if (why := refusal(alerts[alert_id]))}
        changed = [alert_id for alert_id in ids if alert_id not in refused]
        target = {
            "tutors": [alerts[alert_id]["tutor_id"] for alert_id in changed],
            "ids": changed,
        }
        database.execute(
            "update {ops}.alerts as held set " + assignments + " from"
            " unnest(%(tutors)s::text[], %(ids)s::text[]) as chosen (tutor_id, alert_id)"
            " where held.tutor_id = chosen.tutor_id and held.alert_id = chosen.alert_id",
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
    return Acted(tuple(changed), refused)


def _read(database: Database, alert_ids: Collection[str]) -> dict[str, Alert]:
    """The alerts by id, with the number of their newest event and the newest alert of the pair.

    Raises UsageError naming the ids that do not exist.
    """
    found = database.rows(
        """
                select
                    held.tutor_id,
                    held.alert_id,
                    held.acknowledged_at,
                    held.snoozed_until,
                    held.resolved_at,
                    newest.alert_id as newest_id,
                    newest.resolved_at is null as newest_is_open,
                    (
                        select max(event.event_no)
                        from {ops}.alert_events as event
                        where event.tutor_id = held.tutor_id and event.alert_id = held.alert_id
                    ) as events
                from {ops}.alerts as held
                cross join lateral (
                    select same.alert_id, same.resolved_at
                    from {ops}.alerts as same
                    where same.tutor_id = held.tutor_id and same.alert_type = held.alert_type
                    order by same.occurrence desc
                    limit 1
                ) as newest
                where held.alert_id = any(%s::text[])
                """,
        (list(alert_ids),),
    )
    alerts: dict[str, Alert] = {row["alert_id"]: row for row in found}
    if unknown := [alert_id for alert_id in alert_ids if alert_id not in alerts]:
        raise UsageError(
            f"there is no alert {', '.join(unknown)}; nothing was changed.\n"
            "See the ids with: tutor-pipeline alerts list --all"
        )
    return alerts

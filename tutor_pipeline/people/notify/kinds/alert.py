"""Alerts: a critical one as it opens or becomes worse, and when nobody sees to it for a day; the
warnings of a day together; any when its snooze has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.core.findings import Change, Severity, Step
from tutor_pipeline.core.formatting import agree, count, label, visible
from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.people.notify import links, outbox
from tutor_pipeline.people.notify.message import (
    MAX_TOGETHER,
    Draft,
    Drafted,
    Message,
    Setting,
    groups,
    render,
)
from tutor_pipeline.people.notify.wording import day_and_month, who

KIND = "alert"
REMIND_AFTER = timedelta(hours=24)
"""After so long without an act somebody is reminded of a critical alert, once per opening."""

_ALERTS = statement(__file__, "alert_messages")
_WAITING = statement(__file__, "alert_waiting")
_ENDED_WITHIN = timedelta(days=7)
_REMINDED, _SNOOZE_ENDED = "reminded", "snooze ended"


def note(
    database: Database, changes: Iterable[Change], *, as_of: datetime, now: datetime, run_id: str
) -> int:
    """Notes alerts that opened or became worse. Returns how many it noted.

    Critical ones are due at once, warnings with the next summary.
    """
    is_past = now - as_of > outbox.OF_THE_PAST
    rows = []
    for change in changes:
        if change.finding is None or not _is_news(change, change.finding.severity):
            continue
        is_critical = change.finding.severity is Severity.CRITICAL
        rows.append(
            outbox.row(
                Audience.CRITICAL if is_critical else Audience.WARNING,
                KIND,
                change.row_id,
                # The number keeps repeated escalations of one alert apart.
                f"{change.step} {change.event_no}",
                # By the clock, like the moment of an acknowledgement: the two are compared.
                now,
                now if is_critical else outbox.next_summary(now, database.timezone),
                run_id,
                tutor_id=change.tutor_id,
                dropped="as of the past" if is_past else None,
            )
        )
    return outbox.insert(database, rows)


def remind(database: Database, now: datetime) -> int:
    """Notes that a critical alert was told a day ago and nobody has done anything since, and that
    the snooze of an alert has ended. Each once: per opening, per snooze. Returns how many it noted.
    """
    waiting = database.rows(_WAITING, {"now": now, "ended_since": now - _ENDED_WITHIN})
    if not waiting:
        return 0
    values = {
        "tutors": sorted({row["tutor_id"] for row in waiting}),
        "ids": [row["alert_id"] for row in waiting],
    }
    told = database.rows(
        "select tutor_id, subject_id, audience, transition, occurred_at, message_id"
        " from {ops}.outbox where kind = 'alert' and tutor_id = any(%(tutors)s)"
        " and subject_id = any(%(ids)s) order by outbox_id",
        values,
    )
    noted = database.rows(
        "select alert_id, max(at) as at from {ops}.notes where alert_id = any(%(ids)s)"
        " group by alert_id",
        values,
    )
    last_note = {row["alert_id"]: row["at"] for row in noted}
    last_told = {
        (row["tutor_id"], row["subject_id"]): row
        for row in told
        if row["audience"] == Audience.CRITICAL
        and row["message_id"] is not None
        and not row["transition"].startswith((_REMINDED, _SNOOZE_ENDED))
    }
    # Whoever was told: an alert that eased since is not told to others.
    known = {(row["tutor_id"], row["subject_id"], row["transition"]) for row in told}
    rows = []
    for alert in waiting:
        is_critical = alert["severity"] == Severity.CRITICAL
        audience = Audience.CRITICAL if is_critical else Audience.WARNING
        due_at = now if is_critical else outbox.next_summary(now, database.timezone)
        for transition in _again(alert, last_told, last_note.get(alert["alert_id"]), now):
            if (alert["tutor_id"], alert["alert_id"], transition) in known:
                continue
            rows.append(
                outbox.row(
                    audience,
                    KIND,
                    alert["alert_id"],
                    transition,
                    now,
                    due_at,
                    None,
                    tutor_id=alert["tutor_id"],
                )
            )
    return outbox.insert(database, rows)


def _again(
    alert: Row, told: Mapping[tuple[str, str], Row], noted_at: datetime | None, now: datetime
) -> Iterator[str]:
    """Yields why somebody is told of an alert again."""
    ended_at = alert["snoozed_until"]
    if ended_at is not None and ended_at > now - _ENDED_WITHIN:
        yield f"{_SNOOZE_ENDED} {alert['snooze_no']}"
    opening = told.get((alert["tutor_id"], alert["alert_id"]))
    if opening is None or alert["severity"] != Severity.CRITICAL or alert["owner"]:
        return
    acts = [at for at in (alert["excused_at"], noted_at) if at is not None]
    if any(at >= opening["occurred_at"] for at in acts):
        return
    since = max(filter(None, (opening["occurred_at"], ended_at)))
    if since <= now - REMIND_AFTER:
        yield f"{_REMINDED} {opening['transition']}"


def _is_news(change: Change, severity: Severity | None) -> bool:
    """Whether somebody is told: an alert that is back was told, unless it is worse now."""
    if change.step is Step.REOPENED:
        return bool(severity and change.was and severity.rank > change.was.rank)
    return change.step in (Step.OPENED, Step.ESCALATED)


def draft(database: Database, audience: Audience, rows: Sequence[Row], setting: Setting) -> Drafted:
    """Makes messages of alerts as they are now. Drops what is no longer worth telling."""
    found = as_they_are(database, sorted({(row["tutor_id"], row["subject_id"]) for row in rows}))
    dropped: dict[int, str] = {}
    told: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        alert = found.get((row["tutor_id"], row["subject_id"]))
        if why := reason_to_drop(row, alert, setting.made_at):
            dropped[row["outbox_id"]] = why
        elif alert is not None:
            told.setdefault(_about(alert), []).append(row | alert | {"why": _why(row)})
    # The warnings of a day always share one message.
    is_summary = audience is Audience.WARNING
    open_ = _open_warnings(database, setting.made_at) if is_summary else 0
    drafts = [
        Draft(message(audience, _newest_of_each_alert(group), setting, open_), group)
        for group in groups(list(told.values()), apart=not is_summary)
    ]
    return Drafted(drafts, dropped)


def reason_to_drop(row: Row, alert: Row | None, now: datetime) -> str | None:
    """Returns why an outbox row about an alert is not told; None = it is told.

    `alert` is the alert as it is now. After an acknowledgement only later changes are told.
    """
    if alert is None:
        return "the alert is gone"
    transition, snoozed_until = row.get("transition", ""), alert["snoozed_until"]
    acknowledged_at, owner = alert["acknowledged_at"], alert.get("owner")
    is_again = transition.startswith((_REMINDED, _SNOOZE_ENDED))
    reasons = {
        "resolved before it was told": alert["resolved_at"] is not None,
        "snoozed": snoozed_until is not None and snoozed_until > now,
        "acknowledged before it was told": acknowledged_at is not None
        and (is_again or acknowledged_at >= row["occurred_at"]),
        f"{owner} works on it": transition.startswith(_REMINDED) and owner is not None,
        "told as critical": row["audience"] == Audience.WARNING
        and alert["severity"] == Severity.CRITICAL,
    }
    return next((why for why, holds in reasons.items() if holds), None)


def _why(row: Row) -> str:
    """Why an alert is told that was told before."""
    transition = row["transition"]
    if transition.startswith("escalated"):
        return "a warning until now"
    if transition.startswith(_REMINDED):
        return "told over a day ago, and nobody has acknowledged it"
    return "its snooze has ended" if transition.startswith(_SNOOZE_ENDED) else ""


def message(
    audience: Audience, rows: Sequence[Row], setting: Setting, open_warnings: int = 0
) -> Message:
    """Returns a message about alerts of one subject, mostly a tutor, or of several: new critical
    alerts, or the warnings of a day with the number of all `open_warnings`.

    Each row is an alert of `as_they_are` and has `why`: why it is told again, '' the first time.
    """
    tutors = _by_tutor(rows, setting)
    if audience is Audience.WARNING:
        about = tutors[0]["who"] if len(tutors) == 1 else count(len(tutors), _noun(tutors))
        headline = f"{count(len(rows), 'new warning')} about {about}"
        subject = f"{headline}, {day_and_month(setting.made_at.astimezone(setting.zone).date())}"
        lead = "Nothing that cannot wait until you have time today."
    elif len(tutors) > 1:
        headline = f"{count(len(tutors), _noun(tutors))} need a call"
        subject = f"{headline}: {count(len(rows), 'critical alert')}"
        lead = f"{count(len(rows), 'critical alert')}, the most pressing first."
    else:
        is_reminder = all(row["transition"].startswith(_REMINDED) for row in rows)
        headline = f"{tutors[0]['who']} {'still ' if is_reminder else ''}needs a call"
        titles = ", ".join(dict.fromkeys(row["title"] for row in rows))
        word = "Reminder" if is_reminder else "Critical"
        subject, lead = f"{word}: {tutors[0]['who']}: {titles}", ""
    after = ""
    if open_warnings > len(rows):
        others = open_warnings - len(rows)
        after = f"{count(others, 'earlier warning')} {agree(others, 'is', 'are')} still open."
    return render(
        audience,
        KIND,
        subject,
        {
            "headline": visible(headline),
            "lead": lead,
            "tutors": tutors[:MAX_TOGETHER],
            "left_out": max(0, len(tutors) - MAX_TOGETHER),
            "noun": _noun(tutors),
            "after": after,
            "example": tutors[0]["alerts"][0]["alert_id"],
        },
        setting,
        tutors=[tutor["tutor_id"] for tutor in tutors if tutor["tutor_id"]],
        items=len(rows),
    )


def as_they_are(
    database: Database, wanted: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Row]:
    """Returns alerts as they are now, with the tutor's name and health, by (tutor, alert)."""
    tutors, ids = zip(*wanted, strict=True) if wanted else ((), ())
    rows = database.rows(_ALERTS, {"tutors": list(tutors), "alerts": list(ids)})
    return {(row["tutor_id"], row["alert_id"]): row for row in rows}


def _open_warnings(database: Database, now: datetime) -> int:
    """Returns how many warnings are open and not snoozed."""
    found: int = database.value(
        "select count(*) from {ops}.alerts where severity = 'warning'"
        " and resolved_at is null and (snoozed_until is null or snoozed_until <= %(now)s)",
        {"now": now},
    )
    return found


def _newest_of_each_alert(rows: Sequence[Row]) -> list[Row]:
    """Returns one row per alert: an alert that opened and then became worse is told once."""
    newest = {(row["tutor_id"], row["alert_id"]): row for row in rows}
    return list(newest.values())


def _by_tutor(rows: Sequence[Row], setting: Setting) -> list[dict[str, Any]]:
    """Returns whom some alerts are about, by severity and then by distance from the threshold."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["severity"], -row["excess"], row["alert_id"])):
        found.setdefault(_about(row), []).append(row)
    return [
        {
            "tutor_id": own[0]["tutor_id"],
            "kind": own[0]["about_kind"],
            "who": who(own[0], setting.ids),
            "is_critical": own[0]["severity"] == "critical",
            "is_high_reschedule": own[0]["is_high_reschedule"],
            "context": _context(own[0], setting),
            "alerts": [
                {
                    "alert_id": row["alert_id"],
                    "severity": row["severity"],
                    "why": row["why"],
                    "address": setting.desk and links.address(setting.desk, row["alert_id"]),
                    "title": row["title"],
                    "description": row["description"],
                    "recommended_action": row["recommended_action"],
                    "sessions": ", ".join(row["evidence_session_ids"]),
                }
                for row in own
            ],
            "advice": [each["text"] for each in own[0]["recommendations"] or ()],
        }
        for own in found.values()
    ]


def _about(alert: Row) -> tuple[str, ...]:
    return alert["tutor_id"], alert["about_kind"], alert["about_id"]


def _noun(about: Sequence[Mapping[str, Any]]) -> str:
    """Returns the word for whom alerts are about, if it is one."""
    kinds = {each["kind"] for each in about}
    return kinds.pop() if len(kinds) == 1 else "case"


def _context(row: Row, setting: Setting) -> str:
    """Returns a line about the tutor: sessions, the last one, health; as far as known."""
    parts = []
    if row["sessions_30d"] is not None:
        parts.append(f"{count(row['sessions_30d'], 'session')} in 30 days")
    if row["last_session_at"] is not None:
        last = row["last_session_at"].astimezone(setting.zone)
        parts.append(f"the last one on {day_and_month(last.date())}")
    if row["segment"] is not None:
        parts.append(f"health: {label(row['segment']).lower()}")
    return ", ".join(parts)

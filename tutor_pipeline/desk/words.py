"""Sentences and labels of the desk, as data and pure functions of rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tutor_pipeline.core.findings import Resolution
from tutor_pipeline.core.formatting import count, label, visible
from tutor_pipeline.desk.formats import figure, moment
from tutor_pipeline.judgement.lifecycle.excuses import ExcuseKind
from tutor_pipeline.metrics.thresholds import thresholds
from tutor_pipeline.people.reports.status_queries import STALE_DAYS
from tutor_pipeline.sources.problems import (
    MISSING,
    OUT_OF_RANGE,
    TWO_READINGS,
    UNKNOWN_VALUE,
    UNPARSABLE,
)

MAX_ACCOUNT = 64
"""The most characters of the name of an account."""

REASONS = {
    Resolution.COACHED: "talked to the tutor",
    Resolution.FIXED: "the cause is gone",
    Resolution.NOT_ACTIONABLE: "not actionable: nothing can be done about it",
    Resolution.OTHER: "something else",
}
"""Why a person resolves an alert."""

_ENDS = {
    Resolution.AUTO: "it no longer holds",
    Resolution.EVIDENCE_GONE: "its sessions are gone",
    Resolution.EXCUSED: "a session was excused",
    Resolution.PROFILE_SWITCHED: "other rules are in force",
    Resolution.RULE_RETIRED: "its rule is no longer in use",
    Resolution.RULE_DISABLED: "its rule is off for this tutor",
    Resolution.TUTOR_INACTIVE: "the tutor is not active any more",
} | REASONS

EXCUSES = (
    "the student asked for it",
    "the platform failed",
    "illness or an emergency",
    "agreed beforehand",
)
"""Usual reasons to excuse a session; others are written."""
EXCUSED = {
    ExcuseKind.ABSENCE: "the absence",
    ExcuseKind.RESCHEDULE: "the move",
    ExcuseKind.LATENESS: "the late start",
    ExcuseKind.QUALITY: "how it went",
    ExcuseKind.ALL: "everything",
}
"""What a session is excused from."""

SNOOZES = (("1", "until tomorrow"), ("7", "for 7 days"), ("30", "for 30 days"))
"""Days of a snooze."""

MAX_EVIDENCE = 5
"""The most sessions that the evidence of an alert holds."""

UNDO = {"snoozed": "wake", "resolved": "reopen"}
"""The act that undoes an event of an alert."""

_HAPPENED = {
    "acknowledged": "acknowledged it",
    "woken": "ended the snooze",
    "reopened": "opened it again",
}

RISK = {"High": "likely to leave", "Medium": "may leave", "Low": "no sign of leaving"}
_UNKNOWN_RISK = {
    "little_known": "we don't know yet whether they stay: too little is recorded",
    "insufficient_data": "we don't know yet whether they stay: nothing is recorded",
}
STATUS = {
    "completed": "took place",
    "no_show_tutor": "the tutor did not come",
    "no_show_student": "the student did not come",
    "cancelled": "cancelled",
    "not_held": "did not take place",
    "rescheduled": "moved",
    "scheduled": "planned",
    "in_progress": "going on",
}


_SET_ASIDE = {
    "unknown_tutor": "About a tutor who has not come yet",
    "unknown_session": "About a session that has not come yet",
    "timestamp_ahead": "Dated later than now",
    "malformed_json": "Not JSON",
    "nothing_said": "It says nothing",
}
_WRONG = {
    MISSING: "is missing",
    UNPARSABLE: "can't be read",
    OUT_OF_RANGE: "is out of range",
    UNKNOWN_VALUE: "has a value that is not known",
    TWO_READINGS: "can be read in two ways",
}


def why_set_aside(reason: str) -> str:
    """Returns the reason for which an event is set aside: tutor_id_missing → Tutor id is
    missing.
    """
    if reason in _SET_ASIDE:
        return _SET_ASIDE[reason]
    for suffix, what in _WRONG.items():
        if reason.endswith(f"_{suffix}"):
            return f"{label(reason.removesuffix(f'_{suffix}'))} {what}"
    return label(reason)


def risk(row: Mapping[str, Any] | None) -> str | None:
    """Returns the risk of a tutor in words; None before a score was made."""
    if row is None:
        return None
    return RISK.get(row["level"] or "") or _UNKNOWN_RISK.get(row["status"], "we don't know yet")


def ended(resolution: str) -> str:
    """Returns why an alert is closed."""
    return _ENDS.get(Resolution(resolution), resolution)


def state(alert: Mapping[str, Any], now: datetime, zone: ZoneInfo) -> str:
    """Returns what becomes of an alert: open, snoozed until …, resolved: why."""
    if alert["resolved_at"] is not None:
        who = visible(alert["resolved_by"], MAX_ACCOUNT)
        by = "" if who == "pipeline" else f" by {who}"
        return f"resolved{by}, {moment(alert['resolved_at'], zone, now)}: " + ended(
            alert["resolution"]
        )
    if alert["snoozed_until"] is not None and alert["snoozed_until"] > now:
        return f"snoozed until {moment(alert['snoozed_until'], zone, now)}"
    if alert["acknowledged_at"] is not None:
        return f"acknowledged by {visible(alert['acknowledged_by'], MAX_ACCOUNT)}"
    return "open"


def happened(event: Mapping[str, Any], zone: ZoneInfo, now: datetime) -> str:
    """Returns what an event of an alert was, without who and when: 'snoozed it until …'."""
    details, name = event["details"], event["event"]
    match name:
        case "escalated" | "eased":
            worse = "worse" if name == "escalated" else "better"
            found = f"became {worse}: {details.get('severity', '')}".removesuffix(": ")
        case "assigned":
            found = f"gave it to {visible(details.get('owner', 'nobody'), MAX_ACCOUNT)}"
        case "snoozed":
            until = datetime.fromisoformat(details["until"])
            found = f"snoozed it until {moment(until, zone, now)}"
        case "resolved":
            found = f"resolved it: {ended(details['resolution'])}"
        case "excused" | "unexcused":
            what = EXCUSED[ExcuseKind(details["kind"])]
            found = f"excused {what} of a session"
            if name == "unexcused":
                found = f"took back that {what} of a session is excused"
        case "opened":
            found = f"opened it as {details.get('severity', 'an alert')}"
        case _:
            found = _HAPPENED.get(name, name)
    return found


def said(event: Mapping[str, Any]) -> str | None:
    """Returns the note of an act."""
    details = event["details"]
    note: str | None = details.get("note") or details.get("action_taken")
    return note


def falls_below_on(
    metrics: Mapping[str, Any], sessions: Sequence[Mapping[str, Any]], today: date
) -> date | None:
    """Returns the day on which a count falls below the threshold if nothing more happens: when as
    many of the newest sessions are left as the threshold asks for, less one. None where that is not
    known. `sessions` are those of the evidence, newest first.
    """
    if not metrics:
        return None
    metric, reading = next(iter(metrics.items()))
    window = re.search(r"_(\d+)d$", metric)
    value, threshold = reading.get("value"), reading.get("threshold")
    if window is None or type(value) is not int or type(threshold) is not int:
        return None
    # The evidence holds the newest counted sessions, unless it is about something else.
    if not 1 <= threshold <= len(sessions) == min(value, MAX_EVIDENCE):
        return None
    last: date = sessions[threshold - 1]["session_on"] + timedelta(days=int(window[1]))
    return last if last > today else None


def flags(session: Mapping[str, Any]) -> Iterator[str]:
    """Yields what is notable about a session; nothing for a plain one."""
    limits = thresholds()
    status, number = session["status"], session.get
    if status == "rescheduled":
        yield f"moved by the {visible(session['rescheduled_by'] or 'platform', 40)}"
    elif status not in ("completed", "scheduled", "in_progress"):
        yield STATUS.get(status, status)
    if session["is_late"]:
        yield f"began {figure(session['late_minutes'], '0')} min late"
    if session["is_first_session"]:
        yield "first session with this student"
    score, talk = number("session_score"), number("tutor_talk_ratio")
    if score is not None and score < limits["low_score"]:
        yield f"low score {figure(score, '1')}"
    if (number("student_frustration_count") or 0) >= 1:
        yield "student frustrated"
    if talk is not None and talk > limits["high_talk_ratio"]:
        yield f"tutor talked {figure(talk, '%')}"
    if session["technical_issues"]:
        yield "technical problem"
    for excuse in number("excuses") or ():
        yield f"{EXCUSED[ExcuseKind(excuse['kind'])]} excused"


def banner(facts: Mapping[str, Any], zone: ZoneInfo, now: datetime) -> list[str]:
    """Returns what a reader must know about the data: what is missing, blocked or old."""
    found = []
    as_of = facts["alerts_as_of"]
    when = f" What you see is as of {moment(as_of, zone, now)}." if as_of else ""
    if facts["missing_rows"]:
        found.append(f"Rows have vanished from the platform's tables: nothing new is judged.{when}")
    elif facts["stopped"]:
        found.append(f"The newest data did not pass its checks: nothing new is judged.{when}")
    if facts["stale"]:
        found.append(f"The platform's data was loaded anew and is not computed yet.{when}")
    age = facts["newest_session_age_days"]
    if age is not None and age > STALE_DAYS:
        found.append(
            f"No session has come in for {count(age, 'day')}: is the platform's feed broken?"
        )
    return found

"""Renders messages of each kind as text and as HTML. Pure.

Belongs here: the words, their order, and how much a message holds. The content of session reports
and of the digest has modules of its own.
Does not belong here: who is told (`compose`), and reading the data (`message_data`).

Text from the platform passes `formatting.visible` and, in HTML, is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tutor_pipeline.core import templates
from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.core.formatting import count, label, visible
from tutor_pipeline.core.warehouse.database import Row
from tutor_pipeline.metrics.thresholds import thresholds
from tutor_pipeline.people.notify import digest_content, session_content
from tutor_pipeline.people.notify.outbox import Kind
from tutor_pipeline.people.notify.wording import day_and_month, who

MAX_TOGETHER = 20
"""How many tutors or incidents a message shows; it only counts the others."""
MAX_SUBJECT = 150
TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True, slots=True)
class Message:
    """A rendered message. `tutor_ids`: whom it is about; `items`: how many things it tells."""

    audience: Audience
    kind: str
    subject: str
    text: str
    html: str
    tutor_ids: tuple[str, ...]
    items: int


@dataclass(frozen=True, slots=True)
class Setting:
    """What all messages refer to: the URLs of the UI and of the reports, the time zone, the moment
    at which they are made, and the rule profile in force.
    """

    ui: str
    reports: str
    timezone: str
    made_at: datetime
    rules: str | None = None

    @property
    def zone(self) -> ZoneInfo:
        """The time zone."""
        return ZoneInfo(self.timezone)


def alerts(
    audience: Audience, rows: Sequence[Row], setting: Setting, open_warnings: int = 0
) -> Message:
    """Returns a message about alerts of one tutor or of several: new critical alerts, or the
    warnings of a day with the number of all `open_warnings`.

    Each row is an alert of `message_data.alerts` and has `is_worse`: it was a warning until now.
    """
    tutors = _by_tutor(rows, setting)
    if audience is Audience.WARNING:
        about = tutors[0]["who"] if len(tutors) == 1 else count(len(tutors), "tutor")
        headline = f"{count(len(rows), 'new warning')} about {about}"
        subject = f"{headline}, {day_and_month(setting.made_at.astimezone(setting.zone).date())}"
        lead = "Nothing that cannot wait until you have time today."
    elif len(tutors) > 1:
        headline = f"{count(len(tutors), 'tutor')} need a call"
        subject = f"{headline}: {count(len(rows), 'critical alert')}"
        lead = f"{count(len(rows), 'critical alert')}, the most pressing first."
    else:
        headline = f"{tutors[0]['who']} needs a call"
        titles = ", ".join(dict.fromkeys(row["title"] for row in rows))
        subject, lead = f"Critical: {tutors[0]['who']}: {titles}", ""
    after = ""
    if open_warnings > len(rows):
        others = open_warnings - len(rows)
        after = f"{count(others, 'earlier warning')} {'is' if others == 1 else 'are'} still open."
    return _message(
        audience,
        Kind.ALERT,
        "alerts",
        subject,
        {
            "headline": visible(headline),
            "lead": lead,
            "tutors": tutors[:MAX_TOGETHER],
            "left_out": max(0, len(tutors) - MAX_TOGETHER),
            "after": after,
            "example": tutors[0]["alerts"][0]["alert_id"],
        },
        setting,
        tutors=[tutor["tutor_id"] for tutor in tutors],
        items=len(rows),
    )


def sessions(reports: Sequence[Row], setting: Setting) -> Message:
    """Returns a message with reports of completed sessions, one per tutor."""
    shown = [session_content.session_report(report, setting.zone) for report in reports]
    number = sum(len(report["sessions"]) for report in reports)
    if len(reports) > 1:
        headline = f"{count(number, 'session')} of {count(len(reports), 'tutor')}"
    elif number > 1:
        headline = f"{count(number, 'session')} of {shown[0]['who']}"
    else:
        score = reports[0]["sessions"][0]["session_score"]
        told = "" if score is None else f": {score:.1f} of 10"
        headline = f"Session of {shown[0]['who']}{told}"
    return _message(
        Audience.SESSIONS,
        Kind.SESSION,
        "sessions",
        f"Session report: {headline.removeprefix('Session of ')}",
        {
            "headline": visible(headline),
            "reports": shown[:MAX_TOGETHER],
            "left_out": max(0, len(shown) - MAX_TOGETHER),
        },
        setting,
        tutors=[report["tutor_id"] for report in reports],
        items=number,
    )


def incidents(rows: Sequence[Row], setting: Setting) -> Message:
    """Returns a message about incidents, whose `details` are those of `outbox.note_incident`."""
    shown = [
        {
            "title": row["details"]["title"],
            "kind": label(row["details"]["kind"]).lower(),
            "anchor": row["details"]["kind"],
            "why": row["details"].get("why"),
            "means": row["details"]["means"],
            "next": row["details"]["next"],
            "at": row["occurred_at"],
            "run_id": row["run_id"],
            "is_over": row["is_over"],
        }
        for row in rows
    ]
    is_data = all(row["details"]["kind"] == "blocking_check" for row in rows)
    what = "Data quality" if is_data else "Pipeline"
    headline = shown[0]["title"] if len(shown) == 1 else f"{count(len(shown), 'thing')} broke"
    return _message(
        Audience.OPS,
        Kind.INCIDENT,
        "incidents",
        f"{what}: {headline}",
        {
            "headline": headline if len(shown) > 1 else f"{what}: something broke",
            "incidents": shown[:MAX_TOGETHER],
            "left_out": max(0, len(shown) - MAX_TOGETHER),
        },
        setting,
        tutors=[],
        items=len(rows),
    )


def digest(week: Row, setting: Setting) -> Message:
    """Returns the digest of a week, from the data of `message_data.week`."""
    values = digest_content.digest(week)
    parts = ("new", "oldest", "resolved", "rising", "falling", "badges")
    named = {row["tutor_id"] for part in parts for row in week[part]}
    return _message(
        Audience.DIGEST,
        Kind.DIGEST,
        "digest",
        f"Week of {day_and_month(week['first_day'])}: {values['headline']}",
        values,
        setting,
        tutors=sorted(named),
        items=1,
    )


def switch(audience: Audience, details: Row, setting: Setting) -> Message:
    """Returns a message about a switch of the rule profile (`outbox.note_switch`)."""
    closed, opened = details["closed"], details["opened"]
    headline = f"Other rules are in force: {details['profile']}, {details['before']} until now"
    return _message(
        audience,
        Kind.RULES,
        "rules",
        f"{headline}; {count(closed, 'alert')} closed",
        {
            "headline": headline,
            "any_closed": closed > 0,
            "closed": count(closed, "alert"),
            "tutors": count(details["tutors"], "tutor"),
            "critical": details["critical"],
            "retired": count(details["retired"], "alert") if details["retired"] else "",
            "opened": count(opened, "alert"),
            "profile": details["profile"],
            "before": details["before"],
            "is_shipped": details["is_shipped"],
        },
        setting,
        tutors=[],
        items=1,
    )


def test(audience: Audience, setting: Setting) -> Message:
    """Returns a message that says only that it arrived."""
    return _message(
        audience,
        "test",
        "test",
        f"Test: messages for TUTOR_NOTIFY_{audience.upper()} arrive",
        {"audience": audience, "for_whom": FOR_WHOM[audience]},
        setting,
        tutors=[],
        items=1,
    )


FOR_WHOM: Mapping[Audience, str] = {
    Audience.CRITICAL: "critical alerts, as they open or become worse",
    Audience.WARNING: "the warnings of a day, each morning",
    Audience.SESSIONS: "a report of each completed session",
    Audience.DIGEST: "the digest of a week, on Mondays",
    Audience.OPS: "what breaks in the pipeline or in the data",
}
"""What each audience is told, in words."""


def _message(
    audience: Audience,
    kind: str,
    name: str,
    subject: str,
    content: Mapping[str, Any],
    setting: Setting,
    *,
    tutors: Sequence[str],
    items: int,
) -> Message:
    title = visible(" ".join(subject.split()), MAX_SUBJECT)
    values = {
        **content,
        "subject": title,
        "links": {"ui": setting.ui.rstrip("/"), "reports": setting.reports.rstrip("/")},
        "made_at": setting.made_at,
        "rules": setting.rules,
    }
    return Message(
        audience,
        kind,
        title,
        _template(f"{name}.txt.j2").render(values).strip() + "\n",
        _template(f"{name}.html.j2").render(values),
        tuple(dict.fromkeys(tutors)),
        items,
    )


@cache
def _template(file: str) -> Any:
    return templates.template(TEMPLATES, file, thresholds())


def _by_tutor(rows: Sequence[Row], setting: Setting) -> list[dict[str, Any]]:
    """Returns the tutors of some alerts, by severity and then by distance from the threshold."""
    found: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["severity"], -row["excess"], row["alert_id"])):
        found.setdefault(row["tutor_id"], []).append(row)
    return [
        {
            "tutor_id": tutor_id,
            "who": who(own[0]),
            "is_critical": own[0]["severity"] == "critical",
            "is_high_reschedule": own[0]["is_high_reschedule"],
            "context": _context(own[0], setting),
            "alerts": [
                {
                    "alert_id": row["alert_id"],
                    "severity": row["severity"],
                    "is_worse": row["is_worse"],
                    "title": row["title"],
                    "description": row["description"],
                    "recommended_action": row["recommended_action"],
                    "sessions": ", ".join(row["evidence_session_ids"]),
                }
                for row in own
            ],
            "advice": [each["text"] for each in own[0]["recommendations"] or ()],
        }
        for tutor_id, own in found.items()
    ]


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

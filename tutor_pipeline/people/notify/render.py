"""Messages: what a person reads, as text and as HTML. Pure.

Belongs here: which words, in which order, and how much of it. Does not belong here: who is told
(`compose`), and where the facts come from (`facts`).

Whatever came from the platform passes `words.visible` and, in HTML, is escaped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tutor_pipeline.core import templates
from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.core.formatting import count, label, percent, visible
from tutor_pipeline.people.notify.message_data import MAX_LISTED, Row
from tutor_pipeline.people.notify.outbox import Kind

MAX_TOGETHER = 20
"""Tutors or incidents of one message; what is beyond is counted."""
MAX_SUBJECT = 150
MAX_INSIGHTS = 3


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent. `tutor_ids`: whom it is about; `items`: how many things it tells."""

    audience: Audience
    kind: str
    subject: str
    text: str
    html: str
    tutor_ids: tuple[str, ...]
    items: int


@dataclass(frozen=True, slots=True)
class Setting:
    """What messages say of where they come from: addresses of the UI and of the reports, the zone
    of their times, the moment at which they are made, and the rule profile in force.
    """

    ui: str
    reports: str
    timezone: str
    made_at: datetime
    rules: str | None = None


def alerts(
    audience: Audience, rows: Sequence[Row], setting: Setting, open_warnings: int = 0
) -> Message:
    """Alerts of one tutor or of several, each with `is_worse` besides its facts: critical ones
    that were just found, or the warnings of a day, these among all `open_warnings`.
    """
    tutors = _by_tutor(rows, setting)
    many = len(tutors) > 1
    if audience is Audience.WARNING:
        headline = f"{count(len(rows), 'new warning')} about {_people(tutors)}"
        subject = f"{headline}, {_day(setting.made_at.astimezone(_zone(setting)).date())}"
        lead = "Nothing that cannot wait until you have time today."
    elif many:
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
    """Reports of completed sessions, one per tutor."""
    shown = [_report(report, setting) for report in reports]
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
    """What broke, each with `details` as it was noted (see `outbox.note_incident`)."""
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
    """A week in a page: who needs attention, what was done, who moved, how the platform does."""
    in_need, before = week["in_need"], week["in_need_before"]
    verb = "needs" if in_need == 1 else "need"
    headline = f"{count(in_need, 'tutor')} {verb} attention"
    than = "as many as a week before" if in_need == before else f"a week before it {_were(before)}"
    at = week["at"]
    still_open = [row for row in week["new"] if not row["resolved_at"] or row["resolved_at"] >= at]
    facts = {
        "period": f"The week from {_day(week['first_day'])} to {_day(week['last_day'])}",
        "headline": headline,
        "lead": f"{_capital(than)}. {_sessions_of(week['sessions'])}",
        "new": _listed([_need(row) for row in still_open]),
        "oldest": _listed([_waiting(row, at) for row in week["oldest"]], 5),
        "resolved": _resolved(week["resolved"]),
        "rising": [_mover(row) for row in week["rising"]],
        "falling": [_mover(row) for row in week["falling"]],
        "badges": _badges(week["badges"]),
        "trend": [_trend(row) for row in week["trend"]],
    }
    parts = ("new", "oldest", "resolved", "rising", "falling", "badges")
    named = {row["tutor_id"] for part in parts for row in week[part]}
    return _message(
        Audience.DIGEST,
        Kind.DIGEST,
        "digest",
        f"Week of {_day(week['first_day'])}: {headline}",
        facts,
        setting,
        tutors=sorted(named),
        items=1,
    )


def switch(audience: Audience, details: Row, setting: Setting) -> Message:
    """Another rule profile is in force (see `outbox.note_switch`): what became of the alerts."""
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
    """A message that says only that it arrived."""
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
"""What each audience is told."""


def _message(
    audience: Audience,
    kind: str,
    name: str,
    subject: str,
    facts: Mapping[str, Any],
    setting: Setting,
    *,
    tutors: Sequence[str],
    items: int,
) -> Message:
    title = visible(" ".join(subject.split()), MAX_SUBJECT)
    values = {
        **facts,
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
    return templates.template(Path(__file__).with_name("templates"), file)


def _by_tutor(rows: Sequence[Row], setting: Setting) -> list[dict[str, Any]]:
    """The tutors of some alerts, critical ones first, then who is furthest over a threshold."""
    found: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["severity"], -row["excess"], row["alert_id"])):
        found.setdefault(row["tutor_id"], []).append(row)
    return [
        {
            "tutor_id": tutor_id,
            "who": _who(own[0]),
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
    parts = []
    if row["sessions_30d"] is not None:
        parts.append(f"{count(row['sessions_30d'], 'session')} in 30 days")
    if row["last_session_at"] is not None:
        last = row["last_session_at"].astimezone(_zone(setting))
        parts.append(f"the last one on {_day(last.date())}")
    if row["segment"] is not None:
        parts.append(f"health: {label(row['segment']).lower()}")
    return ", ".join(parts)


_SCORES = (
    ("session_score", "avg_session_score_30d", "Session score (of 10)", True),
    ("student_satisfaction_rating", "avg_rating_30d", "Student rating (of 5)", True),
    ("student_engagement_score", "avg_engagement_30d", "Engagement (of 10)", True),
    ("empathy_score", "avg_empathy_30d", "Empathy (of 10)", True),
    ("clarity_score", "avg_clarity_30d", "Clarity (of 10)", True),
    ("tutor_talk_ratio", "avg_talk_ratio", "Tutor's share of the talking", None),
)
"""Of a session: column, the tutor's own average, words, and whether more is better."""


def _report(report: Row, setting: Setting) -> dict[str, Any]:
    insights = report["insights"][:MAX_INSIGHTS]
    tips = [each["coaching_tip"] for each in report["insights"] if each["coaching_tip"]]
    return {
        "who": _who(report),
        "is_high_reschedule": report["is_high_reschedule"],
        "sessions": [
            {
                "summary": _summary(session, setting),
                "notable": _notable(session),
                "scores": _scores(session, report),
            }
            for session in report["sessions"]
        ],
        "reschedules": _reschedules(report),
        "alerts": report["alerts"],
        "insights": insights,
        "tip": tips[0] if tips else None,
    }


def _summary(session: Row, setting: Setting) -> str:
    at = session["scheduled_start"].astimezone(_zone(setting))
    parts = [f"{_day(at.date())}, {at:%H:%M}"]
    if session["subject"]:
        parts.append(session["subject"])
    if session["actual_duration_minutes"] is not None:
        parts.append(f"{round(session['actual_duration_minutes'])} min")
    if session["is_first_session"]:
        parts.append("first session of the pair")
    return f"{' · '.join(parts)} · {session['session_id']}"


def _notable(session: Row) -> str:
    parts = []
    if session["is_late"]:
        parts.append(f"Began {round(session['late_minutes'])} min late.")
    if session["technical_issues"]:
        parts.append("There were technical issues.")
    if session["student_frustration_count"]:
        parts.append(f"The student was frustrated {_times(session['student_frustration_count'])}.")
    return " ".join(parts)


def _scores(session: Row, own: Row) -> list[dict[str, str]]:
    found = []
    for name, average, words, more_is_better in _SCORES:
        value, usual = session[name], own[average]
        if value is None:
            continue
        is_share = more_is_better is None
        found.append(
            {
                "words": words,
                "value": _figure(value, is_share),
                "own": "–" if usual is None else _figure(usual, is_share),
                **_difference(float(value), usual, is_share),
            }
        )
    return found


def _difference(value: float, usual: float | None, is_share: bool) -> dict[str, str]:
    if usual is None:
        return {"difference": "", "verdict": ""}
    gap = value - float(usual)
    shown = f"{abs(gap) * 100:.0f} points" if is_share else f"{abs(gap):.1f}"
    if shown in ("0.0", "0 points"):
        return {"difference": "as usual", "verdict": ""}
    verdict = "" if is_share else ("better" if gap > 0 else "worse")
    return {"difference": f"{shown} {'above' if gap > 0 else 'below'}", "verdict": verdict}


def _reschedules(report: Row) -> str:
    """The share that the tutor rescheduled, over 7, 30 and 90 days; what is unknown is said so."""
    known = [
        f"{percent(round(100 * report[f'reschedule_rate_{days}d']))} of"
        f" {count(report[f'sessions_{days}d'], 'session')} in {days} days"
        for days in (7, 30, 90)
        if report[f"reschedule_rate_{days}d"] is not None
    ]
    flag = " High: over 15 % in one of them." if report["is_high_reschedule"] else ""
    return f"{', '.join(known)}.{flag}" if known else "unknown on this platform."


def _need(row: Row) -> dict[str, Any]:
    return {**row, "who": _who(row), "state": _acknowledged(row)}


def _waiting(row: Row, at: datetime) -> dict[str, Any]:
    days = (at - row["triggered_date"]).days
    on_it = _acknowledged(row) or "nobody is on it yet"
    state = f"{row['severity']}, open for {count(days, 'day')}, {on_it}"
    return {**row, "who": _who(row), "state": state}


def _acknowledged(row: Row) -> str:
    by = row["acknowledged_by"]
    return f"{visible(by)} is on it" if by else ""


def _resolved(rows: Sequence[Row]) -> dict[str, Any]:
    by_hand = [row for row in rows if row["resolved_by"] != "pipeline"]
    by_itself = len(rows) - len(by_hand)
    recovered = "the numbers recovered, or the tutor left"
    if not rows:
        words = "None."
    elif not by_hand:
        words = f"{count(len(rows), 'alert')}, none by people: {recovered}."
    elif not by_itself:
        words = f"{count(len(rows), 'alert')}, all by people."
    else:
        words = (
            f"{count(len(rows), 'alert')}: {len(by_hand)} by people, of {by_itself} {recovered}."
        )
    return {
        "words": words,
        "listed": [
            {
                **row,
                "who": _who(row),
                "state": ", ".join(
                    part
                    for part in (
                        label(row["resolution"]).lower(),
                        f"by {visible(row['resolved_by'])}",
                        visible(row["action_taken"] or ""),
                    )
                    if part
                ),
            }
            for row in by_hand[:MAX_LISTED]
        ],
    }


def _mover(row: Row) -> dict[str, str]:
    return {
        "who": _who(row),
        "change": f"{row['change']:+.1f}".replace("-", "−"),
        "detail": f"{row['before']:.1f} → {row['now']:.1f}, {count(row['n'], 'session')}",
    }


def _badges(rows: Sequence[Row]) -> dict[str, Any]:
    earned: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        earned.setdefault((row["icon"], row["title"]), []).append(_who(row))
    most = Counter({key: len(who) for key, who in earned.items()}).most_common()
    return {
        "listed": [
            {"icon": icon, "title": title, "tutors": _names(earned[icon, title])}
            for (icon, title), _ in most
        ]
    }


def _trend(row: Row) -> dict[str, Any]:
    if row["change"] is None:
        change = "–"
    elif row["trend"] == "neutral":
        change = "unchanged"
    else:
        change = f"{'▲' if row['change'] > 0 else '▼'} {abs(row['change']):.0%}".replace("%", " %")
    return {
        "words": row["words"],
        "now": _of_form(row["now"], row["form"]),
        "before": _of_form(row["before"], row["form"]),
        "change": change,
        "is_good": row["is_good"],
    }


def _of_form(value: float | None, form: str) -> str:
    if value is None:
        return "–"
    if form == "percent":
        return percent(round(100 * value, 1))
    return f"{value:,.0f}" if form == "number" else f"{value:.2f}"


def _sessions_of(row: Row) -> str:
    if not row["sessions"]:
        return "There was no session in the week."
    parts = [f"{count(row['sessions'], 'session')} in the week, {row['completed']:,} completed"]
    if row["no_shows"]:
        parts.append(f"the tutor did not come to {row['no_shows']:,}")
    if row["reschedules"]:
        parts.append(f"tutors rescheduled {row['reschedules']:,}")
    score = "" if row["score"] is None else f" The average score was {row['score']:.1f} of 10."
    return f"{', '.join(parts)}.{score}"


def _listed(rows: Sequence[Mapping[str, Any]], limit: int = MAX_LISTED) -> dict[str, Any]:
    return {"listed": rows[:limit], "left_out": max(0, len(rows) - limit)}


def _names(names: Sequence[str], limit: int = 6) -> str:
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def _who(row: Mapping[str, Any]) -> str:
    """Name and id; a source without names has the id alone."""
    name, tutor_id = row["name"], row["tutor_id"]
    shown = visible(tutor_id, 60)
    return f"{visible(name, 80)} ({shown})" if name and name != tutor_id else shown


def _people(tutors: Sequence[Mapping[str, Any]]) -> str:
    return str(tutors[0]["who"]) if len(tutors) == 1 else count(len(tutors), "tutor")


def _figure(value: float, is_share: bool) -> str:
    return f"{value:.0%}".replace("%", " %") if is_share else f"{value:.1f}"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _were(number: int) -> str:
    return f"was {number}" if number == 1 else f"were {number}"


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _day(day: date) -> str:
    """25 November; the locale of the machine has no say in it."""
    return f"{day.day} {_MONTHS[day.month - 1]}"


_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


def _zone(setting: Setting) -> ZoneInfo:
    return ZoneInfo(setting.timezone)

"""The content of a session report: the session, how it compares with the tutor's average. Pure."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from tutor_pipeline.core.formatting import agree, count, percent
from tutor_pipeline.core.warehouse.database import Row
from tutor_pipeline.people.notify.message import Setting
from tutor_pipeline.people.notify.wording import day_and_month, who

MAX_INSIGHTS = 3

_SCORES = (
    ("session_score", "avg_session_score_30d", "Session score (of 10)", True),
    ("student_satisfaction_rating", "avg_rating_30d", "Student rating (of 5)", True),
    ("student_engagement_score", "avg_engagement_30d", "Engagement (of 10)", True),
    ("empathy_score", "avg_empathy_30d", "Empathy (of 10)", True),
    ("clarity_score", "avg_clarity_30d", "Clarity (of 10)", True),
    ("tutor_talk_ratio", "avg_talk_ratio", "Tutor's share of the talking", None),
)
"""Column of a session, column of the tutor's average, words, and whether more is better (None = a
share that is neither).
"""


def session_report(report: Row, setting: Setting) -> dict[str, Any]:
    """Returns the values of the template for one tutor's sessions."""
    tips = [each["coaching_tip"] for each in report["insights"] if each["coaching_tip"]]
    return {
        "who": who(report, setting.ids),
        "is_high_reschedule": report["is_high_reschedule"],
        "sessions": [
            {
                "summary": _summary(session, setting.zone),
                "notable": _notable(session),
                "scores": _scores(session, report),
            }
            for session in report["sessions"]
        ],
        "reschedules": _reschedules(report),
        "alerts": report["alerts"],
        "insights": report["insights"][:MAX_INSIGHTS],
        "tip": tips[0] if tips else None,
    }


def _summary(session: Row, zone: ZoneInfo) -> str:
    at = session["scheduled_start"].astimezone(zone)
    parts = [f"{day_and_month(at.date())}, {at:%H:%M}"]
    if session["subject"]:
        parts.append(session["subject"])
    if session["actual_duration_minutes"] is not None:
        parts.append(f"{round(session['actual_duration_minutes']):,} min")
    if session["is_first_session"]:
        parts.append("first session of the pair")
    return f"{' · '.join(parts)} · {session['session_id']}"


def _notable(session: Row) -> str:
    parts = []
    if session["is_late"]:
        parts.append(f"Began {round(session['late_minutes']):,} min late.")
    if session["technical_issues"]:
        parts.append("There were technical issues.")
    if number := session["student_frustration_count"]:
        times = agree(number, "once", count(number, "time"))
        parts.append(f"The student was frustrated {times}.")
    return " ".join(parts)


def _scores(session: Row, report: Row) -> list[dict[str, str]]:
    """Returns the scores that are known, each against the tutor's average."""
    found = []
    for name, average, words, more_is_better in _SCORES:
        value, usual = session[name], report[average]
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
    """Returns the difference from the average in words, and the verdict on it."""
    if usual is None:
        return {"difference": "", "verdict": ""}
    gap = value - float(usual)
    shown = count(round(100 * abs(gap)), "point") if is_share else f"{abs(gap):.1f}"
    if shown in ("0.0", "0 points"):
        return {"difference": "as usual", "verdict": ""}
    verdict = "" if is_share else ("better" if gap > 0 else "worse")
    return {"difference": f"{shown} {'above' if gap > 0 else 'below'}", "verdict": verdict}


def _figure(value: float, is_share: bool) -> str:
    return f"{value:.0%}".replace("%", " %") if is_share else f"{value:.1f}"


def _reschedules(report: Row) -> str:
    """Returns the shares that the tutor rescheduled over 7, 30 and 90 days, as far as known."""
    known = [
        f"{percent(round(100 * report[f'reschedule_rate_{days}d']))} of"
        f" {count(report[f'sessions_{days}d'], 'session')} in {count(days, 'day')}"
        for days in (7, 30, 90)
        if report[f"reschedule_rate_{days}d"] is not None
    ]
    return f"{', '.join(known)}." if known else "unknown on this platform."

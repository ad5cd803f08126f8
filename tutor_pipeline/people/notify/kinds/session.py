"""Reports of completed sessions, one per tutor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.core.formatting import count, visible
from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.people.notify.message import (
    MAX_TOGETHER,
    Draft,
    Drafted,
    Message,
    Setting,
    groups,
    render,
)
from tutor_pipeline.people.notify.session_content import session_report

KIND = "session"

REPORTED_WITHIN = timedelta(days=2)
"""Sessions that began earlier than this before they were found get no report."""

_SESSIONS = statement(__file__, "session_reports")
_TUTORS = statement(__file__, "session_report_tutors")


def note(database: Database, run_id: str, now: datetime, *, only_new: bool = False) -> int:
    """Notes the completed sessions that a run has taken (`ops.session_changes`), each session once
    ever; `only_new`: those alone that no run had taken before. Returns how many it noted. Must run
    before the ledger settles them.
    """
    return database.execute(
        statement(__file__, "note_sessions"),
        {
            "run_id": run_id,
            "now": now,
            "since": now - REPORTED_WITHIN,
            "only_new": only_new,
        },
    ).rowcount


def draft(database: Database, audience: Audience, rows: Sequence[Row], setting: Setting) -> Drafted:
    """Makes reports of the sessions that are still there and completed."""
    reports = reports_of(
        database, [(row["tutor_id"], row["subject_id"]) for row in rows], setting.made_at
    )
    completed = {
        (report["tutor_id"], session["session_id"])
        for report in reports
        for session in report["sessions"]
    }
    dropped: dict[int, str] = {}
    told: dict[str, list[Row]] = {}
    for row in rows:
        if (row["tutor_id"], row["subject_id"]) in completed:
            told.setdefault(row["tutor_id"], []).append(row)
        else:
            dropped[row["outbox_id"]] = "the session is gone, or no longer completed"
    drafts = []
    for group in groups(list(told.values())):
        tutors = {row["tutor_id"] for row in group}
        about = [report for report in reports if report["tutor_id"] in tutors]
        drafts.append(Draft(message(about, setting), group))
    return Drafted(drafts, dropped)


def message(reports: Sequence[Row], setting: Setting) -> Message:
    """Returns a message with reports of completed sessions, one per tutor."""
    shown = [session_report(report, setting) for report in reports]
    number = sum(len(report["sessions"]) for report in reports)
    if len(reports) > 1:
        headline = f"{count(number, 'session')} of {count(len(reports), 'tutor')}"
    elif number > 1:
        headline = f"{count(number, 'session')} of {shown[0]['who']}"
    else:
        score = reports[0]["sessions"][0]["session_score"]
        told = "" if score is None else f": {score:.1f} of 10"
        headline = f"Session of {shown[0]['who']}{told}"
    return render(
        Audience.SESSIONS,
        KIND,
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


def reports_of(database: Database, wanted: Sequence[tuple[str, str]], now: datetime) -> list[Row]:
    """Returns a report per tutor of these (tutor, session): sessions, averages, insights, alerts.

    Leaves out sessions that are not completed, and tutors without a completed one.
    """
    tutors, ids = zip(*wanted, strict=True) if wanted else ((), ())
    found = database.rows(_SESSIONS, {"tutors": list(tutors), "sessions": list(ids)})
    reports = database.rows(_TUTORS, {"tutors": sorted(set(tutors)), "now": now})
    for report in reports:
        report["sessions"] = [
            row
            for row in found
            if row["tutor_id"] == report["tutor_id"] and row["status"] == "completed"
        ]
        report["insights"] = report["insights"] or []
        report["alerts"] = report["alerts"] or []
    kept = [report for report in reports if report["sessions"]]
    return sorted(
        kept, key=lambda report: (report["sessions"][0]["scheduled_start"], report["tutor_id"])
    )

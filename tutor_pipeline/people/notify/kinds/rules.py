"""A switch of the rule profile: which alerts it closed and opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.core.formatting import count
from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.people.notify import outbox
from tutor_pipeline.people.notify.message import Draft, Drafted, Message, Setting, render

KIND = "rules"


def note(
    database: Database, details: Mapping[str, Any], *, as_of: datetime, now: datetime, run_id: str
) -> int:
    """Notes that another rule profile is in force. Returns how many rows it noted.

    `details` has the `profile`, the one `before`, whether that one is part of the project
    (`is_shipped`), and the counts of `lifecycle.store.adopt`. Alerts that opened are noted on their
    own, as always.
    """
    row = outbox.row(
        Audience.CRITICAL,
        KIND,
        run_id,
        f"{details['before']} to {details['profile']}",
        now,
        now,
        run_id,
        details=details,
        dropped="as of the past" if now - as_of > outbox.OF_THE_PAST else None,
    )
    return outbox.insert(database, [row])


def draft(database: Database, audience: Audience, rows: Sequence[Row], setting: Setting) -> Drafted:
    """Makes a message of each switch."""
    return Drafted([Draft(message(audience, row["details"], setting), [row]) for row in rows])


def message(audience: Audience, details: Row, setting: Setting) -> Message:
    """Returns a message about a switch of the rule profile (`note`)."""
    closed, opened = details["closed"], details["opened"]
    headline = f"Other rules are in force: {details['profile']}, {details['before']} until now"
    return render(
        audience,
        KIND,
        f"{headline}; {count(closed, 'alert')} closed",
        {
            "headline": headline,
            "any_closed": closed > 0,
            "closed": count(closed, "alert"),
            "tutors": count(details["tutors"], "tutor"),
            "critical": f"{details['critical']:,}",
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

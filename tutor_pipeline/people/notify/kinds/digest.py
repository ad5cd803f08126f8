"""The digest of a week."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.people.notify import digest_content, outbox
from tutor_pipeline.people.notify.digest_data import week_data
from tutor_pipeline.people.notify.message import Draft, Drafted, Message, Setting, render
from tutor_pipeline.people.notify.wording import day_and_month

KIND = "digest"


def note(
    database: Database, week: str, details: Mapping[str, Any], *, now: datetime, run_id: str
) -> bool:
    """Notes that the digest of a week is due. Returns False when it was noted before.

    `week` is the first day of the week, as an ISO date.
    """
    row = outbox.row(Audience.DIGEST, KIND, week, "ended", now, now, run_id, details=details)
    return outbox.insert(database, [row]) == 1


def draft(database: Database, audience: Audience, rows: Sequence[Row], setting: Setting) -> Drafted:
    """Makes the digest of each week."""
    drafts = []
    for row in rows:
        first_day = datetime.fromisoformat(row["subject_id"]).date()
        week = week_data(database, first_day, setting.made_at)
        drafts.append(Draft(message(week, setting), [row]))
    return Drafted(drafts)


def message(week: Row, setting: Setting) -> Message:
    """Returns the digest of a week, from the data of `digest_data.week_data`."""
    values = digest_content.digest(week, setting.ids)
    rows = [row for part in digest_content.OF_TUTORS for row in week[part]]
    named = {row["tutor_id"] for row in rows if row["tutor_id"]}
    return render(
        Audience.DIGEST,
        KIND,
        f"Week of {day_and_month(week['first_day'])}: {values['headline']}",
        values,
        setting,
        tutors=sorted(named),
        items=1,
    )

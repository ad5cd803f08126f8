"""Incidents: what breaks in the pipeline or in the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.core.formatting import count, label
from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.people.notify import outbox
from tutor_pipeline.people.notify.message import (
    MAX_TOGETHER,
    Draft,
    Drafted,
    Message,
    Setting,
    groups,
    render,
)

KIND = "incident"

_CLOSED_INCIDENTS = """
    select incident_id::text as incident_id from {ops}.incidents
    where incident_id::text = any(%(ids)s) and closed_at is not null
"""


def note(
    database: Database,
    incident_id: int,
    details: Mapping[str, Any],
    *,
    at: datetime,
    run_id: str | None,
) -> int:
    """Notes an incident. `details` has title, kind, subject, means, next, and why if known."""
    row = outbox.row(
        Audience.OPS, KIND, str(incident_id), "opened", at, at, run_id, details=details
    )
    return outbox.insert(database, [row])


def draft(database: Database, audience: Audience, rows: Sequence[Row], setting: Setting) -> Drafted:
    """Makes messages of incidents; one that is over by now says so."""
    ids = [row["subject_id"] for row in rows]
    over = {row["incident_id"] for row in database.rows(_CLOSED_INCIDENTS, {"ids": ids})}
    told = [[row | {"is_over": row["subject_id"] in over}] for row in rows]
    return Drafted([Draft(message(group, setting), group) for group in groups(told)])


def message(rows: Sequence[Row], setting: Setting) -> Message:
    """Returns a message about incidents, whose `details` are those of `note`."""
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
    return render(
        Audience.OPS,
        KIND,
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

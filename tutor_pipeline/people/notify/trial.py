"""The test message, which says only that it arrived."""

from __future__ import annotations

from collections.abc import Mapping

from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.people.notify.message import Message, Setting, render

FOR_WHOM: Mapping[Audience, str] = {
    Audience.CRITICAL: "critical alerts, as they open or become worse",
    Audience.WARNING: "the warnings of a day, each morning",
    Audience.SESSIONS: "a report of each completed session",
    Audience.DIGEST: "the digest of a week, on Mondays",
    Audience.OPS: "what breaks in the pipeline or in the data",
}
"""What each audience is told, in words."""


def message(audience: Audience, setting: Setting) -> Message:
    """Returns a message that says only that it arrived."""
    return render(
        audience,
        "test",
        f"Test: messages for TUTOR_NOTIFY_{audience.upper()} arrive",
        {"audience": audience, "for_whom": FOR_WHOM[audience]},
        setting,
        tutors=[],
        items=1,
    )

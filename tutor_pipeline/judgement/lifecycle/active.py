"""Which alerts count: the open ones that nobody snoozed. What lists, numbers and messages share.

Belongs here: the condition, and who needs attention by it. The view `ops.tutors_needing_attention`
has the same condition, with the server's clock.
"""

from __future__ import annotations

from datetime import datetime

from tutor_pipeline.core.warehouse.database import Database

ACTIVE = "(resolved_at is null and (snoozed_until is null or snoozed_until <= %(now)s))"
"""Whether an alert counts at the moment %(now)s, which is not past."""

_WAS_ACTIVE = """
    triggered_date <= %(at)s
    and (resolved_at is null or resolved_at > %(at)s)
    and (snoozed_until is null or snoozed_until <= %(at)s)
"""


def tutors_in_need(database: Database, at: datetime) -> int:
    """Returns how many tutors need, or needed, attention at a moment: there is an alert about them
    that was open then and is not snoozed beyond it.
    """
    found: int = database.value(
        "select count(distinct tutor_id) from {ops}.alerts"
        f" where subject_kind = 'tutor' and {_WAS_ACTIVE}",
        {"at": at},
    )
    return found

"""Words that messages of several kinds share: names of tutors, days, lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from tutor_pipeline.core.findings import SubjectKind
from tutor_pipeline.core.formatting import visible

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


def who(row: Mapping[str, Any], ids: Mapping[str, str]) -> str:
    """Returns a tutor's name and id; the id alone when the source has no names. `ids` are those
    that are not shown whole. Of an alert about a student or a subject (`about_kind`, `about_id`)
    that, by its id: anybody may forward a message.
    """
    if row.get("about_kind", SubjectKind.TUTOR) != SubjectKind.TUTOR:
        return f"{row['about_kind']} {visible(row['about_id'], 120)}"
    name, tutor_id = row["name"], row["tutor_id"]
    shown = visible(ids.get(tutor_id, tutor_id), 60)
    return f"{visible(name, 80)} ({shown})" if name and name != tutor_id else shown


def day_and_month(day: date) -> str:
    """Returns a day as "25 November", whatever the locale of the machine."""
    return f"{day.day} {_MONTHS[day.month - 1]}"


def joined(names: Sequence[str], limit: int = 6) -> str:
    """Returns the first names as a list, and how many more there are."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more:,} more" if more > 0 else "")

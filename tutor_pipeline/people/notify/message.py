"""A message, its templates, and what puts notes together into messages. Pure.

Text from the platform passes `formatting.visible` and, in HTML, is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tutor_pipeline.core import templates
from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.core.formatting import visible
from tutor_pipeline.core.warehouse.database import Row
from tutor_pipeline.metrics.thresholds import thresholds

MAX_TOGETHER = 20
"""How many tutors or incidents a message shows; it only counts the others."""
MAX_SUBJECT = 150
TEMPLATES = Path(__file__).with_name("templates")
MOST_APART = 5
"""Up to this many tutors or incidents get a message each; more share one message."""


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
    at which they are made, the rule profile in force, the ids of tutors as they are shown where
    that is not whole, and the URL of the desk, '' where people do not reach one.
    """

    ui: str
    reports: str
    timezone: str
    made_at: datetime
    rules: str | None = None
    ids: Mapping[str, str] = field(default_factory=dict)
    desk: str = ""

    @property
    def zone(self) -> ZoneInfo:
        """The time zone."""
        return ZoneInfo(self.timezone)


@dataclass(frozen=True, slots=True)
class Draft:
    """A message, and the outbox rows that it tells."""

    message: Message
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Drafted:
    """What became of outbox rows: the messages, and why others, by `outbox_id`, are not told."""

    drafts: Sequence[Draft]
    dropped: Mapping[int, str] = field(default_factory=dict)


def render(
    audience: Audience,
    kind: str,
    subject: str,
    content: Mapping[str, Any],
    setting: Setting,
    *,
    tutors: Sequence[str],
    items: int,
) -> Message:
    """Returns the message of a kind, from the templates of its name and the values in `content`.
    Ends with the whole ids of those `tutors` whose ids are shown shorter.
    """
    tutors = list(dict.fromkeys(tutors))
    title = visible(" ".join(subject.split()), MAX_SUBJECT)
    values = {
        **content,
        "subject": title,
        "links": {"ui": setting.ui.rstrip("/"), "reports": setting.reports.rstrip("/")},
        "desk": setting.desk,
        "made_at": setting.made_at,
        "rules": setting.rules,
        "whole_ids": ", ".join(visible(each, 60) for each in tutors if _is_cut(each, setting)),
    }
    text = _template(f"{kind}.txt.j2").render(values).strip() + "\n"
    # Who looks for a tutor on the platform, or erases one, needs the whole id.
    if values["whole_ids"]:
        text += f"\nIds in full: {values['whole_ids']}\n"
    return Message(
        audience,
        kind,
        title,
        text,
        _template(f"{kind}.html.j2").render(values),
        tuple(tutors),
        items,
    )


def _is_cut(tutor_id: str, setting: Setting) -> bool:
    return setting.ids.get(tutor_id, tutor_id) != tutor_id


@cache
def _template(file: str) -> Any:
    return templates.template(TEMPLATES, file, thresholds())


def groups(found: Sequence[list[Row]], *, apart: bool = True) -> list[list[Row]]:
    """Returns the rows of each message: a message per item, or one for all when there are many."""
    if apart and len(found) <= MOST_APART:
        return list(found)
    return [[row for rows in found for row in rows]] if found else []

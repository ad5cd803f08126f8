"""How pages write values: days and moments in the pipeline's zone, figures, names. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tutor_pipeline.core import formatting
from tutor_pipeline.desk.options import StudentNames

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = (
    "Jan", "Feb", "Mar", "Apr", "May", "June", "July", "Aug", "Sept", "Oct", "Nov", "Dec",
)  # fmt: skip
MAX_NAME = 80


def day(when: date, today: date | None = None) -> str:
    """Returns a day as people say it: Tue 24 Nov, with the year where it is another one."""
    year = "" if today is None or when.year == today.year else f" {when.year}"
    return f"{_DAYS[when.weekday()]} {when.day} {_MONTHS[when.month - 1]}{year}"


def moment(at: datetime, zone: ZoneInfo, now: datetime) -> str:
    """Returns a moment: Tue 24 Nov, 16:30."""
    local = at.astimezone(zone)
    return f"{day(local.date(), now.astimezone(zone).date())}, {local:%H:%M}"


def clock(at: datetime, zone: ZoneInfo, now: datetime) -> str:
    """Returns the time of a moment of today, else day and time."""
    local = at.astimezone(zone)
    is_today = local.date() == now.astimezone(zone).date()
    return f"{local:%H:%M}" if is_today else moment(at, zone, now)


def ago(at: datetime, now: datetime) -> str:
    """Returns how long ago a moment was, or how soon it is: 3 days ago, in 2 hours."""
    if at > now:
        passed = at - now
        for unit, length in (("day", timedelta(days=1)), ("hour", timedelta(hours=1))):
            if passed >= 2 * length:
                return f"in {formatting.count(passed // length, unit)}"
        return f"in {formatting.count(max(1, passed // timedelta(minutes=1)), 'minute')}"
    return formatting.age(at, now)


def since(member_since: date | None, today: date) -> str | None:
    """Returns how long somebody is here: for 3 years, for 5 months, for 12 days."""
    if member_since is None or member_since > today:
        return None
    days = (today - member_since).days
    for unit, length in (("year", 365.25), ("month", 30.44)):
        if days >= 2 * length:
            return f"here for {formatting.count(int(days / length), unit)}"
    return f"here for {formatting.count(days, 'day')}"


def figure(value: Any, form: str = "") -> str:
    """Returns a value of a metric: a share (`%`) as 12 %, a number with `form` decimals; "–" for
    None.
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return formatting.visible(str(value))
    if form == "%":
        return formatting.percent(round(100 * value, 1)).replace(" ", "\u00a0")
    if isinstance(value, float) and not form:
        form = "0" if value == int(value) else "2" if abs(value) < 1 else "1"
    return f"{value:,.{form or 0}f}"


def metric(name: str) -> str:
    """Returns a metric in words: tutor_reschedules_30d → Tutor reschedules in 30 days,
    talk_ratio_last5 → Talk ratio in the last 5 sessions.
    """
    column = name.rpartition(".")[2]
    if found := re.fullmatch(r"(.+)_(\d+)d", column):
        return f"{formatting.label(found[1])} in {formatting.count(int(found[2]), 'day')}"
    if found := re.fullmatch(r"(.+)_last(\d+)", column):
        return (
            f"{formatting.label(found[1])} in the last {formatting.count(int(found[2]), 'session')}"
        )
    return formatting.label(column)


def title(text: str) -> str:
    """Returns the title of an alert as people say it: without “Detected”."""
    return formatting.visible(text.removesuffix(" Detected"))


def sentence(text: str) -> str:
    """Returns a text with a capital at its beginning; the rest as it is."""
    return text[:1].upper() + text[1:]


def closed(text: str) -> str:
    """Returns a text as a sentence: with a capital, and something at its end that closes it."""
    text = sentence(text.rstrip())
    return text if text.endswith((".", "!", "?")) else f"{text}."


def usual(reading: Mapping[str, Any]) -> str:
    """Returns the usual value beside a reading: of a count the share, else the mean."""
    value, found = reading.get("value"), reading.get("usual")
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return figure(found, "%" if is_count and found is not None and found <= 1 else "")


def student(row: Mapping[str, Any] | None, student_id: str | None, names: StudentNames) -> str:
    """Returns a student as the setting says: whole name, first name and initial, or the id."""
    name = " ".join(((row or {}).get("name") or "").split())
    if student_id is None:
        return "a student"
    if names is StudentNames.ID or not name or name == student_id:
        return formatting.visible(student_id, MAX_NAME)
    words = name.split()
    if names is StudentNames.SHORT and len(words) > 1:
        name = f"{words[0]} {words[-1][0]}."
    return formatting.visible(name, MAX_NAME)


def tutor(row: Mapping[str, Any]) -> str:
    """Returns a tutor's name, or the id where there is none."""
    return formatting.visible(row.get("name") or row["tutor_id"], MAX_NAME)

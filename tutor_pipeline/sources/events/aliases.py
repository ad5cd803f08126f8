"""Types of an older product, said as ours. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

Data = Mapping[str, Any]
Part = tuple[str, Data]


def _session_completed(data: Data) -> Iterator[Part]:
    """{session_id, tutor_id, student_id, started_at, ended_at, rating?, score?}"""
    names = {
        "session_id": "session_id",
        "tutor_id": "tutor_id",
        "student_id": "student_id",
        "started_at": "actual_start",
        "ended_at": "completed_at",
        "score": "overall_session_score",
    }
    session = {ours: data[theirs] for theirs, ours in names.items() if theirs in data}
    if (minutes := _minutes(data.get("started_at"), data.get("ended_at"))) is not None:
        session["actual_duration"] = minutes
    yield "session.completed", session
    if data.get("rating") is not None:
        feedback = {"session_id": data.get("session_id")}
        yield "session.feedback", {**feedback, "student_satisfaction_rating": data["rating"]}


def _tutor_availability_updated(data: Data) -> Iterator[Part]:
    """{tutor_id, week_start, available_hours, instant_book_enabled?}"""
    yield "tutor.availability", data


_ALIASES: Mapping[str, Callable[[Data], Iterator[Part]]] = {
    "session_completed": _session_completed,
    "tutor_availability_updated": _tutor_availability_updated,
}
NAMES = {name: str(read.__doc__) for name, read in _ALIASES.items()}
"""Every alias, and the fields of its data."""


def parts_of(name: str, data: Data) -> Iterator[Part]:
    """Yields the events that one of this type and data is, by our types."""
    if name in _ALIASES:
        yield from _ALIASES[name](data)
    else:
        yield name, data


def ignored(name: str, data: Data) -> list[str]:
    """Returns the fields of an alias's data that it does not have."""
    known = re.findall(r"\w+", NAMES[name]) if name in NAMES else None
    return [] if known is None else [each for each in data if each not in known]


def _minutes(started: Any, ended: Any) -> float | None:
    """Returns the minutes between two moments, None where these are none that can be compared."""
    try:
        return (
            datetime.fromisoformat(ended) - datetime.fromisoformat(started)
        ).total_seconds() / 60
    except (ValueError, TypeError):
        return None

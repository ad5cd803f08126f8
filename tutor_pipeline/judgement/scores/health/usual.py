"""What is usual on the platform, as far as health needs it, and the numbers that it comes from.

Belongs here: the values of one tutor (columns and ratios), fitting what is usual from all tutors.
Does not belong here: any output.

Full refreshes fit what is usual and store it; later runs read it. So a tutor's health does not
depend on who else is scored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from tutor_pipeline.judgement.scores.health.parts import (
    BURNOUT,
    FIRST_SESSIONS,
    HEALTH,
    MINIMUM,
    Values,
    reads_of,
)
from tutor_pipeline.judgement.scores.score import Row, number

VERSION = "2"

ACTIVITY_RATIO = "activity_ratio"
OFFERED_HOURS_RATIO = "offered_hours_ratio"

COMMON: Mapping[str, str] = {
    part.metric: part.common for part in (*BURNOUT, *HEALTH) if part.common is not None
}
"""The metrics that compare now with before, and how: as a `ratio` or a `difference`."""

_UNCHANGED = 10.0
"""How many tutors who have not changed are added to those of the platform."""

READS = reads_of(
    (*BURNOUT, *HEALTH, *FIRST_SESSIONS),
    (
        "available_hours_next_week",
        "available_hours_this_week",
        "first_session_count_90d",
        "sessions_60d",
        "sessions_90d",
        "sessions_completed_14d",
        "sessions_completed_30d",
        "sessions_taught_14d",
        "sessions_taught_30d",
    ),
    (ACTIVITY_RATIO, OFFERED_HOURS_RATIO),
)
"""The numeric columns of tutor_features and tutor_aggregates that are read, besides tutor_id."""


@dataclass(frozen=True, slots=True)
class Usual:
    """What is usual on the platform.

    `common`: by how much all tutors changed, by metric; only what is known. `hours` and `sessions`:
    the medians of the hours offered this week and of the sessions completed in 30 days, None where
    nobody's are known. `version` is the version of the scores made with it.
    """

    common: Mapping[str, float]
    hours: float | None
    sessions: float | None
    version: str = VERSION

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON object that `from_json` reads back, without the version."""
        return {"common": dict(self.common), "hours": self.hours, "sessions": self.sessions}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], reference: int) -> Usual:
        """Returns what `to_json` was given, stored as this version of the reference."""
        return cls(**stored, version=f"{VERSION}.{reference}")


NOTHING_USUAL = Usual({}, None, None)
"""For a platform of which nothing is known: tutors are compared with their own past alone."""


def fit(rows: Iterable[Row]) -> Usual:
    """Returns what is usual among all tutors; rows have `READS`, in any order.

    The common change is the median over the tutors with enough sessions and a recent one, drawn
    towards no change as if ten tutors who have not changed were among them.
    """
    every = [values_of(row) for row in rows]
    present = [
        values
        for values in every
        if (values["sessions_90d"] or 0) >= MINIMUM.sessions_90d
        and (days := values["days_since_last_session"]) is not None
        and days <= MINIMUM.days_since_last_session
    ]
    changed = {name: _median(present, name) for name in sorted(COMMON)}
    return Usual(
        {
            name: _drawn(
                found, sum(values[name] is not None for values in present), as_a=COMMON[name]
            )
            for name, found in changed.items()
            if found is not None
        },
        _median(every, "available_hours_this_week"),
        _median(present, "sessions_completed_30d"),
    )


def values_of(row: Row) -> dict[str, float | None]:
    """Returns the columns that are read of a tutor, and the ratios computed from them."""
    read = {name: number(row, name) for name in READS}
    return {
        **read,
        ACTIVITY_RATIO: _activity_ratio(read),
        OFFERED_HOURS_RATIO: _ratio(
            read["available_hours_next_week"], read["available_hours_this_week"]
        ),
    }


def _median(rows: Iterable[Values], name: str) -> float | None:
    known = [value for values in rows if (value := values[name]) is not None]
    return round(median(known), 9) if known else None


def _drawn(change: float, n: int, *, as_a: str) -> float:
    weight = n / (n + _UNCHANGED)
    return round(change * weight if as_a == "difference" else max(change, 0.0) ** weight, 9)


def _activity_ratio(values: Values) -> float | None:
    """Returns the sessions a day of the last 14 days ÷ those of the days before, up to day 90; None
    where there were none before.

    Days before the oldest window with a session do not count: before the first session there was
    no pace to fall from.
    """
    windows = [
        (14, values["sessions_taught_14d"]),
        (30, values["sessions_taught_30d"]),
        (60, values["sessions_60d"]),
        (90, values["sessions_90d"]),
    ]
    recent = windows[0][1]
    reached, seen = 14, recent
    for days, sessions in windows[1:]:
        if sessions is not None and seen is not None and sessions > seen:
            reached, seen = days, sessions
    if recent is None or seen is None:
        return None
    return _ratio(recent * (reached - 14), (seen - recent) * 14)


def _ratio(value: float | None, to: float | None) -> float | None:
    return None if value is None or to is None or to <= 0 else round(value / to, 9)

"""The signs that a tutor may leave, from the tutor's columns.

Belongs here: each sign of tutors, from the columns that it compares.
Does not belong here: how signs are measured (`departure.measures`), the columns themselves
(dbt_project/models/marts/tutor_evidence.sql), weights and words (signs.yml).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from tutor_pipeline.judgement.scores.departure.measures import (
    PSEUDO,
    Array,
    Columns,
    Measured,
    booked_ahead,
    booked_share,
    changed_mark,
    changed_rate,
    counted,
    gap,
    happens_among,
    known_gap,
    mark_level,
    pace,
    per_day,
    rate_level,
    rounded,
    total,
    unknown,
    variance_within,
)

EVENTS = {
    "reschedules": ("reschedules", "reschedules_due"),
    "no_shows": ("no_shows", "no_shows_due"),
    "cancellations": ("cancelled", "sessions"),
    "lateness": ("lates", "starts_known"),
}
"""Events of sessions: the column that counts them, and that of the sessions they can happen to."""
MARKS = ("score", "rating", "engagement", "sentiment")
_COUNTED = dict.fromkeys(("sessions", *(each for pair in EVENTS.values() for each in pair)))

READS: tuple[str, ...] = (
    *("days_seen", "days_since_completed"),
    *(f"completed_{days}" for days in ("7d", "14d", "28d", "before_14d", "before_28d")),
    *(f"{column}_{days}" for column in _COUNTED for days in ("28d", "before")),
    *(f"{mark}_{days}" for mark in MARKS for days in ("28d", "28d_n", "before", "before_n")),
    *("earned_28d", "earned_before", "login_days_14d", "login_days_before"),
    *("hours_this_week", "hours_next_week", "usual_hours", "usual_hours_weeks"),
    *("reply_hours_14d", "reply_hours_before", "reply_hours_weeks"),
    *("instant_14d", "instant_before", "instant_weeks", "booked_ahead", "booked_unclear"),
)
"""The columns of marts.tutor_evidence that are read, besides tutor_id."""

_FEWEST_WEEKS = 2
_USUAL_SILENCE = (4.0, 14.0)  # days, at least and at most


@dataclass(frozen=True, slots=True)
class Usual:
    """What signs need to know of the platform; None where it is not recorded.

    `rates`: share of sessions with an event. `within`: variance of one session's mark around the
    tutor's mean. `booked`: sessions booked ahead ÷ the usual sessions of as many days. `earned`:
    median earnings of 28 days. `instant`: share of weeks open to instant booking.
    """

    rates: Mapping[str, float | None]
    within: Mapping[str, float | None]
    booked: float | None
    earned: float | None
    instant: float | None
    has_logins: bool

    def to_json(self) -> dict[str, object]:
        """Returns a JSON object that `from_json` reads back exactly."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, object]) -> Usual:
        """Returns what `to_json` was given."""
        return cls(**stored)  # type: ignore[arg-type]


def usual_of(columns: Columns) -> Usual:
    """Returns what is usual among these tutors. Their order has no effect."""
    c = columns
    earned = c["earned_before"][c["earned_before"] > 0]
    instant = _instant(c)
    instant = instant[np.isfinite(instant)]
    return Usual(
        rates={
            event: happens_among(c, happened, among) for event, (happened, among) in EVENTS.items()
        },
        within={mark: variance_within(c, mark) for mark in MARKS},
        booked=booked_share(c),
        earned=rounded(float(np.median(earned)) / 2) if len(earned) else None,
        instant=rounded(total(instant) / len(instant)) if len(instant) else None,
        has_logins=bool((c["login_days_before"] > 0).any() or (c["login_days_14d"] > 0).any()),
    )


def measure(columns: Columns, usual: Usual) -> dict[str, Measured]:
    """Returns every sign of signs.yml by its code."""
    with np.errstate(all="ignore"):
        return dict(_signs(columns, usual))


def silence(columns: Columns) -> Array:
    """Returns the time without a completed session in units of what is usual: above 1, the tutor
    may have left already. Usual is twice the tutor's own gap, within _USUAL_SILENCE.
    """
    with np.errstate(all="ignore"):
        own = np.nan_to_num(1 / pace(columns, 14), nan=0.0, posinf=0.0)
    return np.asarray(known_gap(columns) / np.clip(2 * own, *_USUAL_SILENCE))


def _signs(c: Columns, usual: Usual) -> Iterator[tuple[str, Measured]]:
    usually, usually_28 = pace(c, 14), pace(c, 28)
    before, before_28 = c["completed_before_14d"], c["completed_before_28d"]
    for days, own, past in (
        (7, usually, before),
        (14, usually, before),
        (28, usually_28, before_28),
    ):
        yield f"pace_{days}d", counted(c[f"completed_{days}d"], days * own, past)
    yield "gap", gap(c, usually)
    yield "booked_ahead", booked_ahead(c, usually, usual.booked)
    yield "earnings", _earnings(c, usually_28, usual)
    yield "pace_level", _pace_level(c)
    logged = per_day(c["login_days_before"], c, 14)
    expected = 14 * logged if usual.has_logins else unknown(logged)
    yield "logins", counted(c["login_days_14d"], expected, c["login_days_before"])
    yield from _offered(c, usual)
    for event, (happened, among) in EVENTS.items():
        counts = (
            *(c[f"{happened}_28d"], c[f"{among}_28d"]),
            *(c[f"{happened}_before"], c[f"{among}_before"]),
        )
        yield event, changed_rate(*counts, usual.rates[event])
        yield f"{event}_level", rate_level(*counts, usual.rates[event])
    for mark in MARKS:
        yield mark, changed_mark(c, mark, usual.within[mark])
        yield f"{mark}_level", mark_level(c, mark, usual.within[mark])


def _earnings(c: Columns, usually: Array, usual: Usual) -> Measured:
    typical = np.nan if usual.earned is None else usual.earned
    expected = 28 * per_day(c["earned_before"], c, 28)
    expected = np.where(c["earned_before"] > 0, expected, np.nan)
    value = -np.log((np.maximum(c["earned_28d"], 0) + 0.2 * typical) / (expected + 0.2 * typical))
    variance = 1 / (28 * usually + PSEUDO) + 1 / (c["completed_before_28d"] + PSEUDO)
    n, n_usual = c["completed_28d"], c["completed_before_28d"]
    return Measured(value, variance, c["earned_28d"], expected, n, n_usual)


def _pace_level(c: Columns) -> Measured:
    days = np.clip(c["days_seen"], 14, 84)
    taught = c["completed_28d"] + c["completed_before_28d"]
    weekly = 7 * taught / days
    value = -np.log(4 * weekly + 1)
    return Measured(value, 1 / (taught + 1), weekly, unknown(weekly), taught, unknown(weekly))


def _offered(c: Columns, usual: Usual) -> Iterator[tuple[str, Measured]]:
    """Yields hours, instant booking and replies, whose reports show no variance within a week."""
    this, following = c["hours_this_week"], c["hours_next_week"]
    hours = np.where(
        np.isfinite(following) & np.isfinite(this),
        (this + following) / 2,
        np.where(np.isfinite(this), this, following),
    )
    weeks, none = c["usual_hours_weeks"], unknown(hours)
    change = -np.log((hours + 1) / (c["usual_hours"] + 1)) * weeks / (weeks + 1)
    value = np.where(weeks >= _FEWEST_WEEKS, change, np.nan)
    yield "hours", Measured(value, 0 * hours, hours, c["usual_hours"], none, weeks)
    yield "hours_level", Measured(-np.log(hours + 1), 0 * hours, hours, none, none, none)

    weeks = c["instant_weeks"]
    mean = _instant(c)
    chance = np.nan if usual.instant is None else usual.instant * (1 - usual.instant)
    value = np.where(weeks >= _FEWEST_WEEKS, c["instant_before"] - c["instant_14d"], np.nan)
    variance = chance * (1 / 2 + 1 / weeks)
    yield (
        "instant_book",
        Measured(value, variance, c["instant_14d"], c["instant_before"], none, weeks),
    )
    average = np.full_like(hours, np.nan if usual.instant is None else usual.instant)
    yield "instant_book_level", Measured(-mean, chance / (2 + weeks), mean, average, none, none)

    weeks, now, past = c["reply_hours_weeks"], c["reply_hours_14d"], c["reply_hours_before"]
    change = np.log((now + 0.5) / (past + 0.5)) * weeks / (weeks + 1)
    value = np.where(weeks >= _FEWEST_WEEKS, change, np.nan)
    yield "reply", Measured(value, 0 * hours, now, past, none, weeks)
    mean = np.where(weeks > 0, (2 * now + weeks * past) / (2 + weeks), now)
    yield "reply_level", Measured(np.log(mean + 0.5), 0 * hours, mean, none, none, none)


def _instant(c: Columns) -> Array:
    now, before, weeks = c["instant_14d"], c["instant_before"], c["instant_weeks"]
    with np.errstate(all="ignore"):
        return np.where(weeks > 0, (2 * now + weeks * before) / (2 + weeks), now)

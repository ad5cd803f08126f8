"""The signs that a student may leave, from the student's columns.

Belongs here: each sign of students, from the columns that it compares.
Does not belong here: how signs are measured (`departure.measures`), the columns themselves
(dbt_project/models/marts/student_evidence.sql), weights and words (signs.yml).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np

from tutor_pipeline.judgement.scores.departure.forecast import ASKED_SILENCE_DAYS
from tutor_pipeline.judgement.scores.departure.measures import (
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
    rate_level,
    rounded,
    unknown,
    variance_within,
)

EVENTS = ("moved", "cancelled", "missed", "missed_by_tutor", "new_tutors")
"""Events of sessions, by the columns that count them."""
MARKS = ("score", "satisfaction", "engagement")

READS: tuple[str, ...] = (
    *("days_seen", "days_since_completed"),
    *(f"completed_{days}" for days in ("all", "14d", "28d", "before_14d", "before_28d")),
    *(f"{column}_{days}" for column in ("sessions", *EVENTS) for days in ("28d", "before")),
    *(f"{mark}_{days}" for mark in MARKS for days in ("28d", "28d_n", "before", "before_n")),
    *(f"{column}_{days}" for column in ("billed", "discounted") for days in ("28d", "before")),
    *(f"price_{days}" for days in ("28d", "28d_n", "before", "before_n")),
    *("first_satisfaction", "booked_ahead", "booked_unclear"),
)
"""The columns of marts.student_evidence that are read, besides student_id."""

_FORTNIGHT = 14.0


@dataclass(frozen=True, slots=True)
class Usual:
    """What signs need to know of the platform; None where it is not recorded.

    `rates`: share of sessions with an event. `discounted`: share of bills with a discount.
    `within`: variance of one session's mark around the student's mean. `booked`: sessions booked
    ahead ÷ the usual sessions of as many days. `first`: median satisfaction with the first session.
    """

    rates: Mapping[str, float | None]
    discounted: float | None
    within: Mapping[str, float | None]
    booked: float | None
    first: float | None

    def to_json(self) -> dict[str, object]:
        """Returns a JSON object that `from_json` reads back exactly."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, object]) -> Usual:
        """Returns what `to_json` was given."""
        return cls(**stored)  # type: ignore[arg-type]


def usual_of(columns: Columns) -> Usual:
    """Returns what is usual among these students. Their order has no effect."""
    c = columns
    first = c["first_satisfaction"][np.isfinite(c["first_satisfaction"])]

    return Usual(
        rates={event: happens_among(c, event, "sessions") for event in EVENTS},
        discounted=happens_among(c, "discounted", "billed"),
        within={mark: variance_within(c, mark) for mark in MARKS},
        booked=booked_share(c),
        first=rounded(float(np.median(first))) if len(first) else None,
    )


def measure(columns: Columns, usual: Usual) -> dict[str, Measured]:
    """Returns every sign of signs.yml by its code."""
    with np.errstate(all="ignore"):
        return dict(_signs(columns, usual))


def silence(columns: Columns) -> Array:
    """Returns the silence as a share of the longest that is asked about. The platform has the day
    on which a student left, so nobody who is asked about has left already.
    """
    return np.asarray(known_gap(columns) / ASKED_SILENCE_DAYS)


def _signs(c: Columns, usual: Usual) -> Iterator[tuple[str, Measured]]:
    usually = pace(c, 14)
    yield "gap", gap(c, usually)
    yield from _absence(c)
    for days, before in ((14, "completed_before_14d"), (28, "completed_before_28d")):
        expected = days * pace(c, days)
        yield f"pace_{days}d", counted(c[f"completed_{days}d"], expected, c[before])
    yield "pace_level", _pace_level(c)
    yield "booked_ahead", booked_ahead(c, usually, usual.booked)
    yield from _beginning(c, usual)
    for event in EVENTS:
        counts = (
            *(c[f"{event}_28d"], c["sessions_28d"]),
            *(c[f"{event}_before"], c["sessions_before"]),
        )
        yield event, _since_before(changed_rate(*counts, usual.rates[event]))
        yield f"{event}_level", rate_level(*counts, usual.rates[event])
    for mark in MARKS:
        yield mark, changed_mark(c, mark, usual.within[mark])
        yield f"{mark}_level", mark_level(c, mark, usual.within[mark])
    yield from _price(c, usual)


def _since_before(change: Measured) -> Measured:
    """Returns the change, not known for students without an earlier session: many are new, and
    their level says enough.
    """
    return replace(change, value=np.where(change.n_usual > 0, change.value, np.nan))


def _absence(c: Columns) -> Iterator[tuple[str, Measured]]:
    """Yields the days without a session, and those beyond 14: on some platforms students who stay
    away so long have left, on others they come back.
    """
    days = c["days_since_completed"]
    none = unknown(days)
    yield "gap_level", Measured(np.log1p(days), 0 * days, days, none, none, none)
    beyond = np.log1p(np.maximum(days - _FORTNIGHT, 0))
    yield "absence", Measured(beyond, 0 * days, days, none, none, none)


def _pace_level(c: Columns) -> Measured:
    days = np.clip(c["days_seen"], 14, 84)
    had = c["completed_28d"] + c["completed_before_28d"]
    weekly = 7 * had / days
    value = -np.log(4 * weekly + 1)
    return Measured(value, 1 / (had + 1), weekly, unknown(weekly), had, unknown(weekly))


def _beginning(c: Columns, usual: Usual) -> Iterator[tuple[str, Measured]]:
    """Yields how new a student is, and the first session, which counts less with every other."""
    sessions, none = c["completed_all"], unknown(c["completed_all"])
    yield "tenure", Measured(-np.log1p(sessions), 0 * sessions, sessions, none, none, none)
    first = c["first_satisfaction"]
    typical = np.nan if usual.first is None else usual.first
    value = (typical - first) / np.maximum(sessions, 1)
    usually = np.full_like(first, typical)
    yield "first_session", Measured(value, 0 * first, first, usually, sessions, none)


def _price(c: Columns, usual: Usual) -> Iterator[tuple[str, Measured]]:
    """Yields fewer discounts than before, a large share of discounts, and a higher price."""
    now, n = c["discounted_28d"], c["billed_28d"]
    past, n_past = c["discounted_before"], c["billed_before"]
    change = _since_before(changed_rate(now, n, past, n_past, usual.discounted))
    yield (
        "discount_ended",
        Measured(
            -change.value, change.variance, change.now, change.usual, change.n, change.n_usual
        ),
    )
    yield "discount_level", rate_level(now, n, past, n_past, usual.discounted)
    price, before = c["price_28d"], c["price_before"]
    value = np.where((price > 0) & (before > 0), np.log(price / before), np.nan)
    yield "price", Measured(value, 0 * value, price, before, c["price_28d_n"], c["price_before_n"])

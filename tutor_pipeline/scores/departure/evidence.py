"""What of a tutor's columns is a sign of leaving.

Belongs here: each sign as a number that is higher where the risk is, how well it is known, and
the two numbers that it compares. Does not belong here: how it compares with the others
(`reference`), the columns themselves (dbt_project/macros/tutor_evidence.sql), weights and words
(signals.yml).

A sign that is not known is NaN. Counts are compared as the logarithm of a ratio, which is the
same for half of 4 and half of 40; `_PSEUDO` is added to both sides, so that a ratio of small
counts says little.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutor_pipeline.scores.score import Row

Array = NDArray[np.float64]
Columns = Mapping[str, Array]
"""Columns of marts.tutor_evidence by name, a number per tutor; NaN for NULL."""

EVENTS = {
    "reschedules": ("reschedules", "sessions"),
    "no_shows": ("no_shows", "sessions"),
    "cancellations": ("cancelled", "sessions"),
    "lateness": ("lates", "starts_known"),
}
"""Events of sessions: the columns that count them, and the sessions that they could happen to."""
MARKS = ("score", "rating", "engagement", "sentiment")

READS: tuple[str, ...] = (
    *("days_seen", "days_since_completed"),
    *(f"completed_{days}" for days in ("7d", "14d", "28d", "before_14d", "before_28d")),
    *(
        f"{column}_{days}"
        for column in ("sessions", "reschedules", "no_shows", "cancelled", "lates", "starts_known")
        for days in ("28d", "before")
    ),
    *(f"{mark}_{days}" for mark in MARKS for days in ("28d", "28d_n", "before", "before_n")),
    *("earned_28d", "earned_before", "login_days_14d", "login_days_before"),
    *("hours_this_week", "hours_next_week", "usual_hours", "usual_hours_weeks"),
    *("reply_hours_14d", "reply_hours_before", "reply_hours_weeks"),
    *("instant_14d", "instant_before", "instant_weeks", "booked_ahead", "booked_unclear"),
)
"""Columns of marts.tutor_evidence that are read, beside tutor_id."""

ASKED_SILENCE_DAYS = 45
"""A tutor is asked about while the last completed session lies at most so many days back; as the
dbt var asked_silence_days says.
"""

_PSEUDO = 0.5  # of sessions or days
_FEWEST_DAYS = 14  # of an own past, before a change against it is known
_FEWEST_WEEKS = 2
_OWN_PAST = 10.0  # sessions at the platform's rate that an own rate is drawn towards
_USUAL_SILENCE = (4.0, 14.0)  # days, at least and at most
_LONGEST_GAP = 91.0  # days: where no completed session is in sight
_MOST_UNCLEAR = 0.2  # of the sessions ahead: beyond it, what is booked ahead is not known
_LEAST_BOOKED = 0.02  # of the usual pace: below it, the platform does not book ahead


@dataclass(frozen=True, slots=True)
class Usual:
    """What signs need to know of the platform; None where it does not have it.

    `rates`: share of sessions that an event happens to. `within`: variance of a single session's
    mark around its tutor's mean. `booked`: sessions booked ahead ÷ the usual sessions of as many
    days. `earned`: what half of the tutors earn in 28 days. `instant`: share of weeks open to
    instant booking.
    """

    rates: Mapping[str, float | None]
    within: Mapping[str, float | None]
    booked: float | None
    earned: float | None
    instant: float | None
    has_logins: bool

    def to_json(self) -> dict[str, object]:
        """A JSON object that `from_json` reads back exactly."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, object]) -> Usual:
        """What `to_json` gave."""
        return cls(**stored)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Measured:
    """A sign of every tutor. `value`: higher = more at risk, NaN = not known; `variance` of it by
    chance alone, 0 where that can't be told. `now` and `usual` are the numbers compared, `n`
    and `n_usual` the observations behind them.
    """

    value: Array
    variance: Array
    now: Array
    usual: Array
    n: Array
    n_usual: Array


def columns_of(rows: Sequence[Row]) -> dict[str, Array]:
    """The columns that are read, of rows."""
    return {
        name: np.array(
            [np.nan if (value := row[name]) is None else value for row in rows],
            dtype=np.float64,
        )
        for name in READS
    }


def usual_of(columns: Columns) -> Usual:
    """What is usual among these tutors. The same whatever their order."""
    c = columns
    rates: dict[str, float | None] = {}
    for event, (counted, among) in EVENTS.items():
        sessions = _total(c[f"{among}_28d"]) + _total(c[f"{among}_before"])
        happened = _total(c[f"{counted}_28d"]) + _total(c[f"{counted}_before"])
        # What never happened is not known to be recorded at all.
        rates[event] = _rounded(happened / sessions) if sessions and happened else None
    pace = _pace(c, 14)
    expected = 14 * pace
    has_pace = np.isfinite(expected) & ~_is_unclear(c)
    ahead = _total(c["booked_ahead"])
    unclear = _total(c["booked_unclear"])
    booked = None
    if ahead and unclear <= _MOST_UNCLEAR * (ahead + unclear):
        usually = _total(expected[has_pace])
        share = _total(c["booked_ahead"][has_pace]) / usually if usually else 0.0
        booked = _rounded(share) if share > _LEAST_BOOKED else None
    earned = c["earned_before"][c["earned_before"] > 0]
    instant = _instant(c)
    instant = instant[np.isfinite(instant)]
    return Usual(
        rates=rates,
        within={mark: _within(c, mark) for mark in MARKS},
        booked=booked,
        earned=_rounded(float(np.median(earned)) / 2) if len(earned) else None,
        instant=_rounded(_total(instant) / len(instant)) if len(instant) else None,
        has_logins=bool((c["login_days_before"] > 0).any() or (c["login_days_14d"] > 0).any()),
    )


def measure(columns: Columns, usual: Usual) -> dict[str, Measured]:
    """Every sign of signals.yml by its code."""
    with np.errstate(all="ignore"):
        return dict(_signs(columns, usual))


def asked(columns: Columns) -> dict[str, Array]:
    """The columns of those who are asked about: who has long been silent is not usual."""
    still = columns["days_since_completed"] <= ASKED_SILENCE_DAYS
    return {name: column[still] for name, column in columns.items()}


def silence(columns: Columns) -> Array:
    """How long no session was completed, in units of what is usual: above 1, the tutor may have
    left already. Usual are twice the tutor's own gaps, within _USUAL_SILENCE.
    """
    with np.errstate(all="ignore"):
        own = np.nan_to_num(1 / _pace(columns, 14), nan=0.0, posinf=0.0)
    return np.asarray(_known_gap(columns) / np.clip(2 * own, *_USUAL_SILENCE))


def _signs(c: Columns, usual: Usual) -> Iterator[tuple[str, Measured]]:
    pace, pace_28 = _pace(c, 14), _pace(c, 28)
    before, before_28 = c["completed_before_14d"], c["completed_before_28d"]
    for days, own, counted in ((7, pace, before), (14, pace, before), (28, pace_28, before_28)):
        yield f"pace_{days}d", _counted(c[f"completed_{days}d"], days * own, counted)
    yield "gap", _gap(c, pace)
    share = np.nan if usual.booked is None else usual.booked
    expected = np.where(_is_unclear(c), np.nan, 14 * pace * share)
    yield "booked_ahead", _counted(c["booked_ahead"], expected, before)
    yield "earnings", _earnings(c, pace_28, usual)
    yield "pace_level", _pace_level(c)
    logged = _per_day(c["login_days_before"], c, 14)
    expected = 14 * logged if usual.has_logins else np.full_like(logged, np.nan)
    yield "logins", _counted(c["login_days_14d"], expected, c["login_days_before"])
    yield from _offered(c, usual)
    for event in EVENTS:
        yield from _event(c, event, usual.rates[event])
    for mark in MARKS:
        yield from _mark(c, mark, usual.within[mark])


def _counted(now: Array, expected: Array, before: Array) -> Measured:
    """Fewer than expected is a sign; both counts scatter as counts do."""
    value = -np.log((now + _PSEUDO) / (expected + _PSEUDO))
    return Measured(
        value, 1 / (expected + _PSEUDO) + 1 / (before + _PSEUDO), now, expected, now, before
    )


def _gap(c: Columns, pace: Array) -> Measured:
    """Sessions that would have been usual since the last one."""
    gap = _known_gap(c)
    # Without two sessions there is no gap between them.
    value = np.where(c["completed_before_14d"] >= 2, np.log1p(np.maximum(gap * pace, 0)), np.nan)
    # A gap scatters as waiting times do: the variance of log(1 + x) for an exponential x.
    variance = np.where(np.isfinite(value), 0.3, np.nan)
    return Measured(value, variance, gap, 1 / pace, c["completed_before_14d"], c["days_seen"])


def _earnings(c: Columns, pace: Array, usual: Usual) -> Measured:
    typical = np.nan if usual.earned is None else usual.earned
    expected = 28 * _per_day(c["earned_before"], c, 28)
    expected = np.where(c["earned_before"] > 0, expected, np.nan)
    value = -np.log((np.maximum(c["earned_28d"], 0) + 0.2 * typical) / (expected + 0.2 * typical))
    variance = 1 / (28 * pace + _PSEUDO) + 1 / (c["completed_before_28d"] + _PSEUDO)
    n, n_usual = c["completed_28d"], c["completed_before_28d"]
    return Measured(value, variance, c["earned_28d"], expected, n, n_usual)


def _pace_level(c: Columns) -> Measured:
    days = np.clip(c["days_seen"], 14, 84)
    taught = c["completed_28d"] + c["completed_before_28d"]
    weekly = 7 * taught / days
    value = -np.log(4 * weekly + 1)
    return Measured(value, 1 / (taught + 1), weekly, _no(weekly), taught, _no(weekly))


def _offered(c: Columns, usual: Usual) -> Iterator[tuple[str, Measured]]:
    """Hours, instant booking, replies: from reports, whose scatter is not known but by the week."""
    this, following = c["hours_this_week"], c["hours_next_week"]
    hours = np.where(
        np.isfinite(following) & np.isfinite(this),
        (this + following) / 2,
        np.where(np.isfinite(this), this, following),
    )
    weeks, none = c["usual_hours_weeks"], _no(hours)
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


def _event(c: Columns, event: str, rate: float | None) -> Iterator[tuple[str, Measured]]:
    """A higher share of sessions than one's own of before, and than the others'."""
    counted, among = EVENTS[event]
    now, past = c[f"{counted}_28d"], c[f"{counted}_before"]
    n, n_past = c[f"{among}_28d"], c[f"{among}_before"]
    p = np.nan if rate is None else rate
    own = (past + _OWN_PAST * p) / (n_past + _OWN_PAST)
    chance = p * (1 - p)
    share = np.where(n > 0, now / n, np.nan)
    variance = chance * (1 / np.maximum(n, 1) + 1 / (n_past + _OWN_PAST))
    before = np.where(n_past > 0, past / n_past, p)
    yield event, Measured(share - own, variance, share, before, n, n_past)
    sessions = n + n_past
    share = np.where(sessions > 0, (now + past) / sessions, np.nan) + 0 * p
    average = np.full_like(share, p)
    yield (
        f"{event}_level",
        Measured(share, chance / np.maximum(sessions, 1), share, average, sessions, _no(share)),
    )


def _mark(c: Columns, mark: str, within: float | None) -> Iterator[tuple[str, Measured]]:
    """A lower mark than one's own of before, and than the others'."""
    now, past = c[f"{mark}_28d"], c[f"{mark}_before"]
    n, n_past = c[f"{mark}_28d_n"], c[f"{mark}_before_n"]
    single = 0.0 if within is None else within
    yield mark, Measured(past - now, single * (1 / n + 1 / n_past), now, past, n, n_past)
    count = n + n_past
    mean = (np.nan_to_num(now) * n + np.nan_to_num(past) * n_past) / count
    yield f"{mark}_level", Measured(-mean, single / count, mean, _no(mean), count, _no(mean))


def _days_before(c: Columns, recent: int) -> Array:
    """Days of the 8 weeks before the recent ones in which the tutor could be seen."""
    days = np.clip(c["days_seen"] - recent, 0, 56)
    return np.where(days >= _FEWEST_DAYS, days, np.nan)


def _per_day(counted: Array, c: Columns, recent: int) -> Array:
    return counted / _days_before(c, recent)


def _pace(c: Columns, recent: int) -> Array:
    """Completed sessions a day of the 8 weeks before the recent days; NaN without such a past."""
    return _per_day(c[f"completed_before_{recent}d"], c, recent)


def _is_unclear(c: Columns) -> Any:
    """Of whom too many sessions ahead have no known moment of booking."""
    ahead, unclear = c["booked_ahead"], c["booked_unclear"]
    return np.asarray(unclear > _MOST_UNCLEAR * (ahead + unclear))


def _known_gap(c: Columns) -> Array:
    gap = c["days_since_completed"]
    return np.where(np.isfinite(gap), gap, _LONGEST_GAP)


def _instant(c: Columns) -> Array:
    now, before, weeks = c["instant_14d"], c["instant_before"], c["instant_weeks"]
    with np.errstate(all="ignore"):
        return np.where(weeks > 0, (2 * now + weeks * before) / (2 + weeks), now)


def _within(c: Columns, mark: str) -> float | None:
    """Variance of one session's mark, from how far the recent means are from those before."""
    n, n_past = c[f"{mark}_28d_n"], c[f"{mark}_before_n"]
    with np.errstate(all="ignore"):
        change = c[f"{mark}_28d"] - c[f"{mark}_before"]
        single = 1 / n + 1 / n_past
    known = np.isfinite(change) & np.isfinite(single)
    if known.sum() < 10:
        return None
    change = change[known] - np.median(change[known])
    # The median of a chi-squared variable: few that really changed must not count.
    return _rounded(float(np.median(change**2 / single[known])) / 0.4549)


def _total(values: Array) -> float:
    """An exact sum of what is known, so that the order of the tutors decides nothing."""
    return math.fsum(values[np.isfinite(values)].tolist())


def _rounded(value: float) -> float:
    return round(value, 9)


def _no(like: Array) -> Array:
    return np.full_like(like, np.nan)

"""signals_v1, the literal rule, and signals_v2, the same signals beyond what chance explains.

Belongs here: when a signal fires, what it says, and what the signals add up to.
Does not belong here: metrics (dbt), fitting priors (`shrinkage`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutor_pipeline.scores.score import (
    Level,
    Reason,
    Row,
    Score,
    Status,
    Target,
    input_hash,
    most_telling_first,
    number,
)
from tutor_pipeline.scores.shrinkage import Floats, Priors

V1 = "signals_v1"
V2 = "signals_v2"
HORIZON_DAYS = 30
READS = (
    "tutor_id",
    "sessions_7d",
    "sessions_30d",
    "sessions_90d",
    "avg_rating_7d",
    "avg_rating_7d_n",
    "avg_rating_30d",
    "avg_engagement_30d",
    "avg_engagement_30d_n",
    "reschedule_rate_30d",
    "tutor_reschedules_30d",
    "first_session_avg_rating_90d",
    "first_session_avg_rating_90d_n",
    "no_show_tutor_30d",
)
PROFILE_RATE = "profile_reschedule_rate"
"""Not of the metrics: the profile's own rate. v1 reads it where a row has it and no reschedules."""

POINTS = {
    "poor_first_sessions": 2,
    "rating_trend_down": 1,
    "low_engagement": 1,
    "high_reschedule_rate": 1,
    "no_shows": 1,
    "declining_activity": 1,
}
POINT = 0.12
CAP = 0.85
"""Above what all points together give: it is the rule's, and no contribution needs cutting."""
LEVELS = ((0.5, Level.HIGH), (0.3, Level.MEDIUM), (0.0, Level.LOW))

RATING_FALL = 0.3
LOW_ENGAGEMENT = 5.5
HIGH_RESCHEDULE_RATE = 0.15
POOR_FIRST_RATING = 3.5
NO_SHOWS = 2
"""v1: more no-shows than this in 30 days."""

NO_SHOW_RATE = 0.05
"""v2: a larger share than this. A count alone grows with the work: 3 of 150 sessions are few."""
LIKELY = 0.6
"""v2 fires when it is at least this likely that the tutor's own level is beyond the threshold.

The lowest of 0.5, 0.6 … 0.9 with which every signal fires for at most 5 % of tutors who are as is
usual, from 8 to 600 sessions a month (`benchmarks/signals.py`): as much as `UNLIKELY` allows.
"""
UNLIKELY = 0.05
"""v2: so few sessions in 7 days have at most this chance, given those of 30 days."""
WEEK_OF_MONTH = 7 / 30
FEWEST_RATINGS_7D = 5
FEWEST_FIRST_SESSIONS = 3
FEWEST_SESSIONS_30D = 10

Inputs = Mapping[str, float | None]
Flags = NDArray[np.bool_]


def score_v1(rows: Iterable[Row]) -> list[Score]:
    """The literal rule, a score per row (columns as in `READS`) in the order of the rows.

    A NULL compares as not met. The score (0 to 0.84) only ranks; it is no probability. A tutor
    without a session in 90 days of whom nothing else is known has `insufficient_data`.
    """
    scores = []
    for row in rows:
        inputs = _inputs(row)
        known = bool(inputs["sessions_90d"]) or any(inputs[name] is not None for name in _AVERAGES)
        scores.append(_score(row, V1, "1", list(_fired_v1(inputs)), known, inputs))
    return scores


def score_v2(rows: Iterable[Row], priors: Priors) -> list[Score]:
    """v1's signals where chance does not explain them; a score per row in the order of the rows.

    Under its minimum count a signal is unknown: its reason adds 0 and says what is missing. All
    unknown: `insufficient_data`. A tutor's score depends on its own row and the priors only.
    """
    found = list(rows)
    inputs = [_inputs(row) for row in found]
    columns = {
        name: np.array([each[name] for each in inputs], dtype=np.float64) for name in _NUMBERS
    }
    reasons: list[list[Reason]] = [[] for _ in found]
    known = np.zeros(len(found), dtype=bool)
    for judge in _JUDGES:
        verdict = judge(columns, priors)
        known |= verdict.known
        for i in np.flatnonzero(verdict.fires).tolist():
            reasons[i].append(verdict.reason(i))
        for i in np.flatnonzero(~verdict.known).tolist():
            label = verdict.missing(i)
            n = _count(verdict.n[i])
            reasons[i].append(Reason(verdict.code, label, None, None, n, 0.0))
    version = str(priors.version)
    return [
        _score(row, V2, version, reasons[i], bool(known[i]), inputs[i])
        for i, row in enumerate(found)
    ]


_NUMBERS = READS[1:]
_AVERAGES = (
    "avg_rating_7d",
    "avg_rating_30d",
    "avg_engagement_30d",
    "reschedule_rate_30d",
    "first_session_avg_rating_90d",
    PROFILE_RATE,
)


def _inputs(row: Row) -> Inputs:
    inputs = {name: number(row, name) for name in _NUMBERS}
    inputs[PROFILE_RATE] = number(row, PROFILE_RATE) if PROFILE_RATE in row else None
    return inputs


def _score(
    row: Row, scorer: str, version: str, reasons: list[Reason], known: bool, inputs: Inputs
) -> Score:
    points = sum(POINTS[reason.code] for reason in reasons if reason.contribution)
    score = round(min(POINT * points, CAP), 6)
    return Score(
        subject_id=str(row["tutor_id"]),
        scorer=scorer,
        version=version,
        target=Target.TUTOR_RISK,
        horizon_days=HORIZON_DAYS,
        score=score if known else None,
        is_probability=False,
        level=next(level for least, level in LEVELS if score >= least) if known else None,
        reasons=most_telling_first(reasons),
        status=Status.OK if known else Status.INSUFFICIENT_DATA,
        input_hash=input_hash(scorer, version, inputs),
    )


def _reason(
    code: str, label: str, value: float, reference: float, n: float | None = None
) -> Reason:
    return Reason(code, label, value, reference, _count(n), round(POINT * POINTS[code], 6))


def _share(of_one: float) -> str:
    return f"{100 * of_one:.0f} %"


def _count(n: float | None) -> int | None:
    return None if n is None or math.isnan(n) else int(n)


# --- v1 ---------------------------------------------------------------------------------------


def _fired_v1(seen: Inputs) -> Iterator[Reason]:
    week, month = seen["avg_rating_7d"], seen["avg_rating_30d"]
    if week is not None and month is not None and week < round(month - RATING_FALL, 9):
        label = f"Ratings fell from {month:.1f} to {week:.1f}"
        yield _reason("rating_trend_down", label, week, month, seen["avg_rating_7d_n"])

    engagement = seen["avg_engagement_30d"]
    if engagement is not None and engagement < LOW_ENGAGEMENT:
        label = f"Engagement is {engagement:.1f} on average, under {LOW_ENGAGEMENT}"
        n = seen["avg_engagement_30d_n"]
        yield _reason("low_engagement", label, engagement, LOW_ENGAGEMENT, n)

    rate, n = seen["reschedule_rate_30d"], seen["sessions_30d"]
    words = "of the sessions of 30 days were rescheduled by the tutor"
    # With a source of reschedules a tutor without sessions has a count of 0, and no rate either.
    if rate is None and seen["tutor_reschedules_30d"] is None:
        rate, n = seen[PROFILE_RATE], None
        words = "of the sessions rescheduled according to the profile (the platform records none)"
    if rate is not None and rate > HIGH_RESCHEDULE_RATE:
        label = f"{_share(rate)} {words}, over {_share(HIGH_RESCHEDULE_RATE)}"
        yield _reason("high_reschedule_rate", label, rate, HIGH_RESCHEDULE_RATE, n)

    first = seen["first_session_avg_rating_90d"]
    if first is not None and first < POOR_FIRST_RATING:
        label = f"First sessions are rated {first:.1f} on average, under {POOR_FIRST_RATING}"
        n = seen["first_session_avg_rating_90d_n"]
        yield _reason("poor_first_sessions", label, first, POOR_FIRST_RATING, n)

    no_shows = seen["no_show_tutor_30d"]
    if no_shows is not None and no_shows > NO_SHOWS:
        label = f"{no_shows:.0f} no-shows in 30 days, more than {NO_SHOWS}"
        yield _reason("no_shows", label, no_shows, NO_SHOWS, seen["sessions_30d"])

    sessions, of_month = seen["sessions_7d"], seen["sessions_30d"]
    if sessions is not None and of_month is not None and sessions < of_month / 4:
        label = (
            f"{sessions:.0f} sessions in 7 days, under a quarter of the {of_month:.0f} of 30 days"
        )
        yield _reason("declining_activity", label, sessions, of_month / 4, of_month)


# --- v2 ---------------------------------------------------------------------------------------

Columns = Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class _Verdict:
    """One signal over all tutors: an element each. `fires` only where `known`."""

    code: str
    known: Flags
    fires: Flags
    value: Floats
    reference: Floats
    n: Floats
    fired: Callable[[int], str]
    missing: Callable[[int], str]

    def reason(self, i: int) -> Reason:
        value, reference = float(self.value[i]), round(float(self.reference[i]), 6)
        return _reason(self.code, self.fired(i), value, reference, self.n[i])


def _activity(of: Columns, priors: Priors) -> _Verdict:
    from scipy.special import bdtr

    week, month = of["sessions_7d"], of["sessions_30d"]
    chance: Floats = bdtr(week, np.nan_to_num(month).astype(np.int64), WEEK_OF_MONTH).round(9)
    known = (month >= FEWEST_SESSIONS_30D) & ~np.isnan(week)
    expected = month * WEEK_OF_MONTH
    return _Verdict(
        "declining_activity",
        known,
        known & (chance < UNLIKELY),
        week,
        expected,
        month,
        lambda i: (
            f"{week[i]:.0f} sessions in 7 days where {expected[i]:.1f} were to be expected:"
            f" so few by chance {_percent(chance[i])}"
        ),
        lambda i: _too_few("Activity", month[i], FEWEST_SESSIONS_30D, "sessions in 30 days"),
    )


def _reschedules(of: Columns, priors: Priors) -> _Verdict:
    return _rate(
        "high_reschedule_rate",
        "Reschedules",
        "rescheduled by the tutor",
        of["tutor_reschedules_30d"],
        of["sessions_30d"],
        HIGH_RESCHEDULE_RATE,
        priors.reschedule_rate.probability_above,
    )


def _no_shows(of: Columns, priors: Priors) -> _Verdict:
    return _rate(
        "no_shows",
        "No-shows",
        "missed by the tutor",
        of["no_show_tutor_30d"],
        of["sessions_30d"],
        NO_SHOW_RATE,
        priors.no_show_rate.probability_above,
    )


def _rate(
    code: str,
    subject: str,
    what: str,
    events: Floats,
    sessions: Floats,
    threshold: float,
    probability_above: Callable[[Floats, Floats, float], Floats],
) -> _Verdict:
    likely = probability_above(events, sessions, threshold)
    known = (sessions >= FEWEST_SESSIONS_30D) & ~np.isnan(events)
    value = events / np.where(sessions > 0, sessions, np.nan)
    return _Verdict(
        code,
        known,
        known & (likely >= LIKELY),
        value.round(9),
        np.full_like(value, threshold),
        sessions,
        lambda i: (
            f"{events[i]:.0f} of {sessions[i]:.0f} sessions {what} ({_share(value[i])}):"
            f" {_percent(likely[i])} likely to be over {_share(threshold)} in the long run"
        ),
        lambda i: (
            _too_few(subject, sessions[i], FEWEST_SESSIONS_30D, "sessions in 30 days")
            if sessions[i] < FEWEST_SESSIONS_30D or np.isnan(sessions[i])
            else f"{subject}: unknown, the platform does not record them"
        ),
    )


def _engagement(of: Columns, priors: Priors) -> _Verdict:
    mean, n, sessions = of["avg_engagement_30d"], of["avg_engagement_30d_n"], of["sessions_30d"]
    usual = priors.engagement
    likely = usual.probability_below(mean, n, LOW_ENGAGEMENT, usual.mean)
    known = (sessions >= FEWEST_SESSIONS_30D) & (n > 0) & ~np.isnan(mean)
    return _Verdict(
        "low_engagement",
        known,
        known & (likely >= LIKELY),
        mean,
        np.full_like(mean, LOW_ENGAGEMENT),
        n,
        lambda i: (
            f"Engagement is {mean[i]:.1f} on average over {n[i]:.0f} sessions:"
            f" {_percent(likely[i])} likely to be under {LOW_ENGAGEMENT} in the long run"
        ),
        lambda i: (
            "Engagement: unknown, no session of 30 days has a score"
            if sessions[i] >= FEWEST_SESSIONS_30D
            else _too_few("Engagement", sessions[i], FEWEST_SESSIONS_30D, "sessions in 30 days")
        ),
    )


def _first_sessions(of: Columns, priors: Priors) -> _Verdict:
    mean, n = of["first_session_avg_rating_90d"], of["first_session_avg_rating_90d_n"]
    usual = priors.first_rating
    likely = usual.probability_below(mean, n, POOR_FIRST_RATING, usual.mean)
    known = (n >= FEWEST_FIRST_SESSIONS) & ~np.isnan(mean)
    return _Verdict(
        "poor_first_sessions",
        known,
        known & (likely >= LIKELY),
        mean,
        np.full_like(mean, POOR_FIRST_RATING),
        n,
        lambda i: (
            f"{n[i]:.0f} first sessions are rated {mean[i]:.1f} on average:"
            f" {_percent(likely[i])} likely to be under {POOR_FIRST_RATING} in the long run"
        ),
        lambda i: _too_few("First sessions", n[i], FEWEST_FIRST_SESSIONS, "rated in 90 days"),
    )


def _rating_trend(of: Columns, priors: Priors) -> _Verdict:
    week, month, n = of["avg_rating_7d"], of["avg_rating_30d"], of["avg_rating_7d_n"]
    # Shrunk towards no change: towards the platform's mean, a steady tutor who is better than
    # usual would seem to fall.
    likely = priors.rating.probability_below(week - month, n, -RATING_FALL, 0.0)
    known = (n >= FEWEST_RATINGS_7D) & ~np.isnan(week) & ~np.isnan(month)
    return _Verdict(
        "rating_trend_down",
        known,
        known & (likely >= LIKELY),
        week,
        month,
        n,
        lambda i: (
            f"Ratings fell from {month[i]:.1f} to {week[i]:.1f} over {n[i]:.0f} ratings:"
            f" {_percent(likely[i])} likely to have fallen by more than {RATING_FALL}"
        ),
        lambda i: _too_few("Rating trend", n[i], FEWEST_RATINGS_7D, "ratings in 7 days"),
    )


_JUDGES = (_first_sessions, _rating_trend, _engagement, _reschedules, _no_shows, _activity)


def _too_few(subject: str, n: float, fewest: int, what: str) -> str:
    return f"{subject}: unknown, {_count(n) or 0} {what}, at least {fewest} are needed"


def _percent(probability: float) -> str:
    """Of a probability, which is never quite 0 or 1."""
    return f"{min(max(round(100 * probability), 1), 99)} %"

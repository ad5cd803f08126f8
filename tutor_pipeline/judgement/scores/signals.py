"""signals_v1: the common rule of six signals, taken literally.

Belongs here: when a signal fires, its reason, and the points of all signals.
Does not belong here: metrics (dbt).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from tutor_pipeline.core.formatting import count
from tutor_pipeline.judgement.scores.score import (
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

SCORER = "signals_v1"
VERSION = "2"
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
    "reschedule_rate_30d_n",
    "tutor_reschedules_30d",
    "first_session_avg_rating_90d",
    "first_session_avg_rating_90d_n",
    "no_show_tutor_30d",
    "no_show_tutor_30d_n",
)
PROFILE_RATE = "profile_reschedule_rate"
"""The reschedule rate of the tutor's profile, which is no metric. Read where a row has it and the
platform records no reschedules.
"""

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
"""The rule's cap. All points together stay below it, so contributions are never cut."""
LEVELS = ((0.5, Level.HIGH), (0.3, Level.MEDIUM), (0.0, Level.LOW))

RATING_FALL = 0.3
LOW_ENGAGEMENT = 5.5
HIGH_RESCHEDULE_RATE = 0.15
POOR_FIRST_RATING = 3.5
NO_SHOWS = 2
"""More no-shows than this in 30 days."""

Inputs = Mapping[str, float | None]


def score(rows: Iterable[Row]) -> list[Score]:
    """Returns a score per row (columns as in `READS`), in order.

    NULL meets no condition. The score (0 to 0.84) only ranks; it is no probability. The status is
    `insufficient_data` for a tutor without a session in 90 days and without any average.
    """
    scores = []
    for row in rows:
        inputs = _inputs(row)
        known = bool(inputs["sessions_90d"]) or any(inputs[name] is not None for name in _AVERAGES)
        scores.append(_score(row, list(_fired(inputs)), known, inputs))
    return scores


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


def _score(row: Row, reasons: list[Reason], known: bool, inputs: Inputs) -> Score:
    points = sum(POINTS[reason.code] for reason in reasons if reason.contribution)
    score = round(min(POINT * points, CAP), 6)
    return Score(
        subject_id=str(row["tutor_id"]),
        scorer=SCORER,
        version=VERSION,
        target=Target.TUTOR_RISK,
        horizon_days=HORIZON_DAYS,
        score=score if known else None,
        is_probability=False,
        level=next(level for least, level in LEVELS if score >= least) if known else None,
        reasons=most_telling_first(reasons),
        status=Status.OK if known else Status.INSUFFICIENT_DATA,
        input_hash=input_hash(SCORER, VERSION, inputs),
    )


def _reason(
    code: str, label: str, value: float, reference: float, n: float | None = None
) -> Reason:
    return Reason(code, label, value, reference, _count(n), round(POINT * POINTS[code], 6))


def _share(of_one: float) -> str:
    return f"{100 * of_one:.0f} %"


def _count(n: float | None) -> int | None:
    return None if n is None or math.isnan(n) else int(n)


def _fired(seen: Inputs) -> Iterator[Reason]:
    week, month = seen["avg_rating_7d"], seen["avg_rating_30d"]
    if week is not None and month is not None and week < round(month - RATING_FALL, 9):
        label = f"Ratings fell from {month:.1f} to {week:.1f}"
        yield _reason("rating_trend_down", label, week, month, seen["avg_rating_7d_n"])

    engagement = seen["avg_engagement_30d"]
    if engagement is not None and engagement < LOW_ENGAGEMENT:
        label = f"Engagement is {engagement:.1f} on average, under {LOW_ENGAGEMENT}"
        n = seen["avg_engagement_30d_n"]
        yield _reason("low_engagement", label, engagement, LOW_ENGAGEMENT, n)

    rate, n = seen["reschedule_rate_30d"], seen["reschedule_rate_30d_n"]
    words = "of the sessions of 30 days were rescheduled by the tutor"
    # Where the platform records reschedules the count is known (0 without sessions), so only a
    # missing count means that the profile's rate is all there is.
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
        label = f"{count(int(no_shows), 'no-show')} in 30 days, more than {NO_SHOWS}"
        yield _reason("no_shows", label, no_shows, NO_SHOWS, seen["no_show_tutor_30d_n"])

    sessions, of_month = seen["sessions_7d"], seen["sessions_30d"]
    if sessions is not None and of_month is not None and sessions < of_month / 4:
        label = (
            f"{count(int(sessions), 'session')} in 7 days, under a quarter of the"
            f" {of_month:,.0f} of 30 days"
        )
        yield _reason("declining_activity", label, sessions, of_month / 4, of_month)

"""A made-up history of the columns that scorers read, with a hidden state behind it.

Of every tutor and week: burnout moves slowly, counts and averages follow from it with the noise of
few sessions, and who is burned out leaves sooner. Independent of the synthetic platform.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np

FIRST = date(2026, 1, 5)


@dataclass(frozen=True)
class Frames:
    """Rows per date, who departed when, the hidden burnout per tutor and date."""

    history: dict[date, list[dict[str, Any]]]
    departures: dict[str, date]
    burnout: dict[tuple[str, date], float]
    known_until: date

    @property
    def state(self) -> dict[tuple[str, date], bool]:
        return {at: burnout >= 0.6 for at, burnout in self.burnout.items()}


def made_up(
    tutors: int, weeks: int, seed: int, *, load: float = 12.0, hazard: float = 5.0
) -> Frames:
    """`load` is sessions a month; by exp(`hazard`) more leave at burnout 1 than at 0."""
    rng = np.random.default_rng(seed)
    days = weeks * 7 + 35
    level = np.clip(rng.beta(2, 4, tutors), 0, 1)
    drift = np.cumsum(rng.normal(0, 0.08, (weeks + 5, tutors)), axis=0)
    burnout = np.clip(level + drift, 0, 1)
    left = rng.random((days, tutors)) < 0.00006 * np.exp(hazard * np.repeat(burnout, 7, axis=0))
    departed = np.where(left.any(axis=0), left.argmax(axis=0), days)
    quality = rng.normal(0, 0.3, tutors)
    history, hidden = {}, {}
    for week in range(weeks):
        day = FIRST + timedelta(days=7 * week)
        now = burnout[week]
        columns = _observe(rng, now, quality, load)
        ids = [f"T{number:05d}" for number in range(tutors)]
        names = list(columns)
        values = zip(*(column.tolist() for column in columns.values()), strict=True)
        history[day] = [
            {
                "tutor_id": tutor,
                "as_of_date": day,
                **{n: None if np.isnan(v) else v for n, v in zip(names, row, strict=True)},
            }
            for tutor, row in zip(ids, values, strict=True)
        ]
        hidden |= {(tutor, day): float(each) for tutor, each in zip(ids, now, strict=True)}
    departures = {
        f"T{number:05d}": FIRST + timedelta(days=int(day))
        for number, day in enumerate(departed)
        if day < days
    }
    return Frames(history, departures, hidden, FIRST + timedelta(days=days - 1))


def _observe(
    rng: np.random.Generator, burnout: np.ndarray, quality: np.ndarray, load: float
) -> dict[str, np.ndarray]:
    n30 = rng.poisson(load * (1.2 - 0.4 * burnout))
    n7 = rng.binomial(n30, 7 / 30)
    n90 = n30 + rng.poisson(2 * load, len(n30))
    moved = rng.binomial(n30, 0.03 + 0.15 * burnout**2)
    missed = rng.binomial(n30, 0.005 + 0.05 * burnout**2)
    late = rng.binomial(n30, 0.03 + 0.15 * burnout**2)
    rated, rated7 = rng.binomial(n30, 0.6), rng.binomial(n7, 0.6)

    def mean(at: np.ndarray, spread: float, n: np.ndarray) -> np.ndarray:
        found = at + rng.normal(0, 1, len(n)) * spread / np.sqrt(np.maximum(n, 1))
        return np.where(n > 0, found, np.nan)

    def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)

    first = rng.binomial(n90, 0.15)
    stars = 4.4 + quality - 0.8 * burnout
    return {
        "sessions_7d": n7,
        "sessions_30d": n30,
        "sessions_90d": n90,
        "tutor_reschedules_30d": moved,
        "reschedule_rate_30d": share(moved, n30),
        "reschedule_rate_90d": share(moved + rng.binomial(n90 - n30, 0.05), n90),
        "no_show_tutor_30d": missed,
        "no_show_rate_30d": share(missed, n30),
        "late_count_30d": late,
        "late_count_30d_n": n30,
        "late_rate_30d": share(late, n30),
        "avg_rating_7d": np.where(rated7 >= 2, mean(stars, 0.6, rated7), np.nan),
        "avg_rating_7d_n": rated7,
        "avg_rating_30d": mean(stars, 0.6, rated),
        "avg_rating_30d_n": rated,
        "rating_volatility_30d": np.where(rated > 1, 0.6, np.nan),
        "avg_rating_90d": mean(stars, 0.6, 2 * rated),
        "avg_rating_90d_n": 2 * rated,
        "avg_session_score_30d": mean(8 + quality - 1.5 * burnout, 1.2, n30),
        "avg_session_score_30d_n": n30,
        "avg_engagement_7d": mean(7 - burnout, 1.6, n7),
        "avg_engagement_7d_n": n7,
        "avg_engagement_30d": mean(7 - burnout, 1.6, n30),
        "avg_engagement_30d_n": n30,
        "avg_sentiment_30d": mean(0.6 - 0.2 * burnout, 0.15, n30),
        "avg_sentiment_30d_n": n30,
        "first_session_avg_rating_90d": mean(stars - 0.3, 0.6, first),
        "first_session_avg_rating_90d_n": first,
        "days_since_last_session": np.where(
            n30 > 0, rng.geometric(np.clip(n30 / 30, 0.03, 1)), np.nan
        ),
        "avg_response_time_hours": rng.gamma(2, 1.2, len(n30)) * (0.6 + burnout),
        "utilization_rate": np.where(n30 > 0, n30 / (1.6 * load * (1 - 0.4 * burnout)), np.nan),
        "instant_book_enabled": (rng.random(len(n30)) < 0.8 - 0.3 * burnout).astype(float),
    }

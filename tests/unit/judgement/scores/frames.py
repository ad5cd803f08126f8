"""A synthetic history of the columns that scorers read, with a hidden state behind it.

Of every tutor and week: burnout moves slowly, counts and averages follow from it with the noise of
few sessions, and who is burned out leaves sooner. Who has left teaches no more: there is no hidden
state then, and the last session lies further and further back. Independent of the synthetic
platform.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np

from tutor_pipeline.judgement.scores.departure.measures import columns_of
from tutor_pipeline.judgement.scores.departure.outcomes import Standard, Week, standard
from tutor_pipeline.judgement.scores.departure.tutors import TUTORS

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
        silent = np.maximum(7 * week - departed + 1, 0)
        columns = _observe(rng, now, quality, load, silent)
        columns |= _evidence(
            np.random.default_rng([seed, week]),
            now,
            quality,
            load,
            columns["days_since_last_session"],
            silent,
        )
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
        hidden |= {
            (tutor, day): float(each)
            for tutor, each, days_gone in zip(ids, now, silent, strict=True)
            if not days_gone
        }
    departures = {
        f"T{number:05d}": FIRST + timedelta(days=int(day))
        for number, day in enumerate(departed)
        if day < days
    }
    return Frames(history, departures, hidden, FIRST + timedelta(days=days - 1))


def weeks_of(history: Mapping[date, Sequence[Mapping[str, Any]]]) -> dict[date, Standard]:
    """The evidence of each day, by that day's yardstick."""
    return {
        day: standard(
            TUTORS, Week(day, [row["tutor_id"] for row in rows], columns_of(rows, TUTORS.reads))
        )
        for day, rows in history.items()
    }


def _there(silent: np.ndarray, until: int, since: int = 0) -> np.ndarray:
    """Of the days from `since` to `until` days ago, the share in which a tutor still taught."""
    return np.clip((until - silent) / (until - since), 0, 1)


def _mean(rng: np.random.Generator, at: np.ndarray, spread: float, n: np.ndarray) -> np.ndarray:
    found = at + rng.normal(0, 1, len(n)) * spread / np.sqrt(np.maximum(n, 1))
    return np.where(n > 0, found, np.nan)


def _observe(
    rng: np.random.Generator,
    burnout: np.ndarray,
    quality: np.ndarray,
    load: float,
    silent: np.ndarray,
) -> dict[str, np.ndarray]:
    """What metrics and features say; `silent`: the days since whoever left did."""
    n7 = rng.poisson(7 / 30 * load * (1.2 - 0.4 * burnout) * _there(silent, 7))
    n30 = n7 + rng.poisson(23 / 30 * load * (1.2 - 0.4 * burnout) * _there(silent, 30, 7))
    n90 = n30 + rng.poisson(2 * load * _there(silent, 90, 30))
    moved = rng.binomial(n30, 0.03 + 0.15 * burnout**2)
    missed = rng.binomial(n30, 0.005 + 0.05 * burnout**2)
    late = rng.binomial(n30, 0.03 + 0.15 * burnout**2)
    rated, rated7 = rng.binomial(n30, 0.6), rng.binomial(n7, 0.6)

    def mean(at: np.ndarray, spread: float, n: np.ndarray) -> np.ndarray:
        return _mean(rng, at, spread, n)

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
            silent > 0,
            silent,
            np.where(n30 > 0, rng.geometric(np.clip(n30 / 30, 0.03, 1)), np.nan),
        ),
        "avg_response_time_hours": rng.gamma(2, 1.2, len(n30)) * (0.6 + burnout),
        "utilization_rate": np.where(n30 > 0, n30 / (1.6 * load * (1 - 0.4 * burnout)), np.nan),
        "instant_book_enabled": (rng.random(len(n30)) < 0.8 - 0.3 * burnout).astype(float),
    }


def _evidence(
    rng: np.random.Generator,
    burnout: np.ndarray,
    quality: np.ndarray,
    load: float,
    days_since: np.ndarray,
    silent: np.ndarray,
) -> dict[str, np.ndarray]:
    """What marts.tutor_evidence says: of now by burnout, of the weeks before without it."""
    size, slower = len(burnout), 1.2 - 0.8 * burnout
    a_day, full = load / 30, np.ones(size)
    last_7 = rng.poisson(7 * a_day * slower * _there(silent, 7))
    last_14 = last_7 + rng.poisson(7 * a_day * slower * _there(silent, 14, 7))
    last_28 = last_14 + rng.poisson(14 * a_day * slower * _there(silent, 28, 14))
    before_14 = rng.poisson(56 * a_day * _there(silent, 70, 14))
    before_28 = rng.poisson(56 * a_day * _there(silent, 84, 28))
    columns = {
        "days_seen": 400.0 * full,
        "days_since_completed": days_since,
        "completed_7d": last_7,
        "completed_14d": last_14,
        "completed_28d": last_28,
        "completed_before_14d": before_14,
        "completed_before_28d": before_28,
        **dict.fromkeys(("sessions_28d", "reschedules_due_28d", "no_shows_due_28d"), last_28),
        **dict.fromkeys(
            ("sessions_before", "reschedules_due_before", "no_shows_due_before"), before_28
        ),
        "starts_known_28d": last_28,
        "starts_known_before": before_28,
        "earned_28d": 20.0 * last_28,
        "earned_before": 20.0 * before_28,
        "login_days_14d": rng.binomial(14, (0.6 - 0.4 * burnout) * _there(silent, 14)),
        "login_days_before": rng.binomial(56, 0.5 * _there(silent, 70, 14)),
        "hours_this_week": 14 * (1 - 0.6 * burnout) * rng.lognormal(0, 0.2, size),
        "hours_next_week": np.nan * full,
        "usual_hours": 12 * rng.lognormal(0, 0.1, size),
        "usual_hours_weeks": 8.0 * full,
        "reply_hours_14d": 2 * (0.6 + burnout) * rng.lognormal(0, 0.3, size),
        "reply_hours_before": 2 * rng.lognormal(0, 0.2, size),
        "reply_hours_weeks": 8.0 * full,
        "instant_14d": rng.binomial(2, 0.8 - 0.4 * burnout) / 2,
        "instant_before": rng.binomial(8, 0.7, size) / 8,
        "instant_weeks": 8.0 * full,
        "booked_ahead": rng.poisson(7 * a_day * slower * (silent == 0)),
        "booked_unclear": 0.0 * full,
    }
    for event, often in (("reschedules", 0.15), ("no_shows", 0.05), ("lates", 0.15)):
        columns[f"{event}_28d"] = rng.binomial(last_28, 0.03 + often * burnout**2)
        columns[f"{event}_before"] = rng.binomial(before_28, 0.03 + 0.1 * often)
    columns["cancelled_28d"] = rng.binomial(last_28, 0.05)
    columns["cancelled_before"] = rng.binomial(before_28, 0.05)
    for mark, at, fall, spread in (
        ("score", 8 + quality, 1.5, 1.2),
        ("rating", 4.4 + quality, 0.8, 0.6),
        ("engagement", 7 + 0 * quality, 1.0, 1.6),
        ("sentiment", 0.6 + 0 * quality, 0.2, 0.15),
    ):
        columns[f"{mark}_28d"] = _mean(rng, at - fall * burnout, spread, last_28)
        columns[f"{mark}_28d_n"] = last_28
        columns[f"{mark}_before"] = _mean(rng, at - 0.3 * fall, spread, before_28)
        columns[f"{mark}_before_n"] = before_28
    return {name: np.asarray(values, dtype=float) for name, values in columns.items()}

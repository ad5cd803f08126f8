"""Synthetic tutors as columns of marts.tutor_evidence: what they do, and by how much they fall.

Independent of the synthetic platform: twelve weeks of counts and averages, drawn anew by a seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isnan
from typing import Any

import numpy as np

from tutor_pipeline.judgement.scores.departure import reference
from tutor_pipeline.judgement.scores.departure.learning import Outcomes
from tutor_pipeline.judgement.scores.departure.reference import standardise
from tutor_pipeline.judgement.scores.departure.tutors import TUTORS
from tutor_pipeline.judgement.scores.departure.tutors.evidence import EVENTS, MARKS

READS, CODES = TUTORS.reads, TUTORS.codes
SIGNS, GROUPS = TUTORS.signs.by_code, TUTORS.signs.groups

AVAILABILITY = (
    *("hours_this_week", "hours_next_week", "usual_hours"),
    *("instant_14d", "instant_before"),
)
REPLY = ("reply_hours_14d", "reply_hours_before")
TEACHING = (
    *("completed_7d", "completed_14d", "completed_28d"),
    *("completed_before_14d", "completed_before_28d"),
    *("earned_28d", "earned_before", "booked_ahead"),
)
RECENT = (
    *("completed_7d", "completed_14d", "completed_28d", "sessions_28d", "earned_28d"),
    *("login_days_14d", "hours_this_week", "hours_next_week", "booked_ahead"),
)
"""What is counted or offered in the recent days: all of it falls when everybody does less."""
NULLABLE = (
    *("days_since_completed", "hours_this_week", "hours_next_week", "usual_hours"),
    *(f"{mark}_{days}" for mark in MARKS for days in ("28d", "before")),
    *("reply_hours_14d", "reply_hours_before", "instant_14d", "instant_before"),
)
"""What may be NULL: the others are counts and sums."""
_EVENT_RATES = {"reschedules": 0.06, "no_shows": 0.02, "cancellations": 0.08, "lateness": 0.1}
_MARKS = {"score": (7.5, 1.0), "rating": (4.5, 0.6), "engagement": (7.0, 1.2)}
_SENTIMENT = (0.5, 0.2)


def people(
    tutors: int,
    seed: int = 0,
    *,
    fall: Any = 0.0,
    weekly: float = 4.0,
    differ: float = 0.3,
) -> dict[str, np.ndarray]:
    """Columns of so many tutors, who teach `weekly` sessions a week. `fall`: by how much of it
    each does less in the last two weeks, and does worse. `differ`: how unlike tutors are; 0 = alike
    but for chance.
    """
    rng = np.random.default_rng(seed)
    fall = np.broadcast_to(np.asarray(fall, dtype=float), (tutors,))

    def own(size: float = 1.0) -> np.ndarray:
        return rng.normal(0, differ * size, tutors)

    rate = weekly * np.exp(own())
    weeks = np.repeat(rate[:, None], 12, axis=1)
    weeks[:, :2] *= (1 - fall)[:, None]
    weeks[:, 2:4] *= (1 - fall / 2)[:, None]
    taught = rng.poisson(weeks).astype(float)
    columns = {
        "days_seen": np.full(tutors, 300.0),
        "days_since_completed": np.minimum(
            rng.geometric(np.clip(rate * (1.1 - fall) / 7, 0.03, 1)), 40.0
        ),
        **{f"completed_{7 * n}d": taught[:, :n].sum(axis=1) for n in (1, 2, 4)},
        "completed_before_14d": taught[:, 2:10].sum(axis=1),
        "completed_before_28d": taught[:, 4:12].sum(axis=1),
    }
    for days, at in (("28d", fall), ("before", 0.0)):
        done = columns["completed_28d" if days == "28d" else "completed_before_28d"]
        columns[f"sessions_{days}"] = done + rng.poisson(0.1 * done)
        for event in ("reschedules", "no_shows"):
            columns[f"{event}_due_{days}"] = columns[f"sessions_{days}"]
        columns[f"starts_known_{days}"] = done
        for event, (counted, among) in EVENTS.items():
            chance = np.clip(_EVENT_RATES[event] * np.exp(own()) + 0.2 * at, 0, 1)
            sessions = columns[f"{among}_{days}"].astype(int)
            columns[f"{counted}_{days}"] = rng.binomial(sessions, chance).astype(float)
        for mark in MARKS:
            level, spread = _MARKS.get(mark, _SENTIMENT)
            mean = (
                level
                - spread * at
                + rng.normal(0, 1, tutors) * spread / np.sqrt(np.maximum(done, 1))
            )
            columns[f"{mark}_{days}"] = np.where(done > 0, mean, np.nan)
            columns[f"{mark}_{days}_n"] = done.copy()
        columns[f"earned_{days}"] = 40.0 * done
    for mark in MARKS:
        constant = own(_MARKS.get(mark, _SENTIMENT)[1])
        for days in ("28d", "before"):
            columns[f"{mark}_{days}"] += constant
    logs = np.clip(0.5 * np.exp(own()), 0.05, 0.95)
    columns["login_days_14d"] = rng.binomial(14, np.clip(logs * (1 - fall), 0, 1)).astype(float)
    columns["login_days_before"] = rng.binomial(56, logs).astype(float)
    usual = 14 * np.exp(own())
    for name in ("hours_this_week", "hours_next_week"):
        columns[name] = usual * (1 - fall) * np.exp(rng.normal(0, 0.15, tutors))
    columns["usual_hours"] = usual * np.exp(rng.normal(0, 0.05, tutors))
    reply = 4 * np.exp(own())
    columns["reply_hours_14d"] = reply * (1 + fall) * np.exp(rng.normal(0, 0.2, tutors))
    columns["reply_hours_before"] = reply * np.exp(rng.normal(0, 0.1, tutors))
    open_to = np.clip(0.7 + own(), 0.1, 0.9)
    columns["instant_14d"] = rng.binomial(2, np.clip(open_to - 0.4 * fall, 0, 1)) / 2
    columns["instant_before"] = rng.binomial(8, open_to) / 8
    for name in ("usual_hours_weeks", "reply_hours_weeks", "instant_weeks"):
        columns[name] = np.full(tutors, 8.0)
    columns["booked_ahead"] = rng.poisson(1.2 * rate * (1 - fall)).astype(float)
    columns["booked_unclear"] = np.zeros(tutors)
    assert columns.keys() == set(READS)
    return columns


def unknown(columns: dict[str, np.ndarray], names: Iterable[str] = READS) -> dict[str, np.ndarray]:
    """The same tutors, of whom these columns are not known."""
    return {**columns, **{name: np.full_like(columns[name], np.nan) for name in names}}


def only(columns: dict[str, np.ndarray], places: Any) -> dict[str, np.ndarray]:
    """Some of the tutors, in this order."""
    return {name: column[places] for name, column in columns.items()}


def names_of(columns: dict[str, np.ndarray]) -> list[str]:
    return [f"T{number:05d}" for number in range(len(columns["days_seen"]))]


def rows_of(
    columns: dict[str, np.ndarray], tutors: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """The columns as rows, as PostgreSQL would give them."""
    names = list(columns)
    values = zip(*(columns[name].tolist() for name in names), strict=True)
    return [
        {"tutor_id": tutor, **{n: None if isnan(v) else v for n, v in zip(names, row, strict=True)}}
        for tutor, row in zip(tutors or names_of(columns), values, strict=True)
    ]


def standardised(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Their signs by their own yardstick."""
    return standardise(columns, reference.fit(TUTORS, columns)).z


def outcomes(z: np.ndarray, left: np.ndarray, tutors: Any = None) -> Outcomes:
    """What may be learned from, a tutor a row unless said otherwise."""
    whose = np.arange(len(z)) if tutors is None else tutors
    return Outcomes(z, np.asarray(left, bool), whose, "2026-01-05", "2026-03-02", "2026-04-02")


def signs(rows: int, seed: int = 0, known: Iterable[str] = CODES) -> np.ndarray:
    """Standardised signs out of a hat, independent of each other; 0 where not known."""
    z = np.clip(np.random.default_rng(seed).normal(0, 0.8, (rows, len(CODES))), -2, 3).round(9)
    return z * np.isin(CODES, list(known))


def drawn(z: np.ndarray, code: str, strength: float, base: float, seed: int) -> np.ndarray:
    """Who leaves, by one sign."""
    odds = base + strength * z[:, CODES.index(code)]
    return np.random.default_rng(seed).random(len(z)) < 1 / (1 + np.exp(-odds))


def ranks(values: Any) -> np.ndarray:
    """Place of each value among all; equals share theirs."""
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def rank_correlation(first: Any, second: Any) -> float:
    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])

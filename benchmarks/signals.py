"""How often signals_v1 fires at steady tutors, how often at troubled ones, and how fast it is.

    .venv/bin/python benchmarks/signals.py
    .venv/bin/python benchmarks/signals.py --tutors 50000 --rating-sd 1.0

Makes metric rows directly, by sessions a month (Poisson). Ratings are known of 60 % of the
sessions, engagement of 70 %; 15 % are first sessions.

steady    each tutor is as is usual, and stays so: whatever fires, fires falsely
troubled  each signal has its cause: 25 % rescheduled, 10 % no-shows, engagement 5.0, first
          sessions rated 3.0; ratings 0.8 lower and half the sessions in the last 7 days

Prints Markdown: shares of all tutors in percent.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tutor_pipeline.judgement.scores import reliability, signals
from tutor_pipeline.judgement.scores.score import Score

SESSIONS = (8, 12, 30, 60, 150, 600)
RATED, SCORED, FIRST = 0.6, 0.7, 0.15
ENGAGEMENT_SD = 1.4
TIMED = 10_000
ROUNDS = 5


@dataclass(frozen=True)
class Levels:
    """What tutors are like: one number for all, or an element each."""

    reschedule_rate: Any = 0.10
    no_show_rate: Any = 0.02
    rating: Any = 4.1
    engagement: Any = 6.3
    first_rating: Any = 3.8
    rating_fall: float = 0.0
    activity: float = 1.0


STEADY = Levels()
TROUBLED = Levels(0.25, 0.10, 4.1, 5.0, 3.0, rating_fall=0.8, activity=0.5)


def simulate(
    rng: np.random.Generator, tutors: int, sessions: int, levels: Levels, rating_sd: float
) -> list[dict[str, object]]:
    """Rows with the columns that signals and reliability read."""

    def mean(level: Any, n: Any, sd: float) -> Any:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(n > 0, level + sd * rng.standard_normal(tutors) / np.sqrt(n), np.nan)

    def joined(one: Any, n: Any, other: Any, of: Any) -> Any:
        with np.errstate(invalid="ignore"):
            return (np.nan_to_num(one) * n + np.nan_to_num(other) * of) / (n + of)

    week = rng.poisson(sessions * 7 / 30 * levels.activity, tutors)
    earlier = rng.poisson(sessions * 23 / 30, tutors)
    month = week + earlier
    rated, rated_earlier = rng.binomial(week, RATED), rng.binomial(earlier, RATED)
    rating = mean(levels.rating - levels.rating_fall, rated, rating_sd)
    scored, scored_earlier = rng.binomial(week, SCORED), rng.binomial(earlier, SCORED)
    engagement = mean(levels.engagement, scored, ENGAGEMENT_SD)
    first_rated = rng.poisson(3 * sessions * FIRST * RATED, tutors)
    reschedules = rng.binomial(month, levels.reschedule_rate)
    columns: dict[str, Any] = {
        "sessions_7d": week,
        "sessions_30d": month,
        "sessions_90d": month + rng.poisson(2 * sessions, tutors),
        "avg_rating_7d": np.where(rated >= 3, rating, np.nan),  # as the metric is
        "avg_rating_7d_n": rated,
        "avg_rating_30d": joined(
            rating, rated, mean(levels.rating, rated_earlier, rating_sd), rated_earlier
        ),
        "avg_engagement_30d": joined(
            engagement,
            scored,
            mean(levels.engagement, scored_earlier, ENGAGEMENT_SD),
            scored_earlier,
        ),
        "avg_engagement_30d_n": scored + scored_earlier,
        "reschedule_rate_30d": np.where(month > 0, reschedules / np.maximum(month, 1), np.nan),
        "tutor_reschedules_30d": reschedules,
        "first_session_avg_rating_90d": mean(levels.first_rating, first_rated, rating_sd),
        "first_session_avg_rating_90d_n": first_rated,
        "no_show_tutor_30d": rng.binomial(month, levels.no_show_rate),
        "late_count_30d": rng.binomial(month, 0.05),
        "late_count_30d_n": month,
    }
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [
        {"tutor_id": f"T{i}"}
        | {
            name: None if math.isnan(value) else value
            for name, value in zip(columns, row, strict=True)
        }
        for i, row in enumerate(rows)
    ]


def shares(scores: Sequence[Score]) -> Mapping[str, float]:
    """Code -> percent of the tutors it fires for; levels by their name."""
    found: Counter[str] = Counter()
    for score in scores:
        found.update(each.code for each in score.reasons)
        found[score.level or "no score"] += 1
    found["Medium or High"] = found["Medium"] + found["High"]
    return {name: 100 * count / len(scores) for name, count in found.items()}


def print_table(title: str, levels: Levels, options: argparse.Namespace) -> None:
    rng = np.random.default_rng(options.seed)
    by_sessions = [
        shares(signals.score(simulate(rng, options.tutors, sessions, levels, options.rating_sd)))
        for sessions in options.sessions
    ]
    print(f"\n| {title}, sessions a month | " + " | ".join(map(str, options.sessions)) + " |")
    print("| --- |" + " --- |" * len(options.sessions))
    for name in (*signals.POINTS, "Medium or High", "High", "no score"):
        cells = [f"{found.get(name, 0):.0f}" for found in by_sessions]
        print(f"| {name} | " + " | ".join(cells) + " |")


def print_times(options: argparse.Namespace) -> None:
    rng = np.random.default_rng(options.seed)
    rows = simulate(rng, TIMED, 30, STEADY, options.rating_sd)
    ways: dict[str, Callable[[], object]] = {
        "signals_v1": lambda: signals.score(rows),
        "reliability_v1": lambda: reliability.score(rows),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = time.process_time()
            way()
            seconds[name].append(time.process_time() - began)
    print(f"\n{TIMED:,} tutors, CPU time, medians of {ROUNDS} interleaved rounds:")
    for name, each in seconds.items():
        print(f"  {name:15} {1000 * statistics.median(each):5.0f} ms   max {1000 * max(each):5.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tutors", type=int, default=20_000, help="per cell (default 20,000)")
    parser.add_argument("--sessions", type=int, nargs="+", default=SESSIONS, help="a month")
    parser.add_argument("--rating-sd", type=float, default=0.7, help="of one rating (default 0.7)")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    print_table("steady", STEADY, options)
    print_table("troubled", TROUBLED, options)
    print_times(options)


if __name__ == "__main__":
    main()

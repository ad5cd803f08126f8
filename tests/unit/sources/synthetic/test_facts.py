"""The facts that a population reproduces, within tolerance."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache

import numpy as np
import pytest

from tutor_pipeline.sources.synthetic import Parameters, Population, generate
from tutor_pipeline.sources.synthetic.population import Array

END = date(2026, 11, 19)

# Fact: target, tolerance in one population. Shares are 0-1.
FACTS: Mapping[str, tuple[float, float]] = {
    "reschedules asked for by tutors": (0.982, 0.012),
    "replacements after a no-show": (0.16, 0.06),
    "students who left after a poor first session": (0.24, 0.03),
    "tutors who reschedule over 20 %": (0.15, 0.05),
    "active tutors": (0.92, 0.005),
    "first sessions": (0.15, 0.02),
    "both sides present": (0.97, 0.008),
    "30 minutes": (0.15, 0.012),
    "60 minutes": (0.75, 0.015),
    "90 minutes": (0.10, 0.012),
    "mornings": (0.35, 0.025),
    "weekend load": (0.70, 0.02),
    "technical issues": (0.08, 0.01),
    "first sessions rated under 3.5": (0.24, 0.045),
    "would recommend": (0.78, 0.03),
    "feedback": (0.60, 0.02),
    "video": (0.70, 0.02),
    "screen": (0.60, 0.02),
    "rating mean": (4.1, 0.08),
    "rating spread": (0.6, 0.06),
    "rating of first sessions": (-0.3, 0.07),
    "rating of Poor connections": (-0.6, 0.15),
    "satisfaction mean": (8.2, 0.15),
    "satisfaction spread": (1.2, 0.1),
    "engagement mean": (6.3, 0.15),
    "engagement spread": (1.6, 0.12),
    "empathy mean": (6.5, 0.25),
    "empathy spread": (1.5, 0.1),
    "clarity mean": (6.8, 0.15),
    "clarity spread": (1.3, 0.1),
    "tutor sentiment mean": (0.55, 0.02),
    "tutor sentiment spread": (0.15, 0.015),
    "attention mean": (0.72, 0.02),
    "attention spread": (0.15, 0.015),
    "talk ratio mean": (0.50, 0.03),
    "talk ratio spread": (0.12, 0.015),
    "experience and reliability": (0.35, 0.12),
    "reliability and rating": (0.58, 0.12),
    "empathy and satisfaction": (0.72, 0.04),
    "talk balance and engagement": (0.45, 0.08),
    "no-shows and risk": (0.68, 0.10),
    "empathy and experience": (0.60, 0.20),
}  # fmt: skip


def correlation(one: Array, other: Array) -> float:
    return float(np.corrcoef(one, other)[0, 1])


@cache
def facts(parameters: Parameters) -> Mapping[str, float]:
    return measure(generate(parameters))


def measure(population: Population) -> dict[str, float]:
    platform, truth = population.platform, population.truth
    sessions, tutors = platform["sessions"], platform["tutors"]
    status, first = sessions["status"], sessions["is_first_session"] == 1
    past, completed = status != b"scheduled", status == b"completed"
    due = completed | np.isin(status, (b"no_show_tutor", b"no_show_student"))
    moved_by = sessions["rescheduled_by"]
    start = sessions["scheduled_start"]
    days = start.astype("M8[D]")
    hour = (start - days) / np.timedelta64(1, "h")
    weekend = (days.astype(np.int64) + 3) % 7 >= 5
    dates = np.unique(days[past])
    weekend_dates = (dates.astype(np.int64) + 3) % 7 >= 5
    _, teaches = np.unique(sessions["tutor_id"], return_inverse=True)
    held = np.bincount(teaches[past])
    moved = np.bincount(teaches[past], moved_by[past] == b"tutor")

    place = {identity: row for row, identity in enumerate(sessions["id"].tolist())}

    def rows_of(table: str) -> Array:
        return np.array([place[key] for key in platform[table]["session_id"].tolist()])

    feedback, rated = platform["session_feedback"], rows_of("session_feedback")
    rating = feedback["student_satisfaction_rating"]
    rated_first, line = first[rated], sessions["connection_quality"][rated]
    audio, words = platform["session_audio_metrics"], platform["session_transcript_metrics"]
    talk, engagement = audio["tutor_talk_ratio"], audio["student_engagement_score"]
    empathy = np.full(len(status), np.nan)
    transcribed = rows_of("session_transcript_metrics")
    empathy[transcribed] = words["empathy_score"]
    both = ~np.isnan(empathy[rated])
    tutor_of = np.searchsorted(tutors["user_id"], sessions["tutor_id"][transcribed])
    heard = np.bincount(tutor_of, minlength=len(tutors["user_id"]))
    mean_empathy = np.bincount(tutor_of, words["empathy_score"], minlength=len(heard))
    known = heard > 0
    mean_empathy = mean_empathy[known] / heard[known]

    found = {
        "reschedules asked for by tutors": (moved_by[status == b"rescheduled"] == b"tutor").mean(),
        "replacements after a no-show": truth["tutor_replacements"]["is_after_no_show"].mean(),
        "students who left after a poor first session": (
            platform["student_churn_reasons"]["reason"] == b"poor_first_session"
        ).mean(),
        "tutors who reschedule over 20 %": (moved / np.maximum(held, 1) > 0.2).sum()
        / len(tutors["user_id"]),
        "active tutors": (tutors["active_status"] == 1).mean(),
        "first sessions": first[past].mean(),
        "both sides present": completed.sum() / due.sum(),
        "mornings": (hour[past] < 12).mean(),
        "weekend load": (weekend[past].sum() / weekend_dates.sum())
        / ((~weekend)[past].sum() / (~weekend_dates).sum()),
        "technical issues": (sessions["technical_issues"][completed] == 1).mean(),
        "first sessions rated under 3.5": (rating[rated_first] < 3.5).mean(),
        "would recommend": (feedback["would_recommend"] == 1).mean(),
        "feedback": len(rated) / completed.sum(),
        "video": len(platform["session_video_metrics"]["session_id"]) / completed.sum(),
        "screen": len(platform["session_screen_metrics"]["session_id"]) / completed.sum(),
        "rating of first sessions": rating[rated_first].mean() - rating[~rated_first].mean(),
        "rating of Poor connections": rating[line == b"Poor"].mean()
        - rating[line == b"Excellent"].mean(),
        "experience and reliability": correlation(
            tutors["months_experience"], tutors["reliability_score"]
        ),
        "reliability and rating": correlation(
            tutors["reliability_score"], tutors["avg_historical_rating"]
        ),
        "empathy and satisfaction": correlation(
            empathy[rated][both], feedback["satisfaction_score"][both]
        ),
        "talk balance and engagement": correlation(
            np.maximum(0, 1 - np.abs(talk - 0.45) / 0.35), engagement
        ),
        "no-shows and risk": correlation(
            truth["tutors"]["no_show_propensity"], truth["tutors"]["risk"]
        ),
        "empathy and experience": correlation(mean_empathy, tutors["months_experience"][known]),
    }
    for minutes in (30, 60, 90):
        found[f"{minutes} minutes"] = (sessions["scheduled_duration"] == minutes).mean()
    attention = platform["session_video_metrics"]["student_on_screen_attention_pct"]
    for name, values in {
        "rating": rating,
        "satisfaction": feedback["satisfaction_score"],
        "engagement": engagement,
        "empathy": words["empathy_score"],
        "clarity": words["clarity_score"],
        "tutor sentiment": words["tutor_sentiment"],
        "attention": attention,
        "talk ratio": talk,
    }.items():
        found[f"{name} mean"], found[f"{name} spread"] = values.mean(), values.std()
    return {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize("fact", FACTS)
def test_fact_holds_at_production_load(fact: str) -> None:
    target, tolerance = FACTS[fact]
    assert facts(Parameters.preset("production", END))[fact] == pytest.approx(target, abs=tolerance)


# At twelve sessions a month, shares of few things are shares of chance.
AT_LOW_VOLUME = FACTS.keys() - {
    "replacements after a no-show",
    "rating of Poor connections",
}


@pytest.mark.parametrize("fact", sorted(AT_LOW_VOLUME))
def test_fact_holds_by_default(fact: str) -> None:
    target, tolerance = FACTS[fact]
    assert facts(Parameters(end=END))[fact] == pytest.approx(target, abs=1.3 * tolerance)


@pytest.mark.long
@pytest.mark.parametrize("fact", FACTS)
def test_fact_holds_on_average_over_many_seeds(fact: str) -> None:
    target, tolerance = FACTS[fact]
    found = [facts(Parameters.preset("production", END, seed=seed))[fact] for seed in range(12)]
    assert np.mean(found) == pytest.approx(target, abs=0.7 * tolerance), found


QUALITIES = (b"Excellent", b"Good", b"Fair", b"Poor")


@pytest.mark.parametrize(
    ("when", "shares"),
    [
        ("evening", (0.50, 0.30, 0.15, 0.05)),
        ("weekend", (0.65, 0.28, 0.06, 0.01)),
        ("other", (0.60, 0.30, 0.08, 0.02)),
    ],
)
def test_connections_depend_on_the_time(when: str, shares: tuple[float, ...]) -> None:
    sessions = generate(Parameters.preset("production", END)).platform["sessions"]
    start = sessions["scheduled_start"]
    days = start.astype("M8[D]")
    hour = (start - days) / np.timedelta64(1, "h")
    weekend = (days.astype(np.int64) + 3) % 7 >= 5
    evening = ~weekend & (hour >= 18) & (hour < 21)
    rows = {"evening": evening, "weekend": weekend, "other": ~weekend & ~evening}[when]
    line = sessions["connection_quality"][rows & (sessions["status"] == b"completed")]
    found = [(line == quality).mean() for quality in QUALITIES]
    assert found == pytest.approx(shares, abs=0.02)

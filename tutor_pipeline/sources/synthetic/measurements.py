"""Measures every session: talking, engagement, empathy, clarity, satisfaction, the score.

Belongs here: measurements before it is drawn which of them the platform records.
Does not belong here: tables (observations.py), which sessions there are (sessions.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tutor_pipeline.sources.synthetic.personas import Traits
from tutor_pipeline.sources.synthetic.population import Array
from tutor_pipeline.sources.synthetic.sessions import Timetable

# Mean and standard deviation of measurements.
ENGAGEMENT, EMPATHY, CLARITY = (6.3, 1.6), (6.5, 1.5), (6.8, 1.3)
SATISFACTION, TUTOR_SENTIMENT, ATTENTION = (8.2, 1.2), (0.55, 0.15), (0.72, 0.15)

# Talking: the tutor's best share, and the distribution of balance over sessions.
BEST_TALK_RATIO, TALK_TOLERANCE = 0.45, 0.35
BALANCE_MEAN, BALANCE_SPREAD = 0.71, 0.20

SCORE_BONUS = 1.8  # the part of the score that no other metric shows


@dataclass(frozen=True, slots=True)
class Latents:
    """Measurements of every session; which of them are recorded is drawn later."""

    talk_ratio: Array
    engagement: Array
    empathy: Array
    clarity: Array
    satisfaction: Array
    score: Array  # the platform's session score, 0-10


def score_around(mean_and_spread: tuple[float, float], z: Array, low: float, high: float) -> Array:
    """Returns the values `z` standard deviations from the mean, cut at the bounds."""
    mean, spread = mean_and_spread
    return np.clip(mean + spread * z, low, high)


def measure(rng: np.random.Generator, traits: Traits, timetable: Timetable) -> Latents:
    """Draws measurements from quality, experience and habits, each with its own noise."""
    size, tutor, goodness = len(timetable.tutor), timetable.tutor, timetable.goodness

    talk = np.clip(traits.talk_ratio[tutor] + rng.normal(0, 0.085, size), 0.05, 0.95)
    balance = np.maximum(0, 1 - np.abs(talk - BEST_TALK_RATIO) / TALK_TOLERANCE)
    balance_z = (balance - BALANCE_MEAN) / BALANCE_SPREAD
    warmth = 0.42 * traits.experience_z() + traits.warmth
    empathy_z = warmth[tutor] + 0.45 * goodness + rng.normal(0, 0.71, size)
    engagement_z = 0.39 * balance_z + 0.52 * goodness + rng.normal(0, 0.78, size)
    clarity_z = 0.45 * goodness + rng.normal(0, 0.88, size)
    satisfaction_z = 0.60 * empathy_z + 0.30 * goodness + rng.normal(0, 0.68, size)

    engagement = score_around(ENGAGEMENT, engagement_z, 1, 10)
    empathy = score_around(EMPATHY, empathy_z, 1, 10)
    clarity = score_around(CLARITY, clarity_z, 1, 10)
    score = (
        0.30 * engagement
        + 0.44 * timetable.stars
        + 0.13 * clarity
        + 0.13 * empathy
        + 0.90 * balance
        + SCORE_BONUS
        + rng.normal(0, 0.25, size)
    )
    return Latents(
        talk_ratio=np.round(talk, 3),
        engagement=np.round(engagement, 2),
        empathy=np.round(empathy, 2),
        clarity=np.round(clarity, 2),
        satisfaction=np.round(score_around(SATISFACTION, satisfaction_z, 1, 10), 1),
        score=np.round(np.clip(score, 0, 10), 2),
    )

"""The hidden traits of tutors: personas, traits, planted patterns.

Belongs here: everything about a tutor that does not change during the window.
Does not belong here: burnout and leaving (burnout.py), observations (the later stages).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from tutor_pipeline.sources.synthetic.population import Array, stream
from tutor_pipeline.sources.synthetic.worlds import ORDINARY, World

Band = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Persona:
    """A kind of tutor: its share of tutors, and the ranges that its traits are drawn from."""

    name: str
    share: float
    months: Band
    reliability: Band
    rating: Band
    reschedules: Band  # share of sessions the tutor moves
    no_shows: Band  # share of sessions the tutor misses
    risk: Band  # burnout to which the tutor returns
    first_rating_drop: float  # stars lost in a first session


PERSONAS = (
    Persona(
        "rock_star", 0.10, (36, 60), (0.85, 0.95), (4.7, 5.0),
        (0.01, 0.05), (0.001, 0.004), (0.05, 0.20), 0.13,
    ),
    Persona(
        "solid_performer", 0.50, (12, 36), (0.70, 0.85), (4.0, 4.5),
        (0.05, 0.08), (0.003, 0.010), (0.10, 0.35), 0.23,
    ),
    Persona(
        "struggling_newbie", 0.15, (1, 6), (0.50, 0.70), (3.5, 4.0),
        (0.10, 0.16), (0.008, 0.016), (0.20, 0.42), 0.50,
    ),
    Persona(
        "burned_out_veteran", 0.05, (48, 120), (0.60, 0.75), (4.1, 4.3),
        (0.19, 0.25), (0.010, 0.024), (0.40, 0.55), 0.33,
    ),
    Persona(
        "no_show_problem", 0.08, (3, 30), (0.40, 0.60), (3.6, 4.4),
        (0.22, 0.25), (0.040, 0.075), (0.38, 0.60), 0.33,
    ),
    Persona(
        "ordinary", 0.12, (3, 72), (0.55, 0.90), (3.7, 4.7),
        (0.04, 0.11), (0.004, 0.012), (0.10, 0.40), 0.23,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pattern:
    """A behaviour planted in a share of the tutors, to be detected or to mislead."""

    name: str
    share: float
    among: tuple[str, ...]


PATTERNS = (
    Pattern("new_and_excellent", 0.05, ("ordinary",)),
    Pattern("reschedules_on_fridays", 0.05, ("ordinary",)),
    Pattern("declining_veteran", 0.03, ("burned_out_veteran",)),
    Pattern("technical_trouble", 0.05, ("rock_star", "solid_performer")),
    Pattern("weekend_only", 0.10, ("solid_performer",)),
    Pattern("runs_of_bad_days", 0.04, ("struggling_newbie", "solid_performer", "ordinary")),
)

LOGINS_A_WEEK = (2.0, 5.0)
BOOKED_LESS = 1.9  # share of demand lost per share of sessions that the tutor moves


@dataclass(frozen=True, slots=True)
class Traits:
    """Hidden traits, one entry per tutor. Shares are 0-1, ratings in stars."""

    persona: Array  # index into PERSONAS
    pattern: Array  # index into PATTERNS, -1 = none
    months: Array  # of experience
    reliability: Array
    rating: Array
    reschedules: Array
    no_shows: Array
    risk: Array
    first_rating_drop: Array
    lateness: Array  # share of sessions begun late
    technical: Array  # share of sessions with technical issues
    talk_ratio: Array
    warmth: Array  # empathy beyond what experience explains, in standard deviations
    activity: Array  # sessions relative to the average tutor
    style: Array  # habit of asking, checking and praising, relative to the average tutor
    logins: Array  # a week

    def has(self, pattern: str) -> Array:
        """True for the tutors with the pattern `pattern`."""
        return np.asarray(self.pattern == _code(PATTERNS, pattern))

    def is_a(self, persona: str) -> Array:
        """True for the tutors with the persona `persona`."""
        return np.asarray(self.persona == _code(PERSONAS, persona))

    def experience_z(self) -> Array:
        """Returns experience on a scale with mean near 0 and standard deviation near 1."""
        return (np.log1p(self.months) - 3.0) / 0.9


def draw_traits(seed: int, tutors: int, world: World = ORDINARY) -> Traits:
    """Draws the traits of `tutors` tutors. Personas and patterns have exactly their shares."""
    rng = stream(seed, "traits")
    persona = rng.permutation(quotas([known.share for known in PERSONAS], tutors))

    def band(name: str) -> Array:
        edges: Array = np.array([getattr(known, name) for known in PERSONAS])[persona]
        return rng.uniform(edges[:, 0], edges[:, 1])

    pattern = _plant(rng, persona)

    def planted(name: str, low: float, high: float, otherwise: Array) -> Array:
        drawn = rng.uniform(low, high, tutors)
        return np.where(pattern == _code(PATTERNS, name), drawn, otherwise)

    reschedules = planted("reschedules_on_fridays", 0.21, 0.25, band("reschedules"))
    technical = np.clip(rng.normal(0.069, 0.02, tutors), 0.02, 0.12)
    # Students book less with tutors who move sessions.
    activity = np.exp(rng.normal(0, 0.22, tutors)) * (1 - BOOKED_LESS * reschedules)
    traits = Traits(
        persona=persona,
        pattern=pattern,
        months=np.round(planted("new_and_excellent", 1, 3, band("months"))),
        reliability=band("reliability"),
        rating=planted("new_and_excellent", 4.85, 5.0, band("rating")),
        reschedules=reschedules,
        no_shows=band("no_shows"),
        risk=band("risk"),
        first_rating_drop=np.array([known.first_rating_drop for known in PERSONAS])[persona],
        lateness=np.clip(0.029 * np.exp(rng.normal(0, 0.7, tutors)), 0.004, 0.45),
        technical=planted("technical_trouble", 0.18, 0.30, technical),
        talk_ratio=np.clip(rng.normal(0.50, 0.088, tutors), 0.25, 0.80),
        warmth=rng.normal(0, 0.35, tutors),
        activity=activity,
        style=np.exp(rng.normal(0, 0.25, tutors)),
        logins=rng.uniform(*LOGINS_A_WEEK, tutors),
    )
    return _alike(traits) if world.alike else traits


def _alike(traits: Traits) -> Traits:
    """Returns traits in which every tutor is the average one, without patterns."""
    every = {entry.name: getattr(traits, entry.name) for entry in fields(Traits)}
    average = {name: np.full(len(values), values.mean()) for name, values in every.items()}
    known = {
        "persona": np.full_like(traits.persona, _code(PERSONAS, "ordinary")),
        "pattern": np.full_like(traits.pattern, -1),
        "months": np.round(average["months"]),
    }
    return Traits(**(average | known))


def quotas(shares: list[float], size: int) -> Array:
    """Returns `size` codes from 0 on, ascending, with exactly these shares up to rounding."""
    edges = np.round(np.cumsum(shares) / np.sum(shares) * size).astype(np.int64)
    return np.searchsorted(edges, np.arange(size), side="right")


def _plant(rng: np.random.Generator, persona: Array) -> Array:
    """Draws at most one pattern per tutor, only for personas that the pattern allows."""
    planted = np.full(len(persona), -1)
    for code, pattern in enumerate(PATTERNS):
        fits = np.isin(persona, [_code(PERSONAS, name) for name in pattern.among]) & (planted < 0)
        chosen = rng.permutation(np.flatnonzero(fits))[: round(pattern.share * len(persona))]
        planted[chosen] = code
    return planted


def _code(kinds: tuple[Persona, ...] | tuple[Pattern, ...], name: str) -> int:
    """Returns the index of `name` in PERSONAS or PATTERNS."""
    return [kind.name for kind in kinds].index(name)

"""The one shape of every score: a value, its level, and why.

Belongs here: what scorers of all kinds return, and how what they were given is fingerprinted.
Does not belong here: how any score is computed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

Row = Mapping[str, object]
"""A tutor's or a student's columns by name, as PostgreSQL gives them; NULL is None."""


class Level(StrEnum):
    """How high a risk is."""

    LOW = "Low"
    MEDIUM = "Medium"
    HIGH = "High"


class Status(StrEnum):
    """What a score rests on: enough; so little that Low would say too much; too little for any.

    (`fallback`, another scorer's score, is in old rows of the database only.)
    """

    OK = "ok"
    LITTLE_KNOWN = "little_known"
    INSUFFICIENT_DATA = "insufficient_data"


class Target(StrEnum):
    """What a score is about. Scores of different targets are never compared."""

    TUTOR_RISK = "tutor_risk"
    TUTOR_RELIABILITY = "tutor_reliability"
    TUTOR_DEPARTURE = "tutor_departure"
    TUTOR_BURNOUT = "tutor_burnout"
    SESSION_VELOCITY = "session_velocity"
    FIRST_SESSION_SUCCESS = "first_session_success"
    HEALTH = "health"
    STUDENT_CHURN = "student_churn"
    STUDENT_DEPARTURE = "student_departure"


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing behind a score.

    `value` is what was seen and `reference` what it is held against, in the same unit; `n` counts
    the observations behind the value; `contribution` is what it adds to the score, in the score's
    unit (a model's: in log odds). 0: it adds nothing, because too little is known, and `label`
    says so.
    """

    code: str
    label: str
    value: float | None
    reference: float | None
    n: int | None
    contribution: float


@dataclass(frozen=True, slots=True)
class Score:
    """What one scorer says of one tutor or student.

    `level` is None for what is no risk (a velocity), and for `insufficient_data`. `reasons` come
    most telling first and are never empty when the level is Medium or High.
    `is_probability`: whether the score may be read as one; otherwise it only ranks. `lower` and
    `upper`: between which the truth lies in 90 of 100 cases, where the scorer can tell.
    `base_rate`: what is usual, where a scorer tells. `known_share`: how much (0 to 1) of what the
    scorer would like to know is known, `not_known` the rest in words.
    """

    subject_id: str
    scorer: str
    version: str
    target: Target
    horizon_days: int
    score: float | None
    is_probability: bool
    level: Level | None
    reasons: tuple[Reason, ...]
    status: Status
    input_hash: str
    lower: float | None = None
    upper: float | None = None
    base_rate: float | None = None
    known_share: float | None = None
    not_known: tuple[str, ...] = ()


def number(row: Row, name: str) -> float | None:
    """The column as a number; None for NULL and for what is no finite number.

    Rounded to nine digits: the order in which floats were summed must not decide anything.
    """
    value = row[name]
    if value is None:
        return None
    if not isinstance(value, int | float | Decimal):
        raise TypeError(f"{name} is not a number: {value!r}")
    found = float(value)
    # + 0.0: there are two zeros, and they would not hash alike.
    return round(found, 9) + 0.0 if math.isfinite(found) else None


def count(row: Row, name: str) -> int:
    """The column as a count; 0 for NULL."""
    found = number(row, name)
    return 0 if found is None else int(found)


def most_telling_first(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """Largest contribution first; equals by their code, so that the order is always the same."""
    return tuple(sorted(reasons, key=lambda reason: (-reason.contribution, reason.code)))


def input_hash(scorer: str, version: str, inputs: Mapping[str, object]) -> str:
    """SHA-256 of what a score was computed from: the same for the same inputs, scorer, version."""
    text = _ENCODER.encode([scorer, version, dict(inputs)])
    return hashlib.sha256(text.encode()).hexdigest()


# One for all: `json.dumps` would make one per call.
_ENCODER = json.JSONEncoder(sort_keys=True, default=str)

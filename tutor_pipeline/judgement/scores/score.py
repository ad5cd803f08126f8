"""The shape of every score: a value, its level, and the reasons.

Belongs here: what every scorer returns, and the hash of what it was given.
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
"""A tutor's or a student's columns by name, with PostgreSQL's values; NULL is None."""


class Subject(StrEnum):
    """Whom scores are about."""

    TUTOR = "tutor"
    STUDENT = "student"

    @property
    def key(self) -> str:
        """The name of the id column."""
        return f"{self}_id"


class Level(StrEnum):
    """How high a risk is."""

    LOW = "Low"
    MEDIUM = "Medium"
    HIGH = "High"


class Status(StrEnum):
    """How much is known: enough (`ok`), too little to say Low (`little_known`), or too little for
    any score (`insufficient_data`).

    Old rows of the database also have `fallback`: the score of another scorer.
    """

    OK = "ok"
    LITTLE_KNOWN = "little_known"
    INSUFFICIENT_DATA = "insufficient_data"


class Target(StrEnum):
    """What a score is about. Scores of different targets cannot be compared."""

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
    """One reason for a score.

    `value` is the observed value and `reference` what it is compared with, in the same unit. `n`
    counts the observations behind the value. `contribution` is what the reason adds to the score,
    in the score's unit (a model's: in log odds); it is 0 where too little is known, and `label`
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
    """The result of one scorer for one tutor or student.

    `level` is None for a score that is no risk (a velocity) and for `insufficient_data`. `reasons`
    are ordered by contribution, largest first, and are never empty for Medium or High.
    `is_probability` says whether the score is a probability; otherwise it only ranks. `lower` and
    `upper` are the 90 % interval, `base_rate` the usual score; both only where the scorer has them.
    `known_share` is the share (0 to 1) of the scorer's inputs that is known, by weight;
    `not_known` names the rest.
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
    """Returns the column as a number; None for NULL, NaN and infinity. Raises TypeError for other
    types.

    Rounds to nine digits, so that the order in which floats were summed has no effect.
    """
    value = row[name]
    if value is None:
        return None
    if not isinstance(value, int | float | Decimal):
        raise TypeError(f"{name} is not a number: {value!r}")
    found = float(value)
    # + 0.0 turns -0.0 into 0.0: the two zeros have different hashes.
    return round(found, 9) + 0.0 if math.isfinite(found) else None


def count(row: Row, name: str) -> int:
    """Returns the column as a whole number; 0 for NULL."""
    found = number(row, name)
    return 0 if found is None else int(found)


def most_telling_first(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """Returns the reasons by contribution, largest first, and by code where contributions are
    equal.
    """
    return tuple(sorted(reasons, key=lambda reason: (-reason.contribution, reason.code)))


def input_hash(scorer: str, version: str, inputs: Mapping[str, object]) -> str:
    """Returns the SHA-256 of a score's inputs, scorer and version."""
    text = _ENCODER.encode([scorer, version, dict(inputs)])
    return hashlib.sha256(text.encode()).hexdigest()


# `json.dumps` makes an encoder per call; this one is shared.
_ENCODER = json.JSONEncoder(sort_keys=True, default=str)

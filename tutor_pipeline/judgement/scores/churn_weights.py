"""The weights of the student churn score (`weighted_v1`), as values.

Belongs here: what a version of the weights is, and the first version (churn_weights.yml).
Does not belong here: versions in the database (`storage.churn_weights`), fitting new ones
(`refinement`), the score itself (`weighted`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from tutor_pipeline.core.yaml_models import YamlModel, read_yaml

FILE = Path(__file__).parent / "churn_weights.yml"
LEARNED = "refined:"
"""The beginning of the notes of a version that was fitted to outcomes."""


@dataclass(frozen=True, slots=True)
class Levels:
    """The scores from which a student is at Medium and at High risk."""

    medium_from: float
    high_from: float


@dataclass(frozen=True, slots=True)
class Weights:
    """One version: a weight of 0 to 1 per factor, together 1, in force from a moment. Scores under
    other weights have another scale, so each version has its own `levels`.
    """

    version: int
    weights: Mapping[str, float]
    effective_from: datetime
    notes: str
    levels: Levels


def first_version(at: datetime) -> Weights:
    """Returns the version that every installation starts with (churn_weights.yml)."""
    found = _file()
    levels = Levels(found.levels.medium_from, found.levels.high_from)
    return Weights(found.version, dict(found.weights), at, found.notes, levels)


class _Levels(YamlModel):
    medium_from: float
    high_from: float

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.medium_from > self.high_from:
            raise ValueError("medium_from is above high_from")
        return self


class _File(YamlModel):
    """The content of churn_weights.yml."""

    version: int = Field(gt=0)
    notes: str
    weights: dict[str, float]
    levels: _Levels

    @field_validator("weights")
    @classmethod
    def _together_one(cls, weights: dict[str, float]) -> dict[str, float]:
        if min(weights.values()) < 0 or abs(sum(weights.values()) - 1) > 1e-9:
            raise ValueError("they are not 0 to 1 each and 1 together")
        return weights


@cache
def _file() -> _File:
    return read_yaml(FILE, _File, "file of churn weights")

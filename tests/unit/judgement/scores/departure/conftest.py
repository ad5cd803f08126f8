"""A platform of synthetic tutors, some of whom do less than before, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tests.unit.judgement.scores.departure import frames
from tutor_pipeline.judgement.scores.departure import learning, reference, scorer
from tutor_pipeline.judgement.scores.departure.reference import Reference, standardise
from tutor_pipeline.judgement.scores.departure.tutors import TUTORS
from tutor_pipeline.judgement.scores.departure.version import Version
from tutor_pipeline.judgement.scores.score import Score

YEARLY = 0.25


@dataclass(frozen=True)
class World:
    """Tutors, their yardstick, their standardised signs, and a version with nothing learned."""

    columns: dict[str, np.ndarray]
    reference: Reference
    z: np.ndarray
    version: Version

    def scores(self, version: Version | None = None, **options: Any) -> list[Score]:
        rows = frames.rows_of(self.columns)
        return scorer.score(rows, self.reference, version or self.version, "1.1", **options)


def world_of(columns: dict[str, np.ndarray]) -> World:
    usual = reference.fit(TUTORS, columns)
    z = standardise(columns, usual).z
    return World(
        columns, usual, z, learning.learn(TUTORS, z, usual.known, learning.nothing(TUTORS), YEARLY)
    )


@pytest.fixture(scope="session")
def make_world() -> Callable[[dict[str, np.ndarray]], World]:
    return world_of


@pytest.fixture(scope="session")
def ordinary() -> World:
    """300 tutors, of whom the first 30 do much less than before."""
    return world_of(frames.people(300, 1, fall=np.where(np.arange(300) < 30, 0.6, 0.0)))


@pytest.fixture(scope="session")
def alike() -> World:
    """300 tutors who differ by chance only."""
    return world_of(frames.people(300, 2, differ=0))


@dataclass(frozen=True)
class Panel:
    """Four weeks of 300 tutors: signs, whose they are, and who of them does less."""

    z: np.ndarray
    whose: np.ndarray
    falling: np.ndarray

    def learned(self, gone: np.ndarray) -> Version:
        """What is learned when these tutors left."""
        left = np.isin(self.whose, gone)
        known = frozenset(frames.CODES)
        return learning.learn(
            TUTORS, self.z, known, frames.outcomes(self.z, left, self.whose), YEARLY
        )


@pytest.fixture(scope="session")
def panel() -> Panel:
    fall = np.where(np.arange(300) < 45, np.linspace(0.9, 0.3, 300), 0.0)
    weeks = [frames.standardised(frames.people(300, week, fall=fall)) for week in range(4)]
    return Panel(np.concatenate(weeks), np.tile(np.arange(300), 4), np.arange(45))

"""The plan of a back-test: questions, settings, time folds, and what a scorer is.

Belongs here: what is asked when, and what may be known then.
Does not belong here: any scorer (`scorers`), asking them (`replay`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

import numpy as np

from tutor_pipeline.judgement.scores.evaluation import REPLICATES, SEED
from tutor_pipeline.judgement.scores.score import Level, Row

Outcome = tuple[float | None, Level | None]
"""A score (higher is likelier; None: no score) and its level, where there is one."""


class Question(StrEnum):
    """A question to the scorers: the `target` of `ops.backtest_metrics`."""

    STATE = "state"
    DEPARTURE = "departure"
    STUDENT_DEPARTURE = "student_departure"


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings of a back-test.

    `known_until` is the last day whose departures are known. Learned scorers are tested in
    `fold_count` blocks of dates, and need `min_leavers` distinct leavers before the first.
    `key` is the id column of the rows, `departure` the question about their leaving.
    """

    known_until: date
    horizon_days: int = 30
    settling_days: int = 1
    fold_count: int = 3
    min_leavers: int = 10
    replicates: int = REPLICATES
    seed: int = SEED
    key: str = "tutor_id"
    departure: Question = Question.DEPARTURE

    def used_on(self, as_of: date) -> date:
        """Returns the day at whose end a row of `as_of` is used."""
        return as_of + timedelta(days=self.settling_days)

    def matures_on(self, as_of: date) -> date:
        """Returns the last day of the window in which a departure counts."""
        return self.used_on(as_of) + timedelta(days=self.horizon_days)

    def leaves(self, as_of: date, departed_on: date | None) -> bool:
        """Returns whether somebody has left for good by the end of the window. `departed_on`: the
        day after the last one; None where they are still there.
        """
        return departed_on is not None and departed_on <= self.matures_on(as_of)


@dataclass(frozen=True)
class Training:
    """Rows of several days, and whether each left in the window. All of it was known by the end of
    `known_on`. Empty where a fold has nothing to learn from.
    """

    rows: Sequence[Row]
    labels: Sequence[bool]
    known_on: date
    key: str = "tutor_id"

    @property
    def leavers(self) -> int:
        """The number of distinct people who left."""
        pairs = zip(self.rows, self.labels, strict=True)
        return len({row[self.key] for row, left in pairs if left})


Predict = Callable[[Sequence[Row]], Sequence[Outcome]]


@dataclass(frozen=True)
class Scorer:
    """A scorer to test. `prepare` is called once per fold, what it returns once per day.

    `is_learned`: it needs training data. `is_ceiling`: it sees what nobody could know, and shows
    the best possible figures.
    """

    name: str
    version: str
    prepare: Callable[[Training], Predict]
    is_probability: bool = False
    is_learned: bool = False
    is_ceiling: bool = False


@dataclass(frozen=True, slots=True)
class Fold:
    """A block of test dates, and the earlier dates to learn from."""

    train: tuple[date, ...]
    test: tuple[date, ...]


def folds_of(days: Sequence[date], plan: Plan) -> list[Fold]:
    """Returns blocks of test dates, oldest first, each with the dates to learn from before it.

    The first block begins after a third of the time, on a date before which some outcomes are
    known. Empty where there are too few such dates.
    """
    days = sorted(days)
    if not days:
        return []
    matured = [
        day
        for day in days
        if plan.matures_on(days[0]) < day and 3 * (day - days[0]) >= days[-1] - days[0]
    ]
    with_outcome = [day for day in matured if plan.matures_on(day) <= plan.known_until]
    if len(with_outcome) < plan.fold_count:
        return []
    blocks = [list(block) for block in np.array_split(np.array(with_outcome), plan.fold_count)]
    blocks[-1] += matured[len(with_outcome) :]
    return [
        Fold(
            train=tuple(day for day in days if plan.matures_on(day) < block[0]),
            test=tuple(block),
        )
        for block in blocks
    ]


def day_of(row: Row) -> date:
    """Returns the as-of date of a row."""
    day = row["as_of_date"]
    assert isinstance(day, date)
    return day

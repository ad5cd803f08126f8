"""What happened to the rows of a sample, what a scorer forecast, and a figure of both.

Belongs here: the types and the constants of every evaluation.
Does not belong here: how a figure is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

REPLICATES = 200
SEED = 20260101


class Metric(StrEnum):
    """The figures, by their names in `ops.backtest_metrics`."""

    AUC = "auc"
    AVERAGE_PRECISION = "average_precision"
    LIFT = "lift_over_signals_v1"
    RECALL = "recall_at_15_percent_false_flags"
    PRECISION_3 = "precision_at_3"
    PRECISION_5 = "precision_at_5"
    PRECISION_8 = "precision_at_8"
    RECALL_3 = "recall_at_3"
    RECALL_5 = "recall_at_5"
    RECALL_8 = "recall_at_8"
    BRIER = "brier"
    BRIER_OF_CONSTANT = "brier_of_constant"
    CALIBRATION_SLOPE = "calibration_slope"


@dataclass(frozen=True, slots=True)
class Figure:
    """A value and its 90 % interval; None where there is none, as without positive rows."""

    value: float | None
    lower: float | None = None
    upper: float | None = None


NOTHING = Figure(None)


@dataclass(frozen=True)
class Sample:
    """What happened: three arrays with an entry per row. `tutors` are codes from 0 (of whomever the
    rows are about), `dates` are codes, `labels` say whether it happened.
    """

    tutors: Array
    dates: Array
    labels: Array

    def __post_init__(self) -> None:
        if not len(self.tutors) == len(self.dates) == len(self.labels):
            raise ValueError("a sample's arrays differ in length")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def positives(self) -> int:
        """The number of rows in which it happened."""
        return int(self.labels.sum())

    @property
    def leavers(self) -> int:
        """The number of distinct tutors to whom it happened."""
        return len(np.unique(self.tutors[self.labels]))

    @property
    def distinct_tutors(self) -> int:
        """The number of distinct tutors."""
        return len(np.unique(self.tutors))


@dataclass(frozen=True)
class Prediction:
    """A scorer's scores for the rows of a sample: higher is likelier, NaN is no score."""

    scorer: str
    version: str
    scores: Array
    is_probability: bool

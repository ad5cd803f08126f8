"""How well scores tell positive rows from negative ones: figures with 90 % intervals.

sample        what happened, what was forecast, and a figure
bootstrap     draws of whole tutors, and the interval that they give
ranking       AUC, average precision, recall, and the heads of lists
calibration   how good probabilities are
figures       the figures of a sample: `evaluate`, `auc`, `gain`, `rate` …

Belongs here: the figures, exact with ties, and their intervals.
Does not belong here: which rows are in a sample (`backtest`, `crossval`, `leakage`).
"""

from tutor_pipeline.judgement.scores.evaluation.bootstrap import draws
from tutor_pipeline.judgement.scores.evaluation.calibration import calibration_bins
from tutor_pipeline.judgement.scores.evaluation.figures import (
    auc,
    calibration_slope,
    evaluate,
    gain,
    precision_recall,
    rate,
)
from tutor_pipeline.judgement.scores.evaluation.sample import (
    NOTHING,
    REPLICATES,
    SEED,
    Array,
    Figure,
    Metric,
    Prediction,
    Sample,
)

__all__ = [
    "NOTHING",
    "REPLICATES",
    "SEED",
    "Array",
    "Figure",
    "Metric",
    "Prediction",
    "Sample",
    "auc",
    "calibration_bins",
    "calibration_slope",
    "draws",
    "evaluate",
    "gain",
    "precision_recall",
    "rate",
]

"""What recorded departures alone would teach: the yardstick of what a forecast learns.

Belongs here: a plain logistic regression on the same signs, without documented weights, and a
gradient boosting on the columns themselves. Back-tests hold them against a forecast; they are
never stored and never used.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tutor_pipeline.judgement.scores.departure.learning import Outcomes
from tutor_pipeline.judgement.scores.departure.measures import Array
from tutor_pipeline.judgement.scores.evaluation import one_thread

_BOOSTING = {
    "max_iter": 120,
    "learning_rate": 0.05,
    "max_leaf_nodes": 8,
    "min_samples_leaf": 100,
    "l2_regularization": 5.0,
    "random_state": 0,
}
"""Small trees and slow steps: with more of either it does worse on weeks that it had not seen."""
_PENALTY = 0.05  # scikit-learn's C: the rows of a tutor are alike, so there is less to learn from


def departures_alone(outcomes: Outcomes) -> Callable[[Array], Array] | None:
    """Learn from outcomes; gives standardised signs (rows x signs) -> probabilities. None where
    nobody left, or everybody.
    """
    from sklearn.linear_model import LogisticRegression

    if not outcomes.left.any() or outcomes.left.all():
        return None
    with one_thread():
        learned = LogisticRegression(C=_PENALTY, max_iter=1_000).fit(outcomes.z, outcomes.left)

    def probabilities(z: Array) -> Array:
        with one_thread():
            return np.asarray(np.round(learned.predict_proba(z)[:, 1], 6))

    return probabilities


def boosted(columns: Array, left: Array) -> Callable[[Array], Array] | None:
    """A gradient boosting on columns as they are (rows x columns, NaN where not known); gives
    columns -> probabilities. None where nobody left, or everybody.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    if not left.any() or left.all():
        return None
    # What is the same for all tells nothing, and is more than the binning can take.
    used = [
        place for place, each in enumerate(columns.T) if len(np.unique(each[np.isfinite(each)])) > 1
    ]
    if not used:
        return None
    with one_thread():
        learned = HistGradientBoostingClassifier(**_BOOSTING).fit(columns[:, used], left)

    def probabilities(rows: Array) -> Array:
        with one_thread():
            return np.asarray(np.round(learned.predict_proba(rows[:, used])[:, 1], 6))

    return probabilities

"""What recorded departures alone would teach, for comparison.

Belongs here: a logistic regression on the same signs without documented weights, and a gradient
boosting on the columns. Back-tests compare them with a forecast; they are never stored or used.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tutor_pipeline.judgement.scores.departure.learning import Outcomes
from tutor_pipeline.judgement.scores.departure.measures import Array
from tutor_pipeline.judgement.scores.threads import one_thread

_BOOSTING = {
    "max_iter": 120,
    "learning_rate": 0.05,
    "max_leaf_nodes": 8,
    "min_samples_leaf": 100,
    "l2_regularization": 5.0,
    "random_state": 0,
}
"""Small trees and slow steps: larger ones do worse on unseen weeks."""
_PENALTY = 0.05  # scikit-learn's C; strong, as the rows of one person are alike


def departures_alone(outcomes: Outcomes) -> Callable[[Array], Array] | None:
    """Returns a function from standardised signs (rows x signs) to probabilities, learned from
    outcomes. None where nobody or everybody left.
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
    """Returns a function from columns (rows x columns, NaN where not known) to probabilities,
    learned by a gradient boosting. None where nobody or everybody left.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    if not left.any() or left.all():
        return None
    # A constant column says nothing, and the binning fails on it.
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

"""What recorded departures alone would teach: the yardstick of what departure_v1 learns.

Belongs here: a plain logistic regression on the same signs, without documented weights.
Back-tests hold it against departure_v1; it is never stored and never used.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tutor_pipeline.scores.departure.evidence import Array
from tutor_pipeline.scores.departure.learning import Outcomes
from tutor_pipeline.scores.evaluation import one_thread

_PENALTY = 0.05  # scikit-learn's C: the rows of a tutor are alike, so there is less to learn from


def departures_alone(outcomes: Outcomes) -> Callable[[Array], Array] | None:
    """Learn from outcomes; gives standardised signs (rows x CODES) -> probabilities. None where
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

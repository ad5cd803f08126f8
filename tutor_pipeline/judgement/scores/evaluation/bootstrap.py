"""The bootstrap behind every interval: tutors are drawn, not rows.

Belongs here: the draws, and the interval that they give.
Does not belong here: the figures of one draw (`ranking`, `calibration`).

A tutor has a row per date, and those rows are alike, so whole tutors are drawn with replacement. A
row's weight is how often its tutor was drawn; the figure itself is computed by the same code at
weight 1. All scorers share the draws, so the difference of two scorers is paired.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tutor_pipeline.judgement.scores.evaluation.sample import NOTHING, Array, Figure

INTERVAL = (0.05, 0.95)
"""The quantiles of every interval: 90 %."""

_CHUNK = 20  # replicates at a time, which keeps a block of rows x replicates small


def draws(tutors: Array, replicates: int, seed: int) -> Iterator[Array]:
    """Yields how often each tutor is drawn, in blocks of tutors x replicates. The first column is 1
    for all: the sample itself.
    """
    population, present = int(tutors.max()) + 1, np.unique(tutors)
    rng = np.random.default_rng(seed)
    yield np.ones((population, 1))
    for first in range(0, replicates, _CHUNK):
        block = np.zeros((population, min(_CHUNK, replicates - first)))
        for column in range(block.shape[1]):
            drawn = present[rng.integers(0, len(present), len(present))]
            block[:, column] = np.bincount(drawn, minlength=population)
        yield block


def figure_of(values: Array) -> Figure:
    """Returns the figure of a sample's own value (the first) and the values of its draws.

    The interval leaves out draws without a value (no positive row was drawn). Where these are more
    than half of the draws there is no interval.
    """
    if not np.isfinite(values[0]):
        return NOTHING
    drawn = values[1:][np.isfinite(values[1:])]
    value = round(float(values[0]), 9)
    if not len(drawn) or 2 * len(drawn) < len(values) - 1:
        return Figure(value)
    lower, upper = (round(float(edge), 9) for edge in np.quantile(drawn, INTERVAL))
    return Figure(value, lower, upper)

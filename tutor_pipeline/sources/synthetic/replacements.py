"""Students who change their tutor: their last session with one is followed by a first with another.

Belongs here: who changes the tutor, and the students of all pairs.
Does not belong here: sessions and how they end (sessions.py), leaving the platform (students.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tutor_pipeline.sources.synthetic.population import Array
from tutor_pipeline.sources.synthetic.statuses import COMPLETED, NO_SHOW_TUTOR

REPLACED_AFTER_NO_SHOW = 0.16  # of the students who change their tutor
REPLACED_WITHIN_DAYS = 14


@dataclass(frozen=True, slots=True)
class Replacements:
    """Students who changed their tutor: indices of the pairs that they left and entered."""

    old_pair: Array
    new_pair: Array
    after_no_show: Array


def draw_replacements(
    rng: np.random.Generator,
    pair: Array,
    pair_tutor: Array,
    start: Array,
    status: Array,
    given_up: Array,
    starts_pair: Array,
) -> Replacements:
    """Draws students whose last session with one tutor is followed by a first one with another.

    REPLACED_AFTER_NO_SHOW of them change after a no-show of the tutor.
    """
    last_row = np.full(len(pair_tutor), -1)
    last_row[pair] = np.arange(len(pair))  # rows are ordered by time: the last assignment stays
    held = np.flatnonzero(last_row >= 0)
    ends = np.isin(status, (COMPLETED, NO_SHOW_TUTOR)) | given_up
    ended = held[ends[last_row[held]]]
    no_show = status[last_row[ended]] == NO_SHOW_TUTOR
    after, others = ended[no_show], rng.permutation(ended[~no_show])
    wanted = round(len(after) * (1 - REPLACED_AFTER_NO_SHOW) / REPLACED_AFTER_NO_SHOW)
    leaving = np.concatenate((after, others[:wanted]))
    gap = rng.integers(1440, REPLACED_WITHIN_DAYS * 1440, len(leaving))
    ready = start[last_row[leaving]] + gap
    order = np.argsort(ready, kind="stable")
    leaving, ready = leaving[order], ready[order]

    # Each student takes the next free first session: the k-th student gets place k or later.
    openings = np.flatnonzero(starts_pair & (status == COMPLETED))
    place = np.searchsorted(start[openings], ready)
    turn = np.arange(len(leaving))
    place = turn + np.maximum.accumulate(place - turn) if len(leaving) else place
    fits = place < len(openings)
    leaving, entered = leaving[fits], pair[openings[place[fits]]]
    other = pair_tutor[leaving] != pair_tutor[entered]
    # No chains: a student changes the tutor once at most.
    other &= ~np.isin(leaving, entered)
    leaving, entered = leaving[other], entered[other]
    # Students without a new tutor have raised the share of no-shows: drop the latest above it.
    no_show = status[last_row[leaving]] == NO_SHOW_TUTOR
    most = round((~no_show).sum() * REPLACED_AFTER_NO_SHOW / (1 - REPLACED_AFTER_NO_SHOW))
    kept = ~no_show | (np.cumsum(no_show) <= most)
    return Replacements(leaving[kept], entered[kept], no_show[kept])


def students_of(pair: Array, pairs: int, replaced: Replacements) -> Array:
    """Returns the student of every pair, numbered by first appearance. Both pairs of a replacement
    have the same one.
    """
    owner = np.arange(pairs)
    owner[replaced.new_pair] = replaced.old_pair
    appears, first_row = np.unique(owner[pair], return_index=True)
    student = np.full(pairs, -1)
    student[appears[np.argsort(first_row)]] = np.arange(len(appears))
    return student[owner]

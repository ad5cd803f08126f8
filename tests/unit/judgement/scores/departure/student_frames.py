"""Synthetic students as columns of marts.student_evidence: what they do, and by how much it falls.

Independent of the synthetic platform: twelve weeks of counts and averages, drawn anew by a seed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tutor_pipeline.judgement.scores.departure.students.evidence import EVENTS, MARKS, READS

_EVENT_RATES = {"moved": 0.08, "cancelled": 0.08, "missed": 0.03, "missed_by_tutor": 0.02}


def people(
    students: int, seed: int = 0, *, fall: Any = 0.0, weekly: float = 1.5, differ: float = 0.3
) -> dict[str, np.ndarray]:
    """Columns of so many students, who take `weekly` sessions a week. `fall`: by how much of it
    each takes less in the last two weeks, and likes it less. `differ`: how unlike they are.
    """
    rng = np.random.default_rng(seed)
    fall = np.broadcast_to(np.asarray(fall, dtype=float), (students,))
    rate = weekly * np.exp(rng.normal(0, differ, students))
    weeks = np.repeat(rate[:, None], 12, axis=1)
    weeks[:, :2] *= (1 - fall)[:, None]
    had = rng.poisson(weeks).astype(float)
    columns = {
        "days_seen": np.full(students, 300.0),
        "days_since_completed": np.minimum(
            rng.geometric(np.clip(rate * (1.1 - fall) / 7, 0.03, 1)), 40.0
        ),
        "completed_all": had.sum(axis=1) + rng.integers(0, 60, students),
        **{f"completed_{7 * n}d": had[:, :n].sum(axis=1) for n in (2, 4)},
        "completed_before_14d": had[:, 2:10].sum(axis=1),
        "completed_before_28d": had[:, 4:12].sum(axis=1),
        "first_satisfaction": np.clip(rng.normal(8, 1.2, students), 0, 10),
        "booked_ahead": rng.poisson(1.2 * rate * (1 - fall)).astype(float),
        "booked_unclear": np.zeros(students),
    }
    levels = {mark: 7.5 + rng.normal(0, differ, students) for mark in MARKS}
    discounts = rng.beta(1, 6, students)
    for days, done, at in (
        ("28d", columns["completed_28d"], fall),
        ("before", columns["completed_before_28d"], np.zeros(students)),
    ):
        sessions = done + rng.poisson(0.2 * done)
        columns[f"sessions_{days}"] = sessions
        for event in EVENTS:
            chance = np.clip(_EVENT_RATES.get(event, 0.03) + 0.2 * at, 0, 1)
            columns[f"{event}_{days}"] = rng.binomial(sessions.astype(int), chance).astype(float)
        for mark in MARKS:
            scatter = rng.normal(0, 1, students) / np.sqrt(np.maximum(done, 1))
            columns[f"{mark}_{days}"] = np.where(done > 0, levels[mark] - at + scatter, np.nan)
            columns[f"{mark}_{days}_n"] = done.copy()
        columns[f"billed_{days}"] = done.copy()
        columns[f"discounted_{days}"] = rng.binomial(done.astype(int), discounts).astype(float)
        columns[f"price_{days}"] = np.where(done > 0, 40 * (1 + 0.2 * at), np.nan)
        columns[f"price_{days}_n"] = done.copy()
    assert columns.keys() == set(READS)
    return {name: columns[name] for name in READS}

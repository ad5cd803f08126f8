"""The tutors who teach in a simulation, of what a platform has about them. Pure.

Belongs here: who teaches whom, and what a platform does not store of it.
Does not belong here: reading a database (live_player.py), what they do (live_simulation.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.sources.synthetic.burnout import live_through
from tutor_pipeline.sources.synthetic.live_events import Cast, Pair
from tutor_pipeline.sources.synthetic.live_simulation import MOST_PAIRS, traits_of
from tutor_pipeline.sources.synthetic.parameters import Parameters
from tutor_pipeline.sources.synthetic.personas import draw_traits
from tutor_pipeline.sources.synthetic.population import Population, make_ids
from tutor_pipeline.sources.synthetic.rows import rows_of

KNOWN_FOR = timedelta(days=30)
"""A tutor's own students had a session within this time."""
BARGAIN = 1 / 7
"""The share of discounted sessions of a student: the mean of what the generator draws."""
_USUAL_RATE = 30.0

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Teacher:
    """An active tutor, with (id, name) of the subjects taught, the primary one first."""

    tutor_id: str
    hourly_rate: float
    subjects: tuple[tuple[str, str], ...]


def everybody(parameters: Parameters) -> dict[str, int]:
    """Returns the ids of all tutors made with `parameters`, each with its place."""
    ids = make_ids("T", np.arange(1, parameters.tutors + 1), 4, parameters.tutors)
    return {value.decode(): place for place, value in enumerate(ids.tolist())}


def cast_of(
    parameters: Parameters, teachers: Sequence[Teacher], pairs: Iterable[tuple[str, Pair]]
) -> Cast:
    """Returns these tutors of a platform made with `parameters`. `pairs`: tutor and student, those
    of one tutor oldest first.
    """
    of_tutor: dict[str, list[Pair]] = {each.tutor_id: [] for each in teachers}
    for tutor_id, pair in pairs:
        if tutor_id in of_tutor:
            of_tutor[tutor_id].append(pair)
    # The platform does not store traits: draw them again with the same seed.
    place = everybody(parameters)
    rows = np.array([place[each.tutor_id] for each in teachers])
    traits = draw_traits(parameters.seed, parameters.tutors, parameters.knobs)
    hidden = live_through(parameters.seed, traits, parameters.days, parameters.knobs)
    return Cast(
        tutor_ids=tuple(of_tutor),
        traits=traits_of(traits, rows),
        burnout=hidden.burnout[rows, -1],
        spirits=hidden.spirits[rows, -1],
        hourly_rate=np.array([each.hourly_rate for each in teachers]),
        subjects=tuple(each.subjects for each in teachers),
        pairs=tuple(map(tuple, of_tutor.values())),
    )


def cast_of_population(population: Population, now: datetime) -> Cast:
    """Returns the active tutors of a population with their students, as if a platform held it.

    Raises RefusedError where nobody teaches any more.
    """
    tables = {
        name: list(rows_of(name, population.platform[name]))
        for name in ("tutors", "tutor_subjects", "subjects", "students", "sessions")
    }
    teachers = _teachers(tables)
    if not teachers:
        raise RefusedError(
            "no tutor of this platform teaches any more; ask for more tutors, or another seed"
        )
    return cast_of(population.parameters, teachers, _pairs(tables, now))


def _teachers(tables: dict[str, list[Row]]) -> list[Teacher]:
    names = {row["id"]: row["name"] for row in tables["subjects"]}
    taught = defaultdict(list)
    for row in tables["tutor_subjects"]:
        if row["subject_id"] in names:
            taught[row["tutor_id"]].append(row["subject_id"])
    found = []
    for row in tables["tutors"]:
        if row["active_status"] is not False:
            primary = row["primary_subject"]
            ids = sorted(taught[row["user_id"]], key=lambda each: (names[each] != primary, each))
            rate = _USUAL_RATE if row["hourly_rate"] is None else row["hourly_rate"]
            subjects = tuple((each, names[each]) for each in ids)
            found.append(Teacher(row["user_id"], rate, subjects))
    return sorted(found, key=lambda each: each.tutor_id)


def _pairs(tables: dict[str, list[Row]], now: datetime) -> list[tuple[str, Pair]]:
    """Returns what the statement `known_pairs` does."""
    here = {row["user_id"] for row in tables["students"] if row["status"] != "churned"}
    met: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in tables["sessions"]:
        is_known = row["student_id"] in here and row["session_number"] is not None
        if is_known and row["scheduled_start"] > now - KNOWN_FOR:
            met[row["tutor_id"], row["student_id"]].append(row)
    of_tutor: dict[str, list[tuple[datetime, Pair]]] = defaultdict(list)
    for (tutor_id, student_id), rows in met.items():
        pair = Pair(
            student_id,
            max(row["session_number"] - (row["status"] != "completed") for row in rows),
            max(row["subject_id"] or "" for row in rows),
            max(row["subject"] or "" for row in rows),
            max(row["grade_level"] or "" for row in rows),
            BARGAIN,
        )
        of_tutor[tutor_id].append((max(row["scheduled_start"] for row in rows), pair))
    found = []
    for tutor_id, pairs in of_tutor.items():
        pairs.sort(key=lambda each: each[1].student_id)
        pairs.sort(key=lambda each: each[0], reverse=True)
        found += [(tutor_id, pair) for _, pair in reversed(pairs[:MOST_PAIRS])]
    return found

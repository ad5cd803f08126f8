"""What became of tutors after past days: what a version learns from.

Belongs here: which rows are asked, which are learned from, who counts as having left. Does not
belong here: reading history, fitting.

A row of day D is asked about while its tutor was silent for at most ASKED_SILENCE_DAYS. It is
positive when the tutor is inactive at the end of what is known and completes no session after D +
horizon. It can be learned from once D + horizon has passed. Of a tutor who has been silent for
longer than usual the question is not any more whether the tutor leaves, and what a forecast
learned from these rows would be what silence looks like: they are asked, not learned from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np

from tutor_pipeline.scores.departure import reference
from tutor_pipeline.scores.departure.evidence import Array, Columns, silence
from tutor_pipeline.scores.departure.learning import Outcomes, nothing
from tutor_pipeline.scores.departure.reference import Reference, standardise
from tutor_pipeline.scores.departure.signals import CODES
from tutor_pipeline.scores.departure.version import HORIZON_DAYS


@dataclass(frozen=True)
class Week:
    """The rows of one past day: whose they are, and their columns (`evidence.READS`)."""

    day: date
    tutors: Sequence[str]
    columns: Columns


@dataclass(frozen=True)
class Standard:
    """A week by the yardstick of its own day."""

    day: date
    tutors: Sequence[str]
    reference: Reference
    z: Array
    silence: Array

    @property
    def is_there(self) -> Array:
        """Who has not been silent for longer than usual."""
        return np.asarray(self.silence <= 1)

    def only(self, places: Sequence[int]) -> Standard:
        """The same week with some of its tutors."""
        return replace(
            self,
            tutors=[self.tutors[place] for place in places],
            z=self.z[places],
            silence=self.silence[places],
        )

    def without(self, signs: Collection[str]) -> Standard:
        """The same week as if these signs were not known."""
        z = self.z.copy()
        z[:, [place for place, code in enumerate(CODES) if code in signs]] = 0.0
        kept = {code: each for code, each in self.reference.yardsticks.items() if code not in signs}
        return replace(self, z=z, reference=replace(self.reference, yardsticks=kept))


def standard(week: Week) -> Standard:
    """The signs of a past day as they would have been scored then."""
    fitted = reference.fit(week.columns)
    z = standardise(week.columns, fitted).z
    return Standard(week.day, week.tutors, fitted, z, silence(week.columns))


def leaves(day: date, departed_on: date | None, horizon_days: int = HORIZON_DAYS) -> bool:
    """Whether a tutor who completed the last session on the day before `departed_on` completes
    none after the horizon, and is inactive since. None: still active.
    """
    return departed_on is not None and departed_on <= day + timedelta(days=horizon_days + 1)


def gather(weeks: Iterable[tuple[Standard, Array]], known_on: date) -> Outcomes:
    """The rows that can be learned from, and what became of them. `weeks`: days whose outcomes are
    known by the end of `known_on`, and whether each of their tutors left.
    """
    found = list(weeks)
    if not found:
        return nothing()
    left = np.concatenate([np.asarray(labels, dtype=bool) for _, labels in found])
    who: dict[str, int] = {}
    tutors = np.array(
        [who.setdefault(tutor, len(who)) for week, _ in found for tutor in week.tutors]
    )
    is_there = np.concatenate([week.is_there for week, _ in found])
    days = [week.day for week, _ in found]
    return Outcomes(
        np.concatenate([week.z for week, _ in found])[is_there],
        left[is_there],
        tutors[is_there],
        min(days).isoformat(),
        max(days).isoformat(),
        known_on.isoformat(),
    )


def matured(
    weeks: Iterable[Standard], departures: Mapping[str, date], known_until: date
) -> list[tuple[Standard, Array]]:
    """The weeks whose horizon has passed, and who left. `departures`: of whoever is inactive, the
    day after the last completed session; `known_until`: the last day of the data.
    """
    return [
        (
            week,
            np.array(
                [leaves(week.day, departures.get(tutor)) for tutor in week.tutors], dtype=bool
            ),
        )
        for week in weeks
        if week.day + timedelta(days=HORIZON_DAYS) <= known_until
    ]

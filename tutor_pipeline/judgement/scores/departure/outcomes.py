"""Who left after past days: what a version learns from.

Belongs here: which rows are asked, which are learned from, who counts as having left.
Does not belong here: reading history (`storage.evidence_history`), fitting (`learning`).

A row of day D is asked about while the person was silent for at most ASKED_SILENCE_DAYS. It is
positive when the person has left by the end of D + horizon: a student by the platform's date, a
tutor who is inactive at the end of the known time and completed no session after D + horizon.
It can be learned from once D + horizon has passed. Rows of tutors who are silent for longer than
usual are asked but not learned from: they would only teach what silence looks like.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np

from tutor_pipeline.judgement.scores.departure import reference
from tutor_pipeline.judgement.scores.departure.forecast import HORIZON_DAYS, Forecast
from tutor_pipeline.judgement.scores.departure.learning import Outcomes, nothing
from tutor_pipeline.judgement.scores.departure.measures import Array, Columns
from tutor_pipeline.judgement.scores.departure.reference import Reference, standardise


@dataclass(frozen=True)
class Week:
    """The rows of one past day: their ids, and the columns that the forecast reads."""

    day: date
    ids: Sequence[str]
    columns: Columns


@dataclass(frozen=True)
class Standard:
    """A week, standardised by the reference of its own day."""

    day: date
    ids: Sequence[str]
    reference: Reference
    z: Array
    silence: Array

    @property
    def is_there(self) -> Array:
        """Which rows are not silent for longer than usual."""
        return np.asarray(self.silence <= 1)

    def only(self, places: Sequence[int]) -> Standard:
        """Returns the week with some of its rows."""
        return replace(
            self,
            ids=[self.ids[place] for place in places],
            z=self.z[places],
            silence=self.silence[places],
        )

    def without(self, signs: Collection[str]) -> Standard:
        """Returns the week as if these signs were not known."""
        z, codes = self.z.copy(), self.reference.forecast.codes
        z[:, [place for place, code in enumerate(codes) if code in signs]] = 0.0
        kept = {code: each for code, each in self.reference.yardsticks.items() if code not in signs}
        return replace(self, z=z, reference=replace(self.reference, yardsticks=kept))


def standard(forecast: Forecast, week: Week) -> Standard:
    """Returns the signs of a past day as they would have been scored then."""
    fitted = reference.fit(forecast, week.columns)
    z = standardise(week.columns, fitted).z
    return Standard(week.day, week.ids, fitted, z, forecast.silence(week.columns))


def leaves(day: date, departed_on: date | None, horizon_days: int = HORIZON_DAYS) -> bool:
    """Returns whether somebody has left by the end of the horizon. `departed_on`: the day after the
    last one; None: still there.
    """
    return departed_on is not None and departed_on <= day + timedelta(days=horizon_days + 1)


def gather(forecast: Forecast, weeks: Iterable[tuple[Standard, Array]], known_on: date) -> Outcomes:
    """Returns the rows that can be learned from, and who left. `weeks`: days whose outcomes are
    known by the end of `known_on`, and whether each of their rows left.
    """
    found = list(weeks)
    if not found:
        return nothing(forecast)
    left = np.concatenate([np.asarray(labels, dtype=bool) for _, labels in found])
    who: dict[str, int] = {}
    whose = np.array([who.setdefault(each, len(who)) for week, _ in found for each in week.ids])
    is_there = np.concatenate([week.is_there for week, _ in found])
    days = [week.day for week, _ in found]
    return Outcomes(
        np.concatenate([week.z for week, _ in found])[is_there],
        left[is_there],
        whose[is_there],
        min(days).isoformat(),
        max(days).isoformat(),
        known_on.isoformat(),
    )


def matured(
    weeks: Iterable[Standard], departures: Mapping[str, date], known_until: date
) -> list[tuple[Standard, Array]]:
    """Returns the weeks whose horizon has passed, and who left. `departures`: the day after the
    last one (a tutor's completed session, a student's day of leaving), by id; `known_until`: the
    last day of the data.
    """
    return [
        (
            week,
            np.array([leaves(week.day, departures.get(each)) for each in week.ids], dtype=bool),
        )
        for week in weeks
        if week.day + timedelta(days=HORIZON_DAYS) <= known_until
    ]

"""Worlds: platforms that differ from the ordinary one in one respect, as plain data.

Belongs here: the parameters of a world, and their values in each world.
Does not belong here: what a stage does with a parameter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Season:
    """Days of every year with an unusual load; they may run into the next year."""

    month: int
    day: int
    days: int
    load: float  # relative to an ordinary day


@dataclass(frozen=True, slots=True)
class World:
    """The parameters that stages read. The defaults are those of the ordinary world."""

    name: str
    says: str  # one line for --help
    # The default load, of all tutors together.
    sessions_per_day: int = 60
    sessions_a_week: int | None = None  # per tutor; replaces sessions_per_day
    seasons: tuple[Season, ...] = ()
    # Tutors. Of those who leave, `outside_share` go for outside reasons and `sudden_share` without
    # signs. The hazard of the others grows by exp(hazard_growth) from burnout 0 to 1.
    alike: bool = False
    outside_share: float = 0.25
    sudden_share: float = 0.0
    hazard_growth: float = 10.0
    late_days: int = 0  # burnout shows only in this many days before leaving; 0: no such limit
    # Students: factors on the rates of leaving after a session, and of leaving by staying away
    # (see students.py).
    leaving_at_once: float = 1.0
    drifting_away: float = 1.0
    # Records.
    unrecorded: tuple[str, ...] = ()  # tables without a row
    leaked_hours: float = 0.0  # added to reply times of tutors who leave within LEAKED_DAYS

    def load_on(self, dates: NDArray[Any]) -> NDArray[Any]:
        """Returns the load of dates relative to ordinary ones. Of two seasons, the last counts."""
        dates = dates.astype("M8[D]")
        load = np.ones(len(dates))
        if not self.seasons or not len(dates):
            return load
        years = np.arange(dates.min().astype("M8[Y]") - 1, dates.max().astype("M8[Y]") + 1)
        for season in self.seasons:
            first = years.astype("M8[M]") + (season.month - 1)
            first = first.astype("M8[D]") + (season.day - 1)
            since = dates - first[np.searchsorted(first, dates, side="right") - 1]
            load[since.astype(np.int64) < season.days] = season.load
        return load


LEAKED_DAYS = 30

ORDINARY = World("ordinary", "tutors and students as they are")

WORLDS = {
    world.name: world
    for world in (
        ORDINARY,
        World(
            "sparse",
            "no availability, billing or engagement is recorded",
            unrecorded=(
                "tutor_availability",
                "session_billing",
                "engagement_events",
                "session_audio_metrics",
                "session_video_metrics",
                "session_screen_metrics",
                "session_transcript_metrics",
                "session_transcript_highlights",
            ),
        ),
        World(
            "late",
            "burnout shows in the ten days before leaving only",
            hazard_growth=0.0,
            late_days=10,
        ),
        World(
            "seasonal",
            "holidays and exam weeks (make it a year: --days 400)",
            seasons=(
                Season(12, 20, 14, 0.45),
                Season(7, 11, 14, 0.45),
                Season(5, 1, 14, 1.40),
                Season(12, 1, 14, 1.40),
            ),
        ),
        World("sudden", "a third of those who leave show no signs", sudden_share=1 / 3),
        World(
            "drift",
            "students leave by staying away",
            leaving_at_once=0.03,
            drifting_away=3.5,
        ),
        World("flat", "all tutors are alike: what differs is chance", alike=True, outside_share=1),
        World("busy", "twenty sessions per tutor and week", sessions_a_week=20),
        World(
            "leaky",
            "reply times know who will leave within 30 days",
            leaked_hours=4.0,
        ),
    )
}

"""Worlds: platforms that differ from the ordinary one in a single respect, as plain data.

Belongs here: the knobs, and what they are set to in each world.
Does not belong here: what a stage makes of a knob.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Season:
    """Days of every year with another load than usual; they may run into the next year."""

    month: int
    day: int
    days: int
    load: float  # relative to an ordinary day


@dataclass(frozen=True, slots=True)
class World:
    """The knobs that stages read. The defaults are those of the ordinary world."""

    name: str
    says: str  # in one line, for --help
    # Of the sessions of all tutors, where nobody says how many there are.
    sessions_per_day: int = 60
    sessions_a_week: int | None = None  # per tutor, instead
    seasons: tuple[Season, ...] = ()
    # Tutors. Of those who leave, some go for outside reasons, and some for the work though
    # nothing shows before; the rest with a hazard that grows by exp(…) from burnout 0 to 1.
    alike: bool = False
    outside_share: float = 0.25
    sudden_share: float = 0.0
    hazard_growth: float = 10.0
    late_days: int = 0  # burnout shows in so many days before leaving only; 0: as it comes
    # Students: how often they leave after a session, and how often by staying away, both
    # relative to what they would do for a reason that they have (see students.py).
    leaving_at_once: float = 1.0
    drifting_away: float = 1.0
    # Records.
    unrecorded: tuple[str, ...] = ()  # tables without a row
    leaked_hours: float = 0.0  # in reports of those who leave within LEAKED_DAYS

    def load_on(self, dates: NDArray[Any]) -> NDArray[Any]:
        """Load of these dates relative to ordinary ones; the last of two seasons counts."""
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

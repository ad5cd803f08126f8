"""The parameters of a population.

Belongs here: sizes, the seed, the switches, and their validation.
Does not belong here: what the population looks like inside (personas.py, sessions.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import date
from typing import Any, cast

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.sources.synthetic.worlds import ORDINARY, WORLDS, World

# Dates around the window (experience, enrolment) must stay within the range of every consumer.
EARLIEST_END, LATEST_END = date(1990, 1, 1), date(2100, 1, 1)

# Default of sessions_per_day: replaced by the load of the world.
_AS_USUAL: int = cast(int, None)

LIMITS = {
    "tutors": (1, 1_000_000),
    "days": (1, 3_660),
    "sessions_per_day": (1, 1_000_000),
    "seed": (0, 2**63 - 1),
}


@dataclass(frozen=True, slots=True)
class Parameters:
    """Arguments of `generate`. `end` is the last day with sessions that have taken place.

    `sessions_per_day` defaults to the load of the world.
    """

    end: date
    tutors: int = 150
    days: int = 90
    sessions_per_day: int = _AS_USUAL
    seed: int = 7
    engagement_events: bool = True
    interventions: bool = True
    experiments: bool = True
    world: str = ORDINARY.name

    def __post_init__(self) -> None:
        """Raises UsageError for a value that no population can have."""
        if self.world not in WORLDS:
            raise UsageError(f"--world is '{self.world}', but it must be one of {_listed(WORLDS)}.")
        if self.sessions_per_day is _AS_USUAL:
            object.__setattr__(self, "sessions_per_day", self._usual_load())
        for name, (least, most) in LIMITS.items():
            value = getattr(self, name)
            if not least <= value <= most:
                option = "--" + name.replace("_", "-")
                raise UsageError(f"{option} is {value}, but it must be between {least} and {most}.")
        if not EARLIEST_END <= self.end <= LATEST_END:
            raise UsageError(
                f"--end is {self.end}, but it must be between {EARLIEST_END} and {LATEST_END}."
            )

    @property
    def knobs(self) -> World:
        """The parameters of the world."""
        return WORLDS[self.world]

    def _usual_load(self) -> int:
        """Returns the default sessions per day of the world."""
        per_week = self.knobs.sessions_a_week
        if per_week is None:
            return self.knobs.sessions_per_day
        return max(round(self.tutors * per_week / 7), 1)

    @classmethod
    def preset(cls, mode: str, end: date, **changes: Any) -> Parameters:
        """Returns the parameters of a named mode, with `changes` applied. Raises UsageError."""
        if mode not in PRESETS:
            raise UsageError(f"--mode is '{mode}', but it must be one of {_listed(PRESETS)}.")
        unknown = changes.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise UsageError(f"Unknown parameter: {', '.join(sorted(unknown))}.")
        wanted = {**PRESETS[mode], **changes}
        # A world with a load of its own keeps it, unless `changes` sets the load.
        world = WORLDS.get(wanted.get("world", ORDINARY.name))
        if world and world.sessions_a_week and "sessions_per_day" not in changes:
            del wanted["sessions_per_day"]
        return cls(end=end, **wanted)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


PRESETS: dict[str, dict[str, Any]] = {
    # Small enough to read: about 1,000 sessions.
    "dev": {"tutors": 25, "days": 14, "sessions_per_day": 72},
    # A load test, not an ordinary month: 22,500 sessions, five a day per tutor.
    "production": {"tutors": 150, "days": 30, "sessions_per_day": 750},
}

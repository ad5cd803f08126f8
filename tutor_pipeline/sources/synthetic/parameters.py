"""What a population is asked to be.

Belongs here: sizes, the seed, the switches, and the check that they make sense.
Does not belong here: what the population looks like inside (personas.py, sessions.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import date
from typing import Any, cast

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.sources.synthetic.worlds import ORDINARY, WORLDS, World

# Dates around the window (experience, enrolment) must stay within what every consumer can hold.
EARLIEST_END, LATEST_END = date(1990, 1, 1), date(2100, 1, 1)

# Stands for the load of the world until it is known which that is; nobody else has this object.
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

    Without `sessions_per_day` there are as many as the world has.
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
        """Raise UsageError for a value that no population can have."""
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
        """What makes the world what it is."""
        return WORLDS[self.world]

    def _usual_load(self) -> int:
        """Sessions per day where nobody has said how many: what the world has."""
        per_week = self.knobs.sessions_a_week
        if per_week is None:
            return self.knobs.sessions_per_day
        return max(round(self.tutors * per_week / 7), 1)

    @classmethod
    def preset(cls, mode: str, end: date, **changes: Any) -> Parameters:
        """The parameters of a named mode, with `changes` on top. Raises UsageError."""
        if mode not in PRESETS:
            raise UsageError(f"--mode is '{mode}', but it must be one of {_listed(PRESETS)}.")
        unknown = changes.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise UsageError(f"Unknown parameter: {', '.join(sorted(unknown))}.")
        wanted = {**PRESETS[mode], **changes}
        # A world that has a load of its own keeps it, unless that of the sessions is asked for.
        world = WORLDS.get(wanted.get("world", ORDINARY.name))
        if world and world.sessions_a_week and "sessions_per_day" not in changes:
            del wanted["sessions_per_day"]
        return cls(end=end, **wanted)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


PRESETS: dict[str, dict[str, Any]] = {
    # Small enough to read, ≈ 1,000 sessions.
    "dev": {"tutors": 25, "days": 14, "sessions_per_day": 72},
    # A load, not an ordinary month: 22,500 sessions, five a day for every tutor.
    "production": {"tutors": 150, "days": 30, "sessions_per_day": 750},
}

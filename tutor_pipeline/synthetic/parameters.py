"""What a population is asked to be.

Belongs here: sizes, the seed, the switches, and the check that they make sense.
Does not belong here: what the population looks like inside (personas.py, sessions.py).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import date
from typing import Any

from tutor_pipeline.errors import UsageError

# Dates around the window (experience, enrolment) must stay within what every consumer can hold.
EARLIEST_END, LATEST_END = date(1990, 1, 1), date(2100, 1, 1)

LIMITS = {
    "tutors": (1, 1_000_000),
    "days": (1, 3_660),
    "sessions_per_day": (1, 1_000_000),
    "seed": (0, 2**63 - 1),
}


@dataclass(frozen=True, slots=True)
class Parameters:
    """Arguments of `generate`. `end` is the last day with sessions that have taken place."""

    end: date
    tutors: int = 150
    days: int = 90
    sessions_per_day: int = 60
    seed: int = 7
    engagement_events: bool = True
    interventions: bool = True
    experiments: bool = True

    def __post_init__(self) -> None:
        """Raise UsageError for a value that no population can have."""
        for name, (least, most) in LIMITS.items():
            value = getattr(self, name)
            if not least <= value <= most:
                option = "--" + name.replace("_", "-")
                raise UsageError(f"{option} is {value}, but it must be between {least} and {most}.")
        if not EARLIEST_END <= self.end <= LATEST_END:
            raise UsageError(
                f"--end is {self.end}, but it must be between {EARLIEST_END} and {LATEST_END}."
            )

    @classmethod
    def preset(cls, mode: str, end: date, **changes: Any) -> Parameters:
        """The parameters of a named mode, with `changes` on top. Raises UsageError."""
        if mode not in PRESETS:
            raise UsageError(f"--mode is '{mode}', but it must be one of {', '.join(PRESETS)}.")
        unknown = changes.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise UsageError(f"Unknown parameter: {', '.join(sorted(unknown))}.")
        return replace(cls(end=end, **PRESETS[mode]), **changes)


PRESETS: dict[str, dict[str, Any]] = {
    # Small enough to read, ≈ 1,000 sessions.
    "dev": {"tutors": 25, "days": 14, "sessions_per_day": 72},
    # A load, not an ordinary month: 22,500 sessions, five a day for every tutor.
    "production": {"tutors": 150, "days": 30, "sessions_per_day": 750},
}

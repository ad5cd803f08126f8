"""What became of critical alerts, beside the goals: what pages, commands and the digest share.

An act is an acknowledgement with a note, an owner, an excuse, a note at the alert, or a resolution
by hand, before the alert ended. An alert that only ended by itself had none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tutor_pipeline.core.findings import BY_HAND
from tutor_pipeline.core.formatting import count, percent
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.statements import statement

DAYS = 30
"""Alerts that ended in so many days are looked at."""
ACTED_ON, HOURS, NOT_ACTIONABLE = 0.70, 24, 0.15
"""The goals: at least this share acted on, fewer hours to acknowledge on average, a smaller share
not actionable.
"""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Of critical alerts of a type (None: of all) that `ended`: how many were `acted_on`, resolved
    as `not_actionable`, `acknowledged`, and the mean of the hours until then.
    """

    alert_type: str | None
    ended: int
    acted_on: int
    not_actionable: int
    acknowledged: int
    mean_hours_to_acknowledge: float | None

    @property
    def acted_on_share(self) -> float | None:
        """Of those that ended; None where none did."""
        return self.acted_on / self.ended if self.ended else None

    @property
    def not_actionable_share(self) -> float | None:
        """Of those that ended; None where none did."""
        return self.not_actionable / self.ended if self.ended else None

    @property
    def sentences(self) -> list[tuple[str, bool | None]]:
        """Each figure in words, with n and goal, and whether that is met (None: unknown)."""
        if not self.ended:
            return []
        assert self.acted_on_share is not None
        assert self.not_actionable_share is not None
        hours = self.mean_hours_to_acknowledge
        return [
            (
                f"{self.acted_on:,} of {self.ended:,} acted on"
                f" ({percent(round(100 * self.acted_on_share, 1))};"
                f" goal: {percent(100 * ACTED_ON)} or more)",
                self.acted_on_share >= ACTED_ON,
            ),
            (
                "none acknowledged"
                if hours is None
                else f"acknowledged after {hours:.1f} hours on average, of"
                f" {self.acknowledged:,} (goal: under {HOURS})",
                None if hours is None else hours < HOURS,
            ),
            (
                f"{self.not_actionable:,} not actionable"
                f" ({percent(round(100 * self.not_actionable_share, 1))}; goal: under"
                f" {percent(100 * NOT_ACTIONABLE)})",
                self.not_actionable_share < NOT_ACTIONABLE,
            ),
        ]

    @property
    def headline(self) -> str:
        """How many there are."""
        number = count(self.ended, "critical alert") if self.ended else "No critical alert"
        return f"{number} ended in {DAYS} days"


def read(database: Database, until: datetime) -> tuple[Outcomes, list[Outcomes]]:
    """Returns the outcomes of all critical alerts that ended in the DAYS before a moment, and of
    each type, that with the most first.
    """
    rows = database.rows(
        statement(__file__, "outcomes"),
        {"since": until - timedelta(days=DAYS), "until": until, "by_hand": sorted(BY_HAND)},
    )
    found = [Outcomes(**row) for row in rows]
    everything = next((each for each in found if each.alert_type is None), None)
    return everything or Outcomes(None, 0, 0, 0, 0, None), [
        each for each in found if each.alert_type is not None
    ]

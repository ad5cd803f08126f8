"""The segment of a tutor or a student, from health and burnout, with hysteresis.

Belongs here: the boundaries, in the order in which they are tried, and their margins.
Does not belong here: how health and burnout are computed (`health`).

The current segment says on which side of each boundary somebody is. Changing sides takes more than
`margin` beyond the boundary. Without a current segment the boundary alone decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class TutorSegment(StrEnum):
    """The segments of tutors, in the order in which they are tried. Healthy is the rest."""

    CHURNING = "churning"
    AT_RISK = "at_risk"
    STAR = "star"
    HEALTHY = "healthy"


class StudentSegment(StrEnum):
    """The segments of students, in the order in which they are tried. Healthy is the rest."""

    CHURNED = "churned"
    CHURN_INFERRED = "churned (inferred)"
    AT_RISK = "at_risk"
    THRIVING = "thriving"
    HEALTHY = "healthy"


@dataclass(frozen=True, slots=True)
class Held:
    """The segment that somebody is in, and since when."""

    segment: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Boundary:
    """A limit, and how far beyond it (in the value's unit) a value has to be to change sides."""

    limit: float
    margin: float

    def is_above(self, value: float, was: bool | None = None) -> bool:
        """Returns whether the value is above; `was` is the answer before, None without one."""
        return self._passes(value - self.limit, was)

    def is_below(self, value: float, was: bool | None = None) -> bool:
        """Returns whether the value is below; `was` is the answer before, None without one."""
        return self._passes(self.limit - value, was)

    def _passes(self, beyond: float, was: bool | None) -> bool:
        beyond = round(beyond, 9)  # 0.45 - 0.4 is 0.05
        if was is None:
            return beyond > 0
        return beyond >= -self.margin if was else beyond > self.margin


CHURNING_BURNOUT = Boundary(0.7, 0.05)
AT_RISK_BURNOUT = Boundary(0.4, 0.05)
STAR_BURNOUT = Boundary(0.2, 0.05)
LOST_HEALTH = Boundary(40, 5)
AT_RISK_HEALTH = Boundary(60, 5)
STAR_HEALTH = Boundary(80, 5)
STAR_KEPT = 0.95
"""A star stays a star while its evidence is at least this share of what is needed."""


def of_tutor(
    burnout: float | None,
    health: float | None,
    previous: TutorSegment | None = None,
    star_evidence: float | None = None,
) -> TutorSegment | None:
    """Returns the segment of a tutor; None where burnout or health is not known.

    `burnout` is burnout_risk_30d (0 to 1), `health` is health_score (0 to 100). `star_evidence` is
    the share of the evidence that a star needs (see `health.star_evidence`); None: never a star.
    """
    if burnout is None or health is None:
        return None
    # A churning tutor is beyond the boundary of at_risk, too.
    lost = _was(previous, TutorSegment.CHURNING)
    risky = _was(previous, TutorSegment.CHURNING, TutorSegment.AT_RISK)
    star = _was(previous, TutorSegment.STAR)
    if CHURNING_BURNOUT.is_above(burnout, lost) or LOST_HEALTH.is_below(health, lost):
        return TutorSegment.CHURNING
    if AT_RISK_BURNOUT.is_above(burnout, risky) or AT_RISK_HEALTH.is_below(health, risky):
        return TutorSegment.AT_RISK
    if (
        STAR_BURNOUT.is_below(burnout, star)
        and STAR_HEALTH.is_above(health, star)
        and star_evidence is not None
        and star_evidence >= (STAR_KEPT if star else 1)
    ):
        return TutorSegment.STAR
    return TutorSegment.HEALTHY


def of_student(
    health: float | None,
    status: str | None,
    previous: StudentSegment | None = None,
    *,
    is_churn_inferred: bool = False,
) -> StudentSegment | None:
    """Returns the segment of a student; None where health is not known.

    The platform's status `churned` counts at once, whatever the health. Where the platform has no
    status, marts.student_aggregates may infer that a student left, which is a segment of its own.
    Health alone makes nobody churned.
    """
    if status == StudentSegment.CHURNED:
        return StudentSegment.CHURNED
    if is_churn_inferred:
        return StudentSegment.CHURN_INFERRED
    if health is None:
        return None
    risky = _was(
        previous,
        StudentSegment.CHURNED,
        StudentSegment.CHURN_INFERRED,
        StudentSegment.AT_RISK,
    )
    thriving = _was(previous, StudentSegment.THRIVING)
    if AT_RISK_HEALTH.is_below(health, risky):
        return StudentSegment.AT_RISK
    if STAR_HEALTH.is_above(health, thriving):
        return StudentSegment.THRIVING
    return StudentSegment.HEALTHY


def _was(previous: StrEnum | None, *segments: StrEnum) -> bool | None:
    return None if previous is None else previous in segments

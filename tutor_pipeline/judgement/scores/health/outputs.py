"""An output with its reasons, or the reason why there is none.

Belongs here: what outputs of tutors and of students have in common.
Does not belong here: any single output (`tutors`, `students`).
"""

from __future__ import annotations

from tutor_pipeline.core.formatting import agree, count
from tutor_pipeline.judgement.scores.health.parts import MINIMUM, Values, Weighed
from tutor_pipeline.judgement.scores.score import Reason, Status, most_telling_first

Output = tuple[float | None, tuple[Reason, ...]]
"""A value (None: too little is known) and the reasons for it."""


def health_of(weighed: Weighed, too_few: Reason | None) -> Output:
    """Returns the health, 0 to 100. `too_few`: why there can be none."""
    if too_few is not None:
        return None, (too_few,)
    if weighed.weight < MINIMUM.known_weight:
        return None, too_little_known(weighed)
    return round(100 * weighed.mean, 6), weighed.points()


def too_few(values: Values, name: str, needed: float, noun: str, when: str) -> Reason | None:
    """Returns why there is no output, where a count is below what is needed; else None."""
    seen = values[name]
    if seen is not None and seen >= needed:
        return None
    found = f"{count(int(seen or 0), noun)} {when}"
    verb = agree(needed, "is", "are")
    label = f"Too little to tell: {found}, {needed:,.0f} {verb} needed"
    return Reason("too_few", label, seen, float(needed), None if seen is None else int(seen), 0.0)


def too_little_known(weighed: Weighed) -> tuple[Reason, ...]:
    """Returns why there is no output, where too little of the weight is known."""
    needed = MINIMUM.known_weight
    label = f"Too little to tell: {weighed.weight:.0%} is known, {needed:.0%} are needed"
    reason = Reason("too_little_known", label, weighed.weight, needed, None, 0.0)
    return (reason, *most_telling_first(weighed.unknown))


def not_known(code: str, label: str) -> Reason:
    """Returns a reason without numbers."""
    return Reason(code, label, None, None, None, 0.0)


def status_of(value: float | None) -> Status:
    """Returns the status of a score with this value."""
    return Status.INSUFFICIENT_DATA if value is None else Status.OK

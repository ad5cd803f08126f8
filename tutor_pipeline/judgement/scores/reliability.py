"""reliability_v1: how reliable a tutor was in the last 30 days.

Belongs here: the levels of no-shows, reschedules and late starts.
Does not belong here: counting them (dbt).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tutor_pipeline.core.formatting import count
from tutor_pipeline.judgement.scores.score import (
    Level,
    Reason,
    Row,
    Score,
    Status,
    Target,
    input_hash,
    most_telling_first,
    number,
)

SCORER = "reliability_v1"
VERSION = "2"
HORIZON_DAYS = 30
READS = (
    "tutor_id",
    "no_show_tutor_30d",
    "no_show_tutor_30d_n",
    "tutor_reschedules_30d",
    "reschedule_rate_30d_n",
    "late_count_30d",
    "late_count_30d_n",
)


@dataclass(frozen=True, slots=True)
class Measure:
    """One count over 30 days, its exposure, and the counts from which it is Medium or High."""

    code: str
    metric: str
    exposure: str
    medium: int
    high: int
    what: str


MEASURES = (
    Measure("no_shows", "no_show_tutor_30d", "no_show_tutor_30d_n", 1, 2, "no-show"),
    Measure("reschedules", "tutor_reschedules_30d", "reschedule_rate_30d_n", 2, 4, "reschedule"),
    Measure("late_starts", "late_count_30d", "late_count_30d_n", 2, 4, "late start"),
)
CONTRIBUTION = {Level.HIGH: 0.33, Level.MEDIUM: 0.1, Level.LOW: 0.0}
"""What a measure adds to the score. One High adds more than three Mediums, so a higher level always
has a higher score.
"""


def score(rows: Iterable[Row]) -> list[Score]:
    """Returns a score per row (columns as in `READS`), in order; the level is the worst of any
    measure.

    The score is the sum of the contributions: 0 is Low, 0.1 to 0.3 Medium, 0.33 to 0.99 High. It
    only ranks. A measure that is NULL or has no exposure is not evaluated, and a reason says so.
    Where none is evaluated the status is `insufficient_data`.
    """
    return [_score(row) for row in rows]


def _score(row: Row) -> Score:
    inputs = {name: number(row, name) for name in READS[1:]}
    reasons = []
    known = []
    for measure in MEASURES:
        value, n = inputs[measure.metric], inputs[measure.exposure]
        if value is None or not n:
            label = f"{measure.what.capitalize()}s: unknown, not recorded or no session in 30 days"
            reasons.append(Reason(measure.code, label, None, None, None, 0.0))
            continue
        level, least = _level(measure, value)
        known.append(level)
        if level is not Level.LOW:
            label = (
                f"{count(int(value), measure.what)} in {count(int(n), 'session')} of 30 days:"
                f" {level.lower()} from {least}"
            )
            contribution = CONTRIBUTION[level]
            reasons.append(Reason(measure.code, label, value, least, int(n), contribution))
    return Score(
        subject_id=str(row["tutor_id"]),
        scorer=SCORER,
        version=VERSION,
        target=Target.TUTOR_RELIABILITY,
        horizon_days=HORIZON_DAYS,
        score=round(sum(reason.contribution for reason in reasons), 6) if known else None,
        is_probability=False,
        level=max(known, key=list(Level).index) if known else None,
        reasons=most_telling_first(reasons),
        status=Status.OK if known else Status.INSUFFICIENT_DATA,
        input_hash=input_hash(SCORER, VERSION, inputs),
    )


def _level(measure: Measure, value: float) -> tuple[Level, int]:
    """Returns the measure's level, and the count from which it has that level."""
    if value >= measure.high:
        return Level.HIGH, measure.high
    if value >= measure.medium:
        return Level.MEDIUM, measure.medium
    return Level.LOW, 0

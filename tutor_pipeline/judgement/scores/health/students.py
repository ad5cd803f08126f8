"""student_health_v1: the health of a student.

Belongs here: the health of students who have not left, and why the others have none.
Does not belong here: the parts (`parts`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tutor_pipeline.core.formatting import count
from tutor_pipeline.judgement.scores.health.outputs import (
    Output,
    health_of,
    not_known,
    status_of,
    too_few,
)
from tutor_pipeline.judgement.scores.health.parts import (
    MINIMUM,
    STUDENT_HEALTH,
    Values,
    reads_of,
    weigh,
)
from tutor_pipeline.judgement.scores.score import Reason, Row, Score, Target, input_hash, number
from tutor_pipeline.judgement.scores.segments import StudentSegment

STUDENT_SCORER = "student_health_v1"
STUDENT_VERSION = "2"
CHURN_SCORE = "churn_score"

STUDENT_READS = reads_of(
    STUDENT_HEALTH,
    ("is_churn_inferred", "sessions_completed_all", "status", "usual_gap_days"),
    (CHURN_SCORE,),
)
"""The columns of student_aggregates that are read, besides student_id."""

_NO_NUMBERS = ("is_churn_inferred", "status")


@dataclass(frozen=True, slots=True)
class StudentHealth:
    """The health of one student (0 to 100), the platform's status, whether it is inferred that the
    student left, and the numbers behind the health. The health is None where too little is known
    and where the student has left or is taken to have left.
    """

    student_id: str
    health_score: float | None
    status: str | None
    is_churn_inferred: bool
    values: Values
    scores: tuple[Score, ...]


def assess_students(
    rows: Iterable[Row], churn_scores: Mapping[str, float | None]
) -> list[StudentHealth]:
    """Returns the health of each student, in the order of the rows; rows have student_id and
    `STUDENT_READS`. `churn_scores` are those of weighted_v1 by student.
    """
    return [_assessed(row, churn_scores.get(str(row["student_id"]))) for row in rows]


def _assessed(row: Row, churn_score: float | None) -> StudentHealth:
    student_id = str(row["student_id"])
    status = None if row["status"] is None else str(row["status"])
    is_inferred = bool(row["is_churn_inferred"])
    values = {name: number(row, name) for name in STUDENT_READS if name not in _NO_NUMBERS}
    values[CHURN_SCORE] = None if churn_score is None else round(churn_score, 9)
    made_from = input_hash(
        STUDENT_SCORER,
        STUDENT_VERSION,
        {**values, "status": status, "is_churn_inferred": is_inferred},
    )
    value, reasons = _health(values, status, is_inferred)
    score = Score(
        student_id,
        STUDENT_SCORER,
        STUDENT_VERSION,
        Target.HEALTH,
        0,
        value,
        is_probability=False,
        level=None,
        reasons=reasons,
        status=status_of(value),
        input_hash=made_from,
    )
    return StudentHealth(student_id, value, status, is_inferred, values, (score,))


def _health(values: Values, status: str | None, is_churn_inferred: bool) -> Output:
    if status == StudentSegment.CHURNED:
        return None, (not_known("churned", "The student has left"),)
    if is_churn_inferred:
        return None, (_silence(values),)
    reason = too_few(
        values, "sessions_completed_all", MINIMUM.student_sessions, "session", "completed"
    )
    return health_of(weigh(STUDENT_HEALTH, values), reason)


def _silence(values: Values) -> Reason:
    days, gap = values["days_since_last_session"], values["usual_gap_days"]
    label = (
        f"Taken to have left: no session for {count(round(days or 0), 'day')}, one every"
        f" {gap:,.0f} is usual"
    )
    return Reason("churn_inferred", label, days, gap, None, 0.0)

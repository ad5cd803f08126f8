"""weighted_v1: the churn score of students, a weighted mean of seven factors.

Belongs here: the risk that each factor makes of a metric, the score and its reasons, and the
students at risk of each tutor.
Does not belong here: the weights (`churn_weights`), fitting them (`refinement`), the metrics (dbt).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tutor_pipeline.judgement.scores.churn_weights import Levels, Weights
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

SCORER = "weighted_v1"
HORIZON_DAYS = 30
Values = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Factor:
    """One risk of 0 to 1, computed from a metric of marts.student_aggregates.

    `reference` is the metric's value at which the risk is 0. `n` is the column that counts the
    observations behind the metric (0: not known); None: the metric is of one session.
    """

    label: str
    metric: str
    n: str | None
    reference: float
    risk: Callable[[float], float]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return (self.metric,) if self.n is None else (self.metric, self.n)


FACTORS: Mapping[str, Factor] = {
    "first_session_satisfaction": Factor(
        "Satisfaction with the first session",
        "first_session_satisfaction",
        None,
        10,
        lambda satisfaction: 1 - satisfaction / 10,
    ),
    "sessions_completed": Factor(
        "Completed sessions",
        "sessions_completed_all",
        "sessions_all",
        20,
        lambda sessions: 1 - min(sessions / 20, 1),
    ),
    "avg_session_score": Factor(
        "Average session score of 90 days",
        "avg_session_score_90d",
        "scored_sessions_90d",
        10,
        lambda score: 1 - score / 10,
    ),
    "tutor_consistency": Factor(
        "Tutors so far",
        "distinct_tutors_all",
        "sessions_all",
        2,
        lambda tutors: min(0.15 * max(tutors - 2, 0), 1),
    ),
    # Engagement is 0 to 10, so it falls by 10 at most.
    "engagement_trend": Factor(
        "Fall of engagement over 30 days",
        "engagement_fall_30d",
        "avg_engagement_30d_n",
        0,
        lambda fall: max(fall, 0) / 10,
    ),
    "scheduling_issues": Factor(
        "Share of sessions of 90 days rescheduled or missed",
        "scheduling_issue_rate_90d",
        "sessions_90d",
        0,
        lambda share: share,
    ),
    "price_sensitivity": Factor(
        "Share of discounted sessions of 90 days",
        "discount_share_90d",
        "discount_share_90d_n",
        0,
        lambda share: share,
    ),
}
METRICS: tuple[str, ...] = tuple(
    dict.fromkeys(column for factor in FACTORS.values() for column in factor.columns)
)
"""The columns that the factors read."""

READS: tuple[str, ...] = ("student_id", "status", "is_churn_inferred", "tutor_ids", *METRICS)
"""The columns of marts.student_aggregates that are read."""


class TutorStudents(NamedTuple):
    """A row of ops.tutor_student_churn without its as_of. `student_ids` are those at high risk."""

    tutor_id: str
    students: int
    students_at_high_risk: int
    student_ids: list[str]


def score(rows: Iterable[Row], weights: Weights) -> list[Score]:
    """Returns a score per student who has not left or been taken to have left, in the order of the
    rows, with the levels of this version of the weights.

    Raises ValueError when the weights name an unknown factor.
    """
    if unknown := weights.weights.keys() - FACTORS:
        raise ValueError(
            f"version {weights.version} of the weights has unknown factors:"
            f" {', '.join(sorted(unknown))}"
        )
    return [_score(row, weights) for row in rows if not has_left(row)]


def has_left(row: Row) -> bool:
    """Returns whether the student has left, or is taken to have left."""
    return row["status"] == "churned" or bool(row["is_churn_inferred"])


def risks(row: Row) -> dict[str, float | None]:
    """Returns the risk (0 to 1) by factor for one student; None where it is not known."""
    values = _values(row)
    return {name: _risk(values, factor) for name, factor in FACTORS.items()}


def at_risk_by_tutor(scores: Iterable[Score], rows: Iterable[Row]) -> list[TutorStudents]:
    """Returns, per tutor with students of the last 90 days who have not left, those at high risk.

    `scores` may be any scorer's, for all or some of the students. Rows are ordered by tutor, the
    students of each by risk, highest first.
    """
    said = {each.subject_id: each for each in scores}
    students: dict[str, list[Score | None]] = {}
    for row in rows:
        if not has_left(row):
            for tutor_id in row["tutor_ids"]:  # type: ignore[attr-defined]
                students.setdefault(tutor_id, []).append(said.get(str(row["student_id"])))
    return [
        TutorStudents(tutor_id, len(found), len(high), high)
        for tutor_id, found in sorted(students.items())
        for high in [_at_high_risk([each for each in found if each is not None])]
    ]


def _at_high_risk(scores: list[Score]) -> list[str]:
    high = [each for each in scores if each.level is Level.HIGH]
    high.sort(key=lambda each: (-(each.score or 0), each.subject_id))
    return [each.subject_id for each in high]


def _values(row: Row) -> Values:
    return {column: number(row, column) for column in METRICS}


def _observations(values: Values, factor: Factor) -> int:
    if factor.n is None:
        return int(values[factor.metric] is not None)
    return int(values[factor.n] or 0)


def _risk(values: Values, factor: Factor) -> float | None:
    value = values[factor.metric]
    if value is None or not _observations(values, factor):
        return None
    return round(min(max(factor.risk(value), 0), 1), 9)


def _score(row: Row, weights: Weights) -> Score:
    values = _values(row)
    weighed = {name: weight for name, weight in weights.weights.items() if weight > 0}
    known = {name: risk for name in weighed if (risk := _risk(values, FACTORS[name])) is not None}
    total = sum(weighed[name] for name in sorted(known))
    contributions = {name: weighed[name] / total * risk for name, risk in known.items()}
    value = round(sum(contributions[name] for name in sorted(known)), 6) if known else None
    return Score(
        subject_id=str(row["student_id"]),
        scorer=SCORER,
        version=str(weights.version),
        target=Target.STUDENT_CHURN,
        horizon_days=HORIZON_DAYS,
        score=value,
        is_probability=False,
        level=None if value is None else _level(value, weights.levels),
        reasons=most_telling_first(
            _reason(values, name, contributions.get(name))
            for name in weighed
            if contributions.get(name) != 0
        ),
        status=Status.INSUFFICIENT_DATA if value is None else Status.OK,
        input_hash=input_hash(SCORER, str(weights.version), values),
    )


def _level(value: float, levels: Levels) -> Level:
    if value >= levels.high_from:
        return Level.HIGH
    return Level.MEDIUM if value >= levels.medium_from else Level.LOW


def _reason(values: Values, name: str, contribution: float | None) -> Reason:
    factor = FACTORS[name]
    if contribution is None:
        label = f"{factor.label}: unknown, its weight is shared out"
        return Reason(name, label, None, factor.reference, _observations(values, factor), 0.0)
    return Reason(
        name,
        factor.label,
        values[factor.metric],
        factor.reference,
        _observations(values, factor),
        round(contribution, 9),
    )

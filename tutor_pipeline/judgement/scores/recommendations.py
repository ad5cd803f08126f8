"""What follows from health: segments and recommendations, as rows of the tables of health.

Belongs here: applying recommendations.yml, the rows of ops.tutor_health and ops.student_health.
Does not belong here: alerts (`rules`), writing to the database (`storage`).
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import model_validator

from tutor_pipeline.core.thresholds import fill
from tutor_pipeline.core.yaml_models import CODES, Coded, YamlModel, read_yaml
from tutor_pipeline.judgement.scores import segments
from tutor_pipeline.judgement.scores.health import StudentHealth, TutorHealth, Usual, star_evidence
from tutor_pipeline.judgement.scores.score import Level
from tutor_pipeline.judgement.scores.segments import Held, StudentSegment, TutorSegment

SEGMENT = "segment"
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "=": operator.eq,
}


class Trigger(Coded):
    """A recommendation, and the metric and threshold that trigger it."""

    metric: str
    op: Literal[">", ">=", "<", "="]
    threshold: int | float | str
    text: str

    @model_validator(mode="after")
    def _comparable(self) -> Self:
        if isinstance(self.threshold, str) != (self.metric == SEGMENT):
            raise ValueError(f"{self.threshold!r} is no threshold of {self.metric}")
        fill(self.text, {self.metric: self.threshold})
        return self

    @property
    def says(self) -> str:
        """The text with its threshold, which it may name as `{threshold.<metric>}`."""
        return fill(self.text, {self.metric: self.threshold})


class _Catalogue(YamlModel):
    """The content of recommendations.yml."""

    tutors: Annotated[dict[str, Trigger], CODES]
    students: Annotated[dict[str, Trigger], CODES]


_CATALOGUE = read_yaml(
    Path(__file__).parent / "recommendations.yml", _Catalogue, "catalogue of recommendations"
)
FOR_TUTORS = tuple(_CATALOGUE.tutors.values())
FOR_STUDENTS = tuple(_CATALOGUE.students.values())


def recommend(
    triggers: Iterable[Trigger], metrics: Mapping[str, float | str | None]
) -> list[dict[str, Any]]:
    """Returns the recommendations that apply, in the order of the file: code, text, and trigger
    (metric, value, threshold). A metric that is None or missing triggers nothing.
    """
    return [
        {
            "code": each.code,
            "text": each.says,
            "trigger": {"metric": each.metric, "value": value, "threshold": each.threshold},
        }
        for each in triggers
        if (value := metrics.get(each.metric)) is not None
        and _OPERATORS[each.op](value, each.threshold)
    ]


def tutor_rows(
    assessed: Iterable[TutorHealth],
    held: Mapping[str, Held],
    usual: Usual,
    risks: Mapping[str, Level | None],
    as_of: datetime,
) -> list[dict[str, Any]]:
    """Returns the rows of ops.tutor_health, with recommendations as JSON text.

    `held` are the current segments by tutor, `usual` is what is usual on the platform, `risks` are
    the levels of departure_v1 (None: too little is known).
    """
    rows = []
    for tutor in assessed:
        before = held.get(tutor.tutor_id)
        segment = segments.of_tutor(
            tutor.burnout_risk_30d,
            tutor.health_score,
            None if before is None else TutorSegment(before.segment),
            star_evidence(tutor, usual, risks.get(tutor.tutor_id)),
        )
        outputs = {
            "health_score": tutor.health_score,
            "burnout_risk_14d": tutor.burnout_risk_14d,
            "burnout_risk_30d": tutor.burnout_risk_30d,
            "session_velocity": tutor.session_velocity,
            "first_session_success": tutor.first_session_success,
        }
        advice = recommend(FOR_TUTORS, {**tutor.values, **outputs, SEGMENT: segment})
        rows.append(
            {
                "tutor_id": tutor.tutor_id,
                "as_of": as_of,
                **outputs,
                **_shown(segment, before, as_of, advice),
            }
        )
    return rows


def student_rows(
    assessed: Iterable[StudentHealth], held: Mapping[str, Held], as_of: datetime
) -> list[dict[str, Any]]:
    """Returns the rows of ops.student_health, with recommendations as JSON text. `held` are the
    current segments by student.
    """
    rows = []
    for student in assessed:
        before = held.get(student.student_id)
        segment = segments.of_student(
            student.health_score,
            student.status,
            None if before is None else StudentSegment(before.segment),
            is_churn_inferred=student.is_churn_inferred,
        )
        # A student who has left needs no next session.
        has_left = segment in (StudentSegment.CHURNED, StudentSegment.CHURN_INFERRED)
        values = {} if has_left else student.values
        advice = recommend(FOR_STUDENTS, {**values, SEGMENT: segment})
        rows.append(
            {
                "student_id": student.student_id,
                "as_of": as_of,
                "health_score": student.health_score,
                **_shown(segment, before, as_of, advice),
            }
        )
    return rows


def _shown(
    segment: StrEnum | None, before: Held | None, as_of: datetime, advice: list[dict[str, Any]]
) -> dict[str, Any]:
    name = None if segment is None else str(segment)
    stays = before is not None and before.segment == name
    since = before.since if before is not None and stays else as_of
    return {
        "segment": name,
        "segment_since": None if name is None else since,
        "recommendations": json.dumps(advice, ensure_ascii=False),
    }

"""What follows from health: a segment, recommendations, and the rows that show both.

Belongs here: `recommendations.yml` applied, rows of ops.tutor_health and ops.student_health.
Does not belong here: alerts (the rules have those), writing to the database.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import yaml

from tutor_pipeline.judgement.scores import segments
from tutor_pipeline.judgement.scores.health import StudentHealth, TutorHealth, Usual, star_evidence
from tutor_pipeline.judgement.scores.score import Level
from tutor_pipeline.judgement.scores.segments import StudentSegment, TutorSegment

SEGMENT = "segment"
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "=": operator.eq,
}


@dataclass(frozen=True, slots=True)
class Trigger:
    """An entry of the catalogue: recommended when the metric is beyond the threshold."""

    code: str
    metric: str
    op: str
    threshold: float | str
    text: str


def _catalogue() -> dict[str, tuple[Trigger, ...]]:
    path = Path(__file__).parent / "recommendations.yml"
    return {
        audience: tuple(Trigger(code, **entry) for code, entry in entries.items())
        for audience, entries in yaml.safe_load(path.read_text(encoding="utf-8")).items()
    }


_CATALOGUE = _catalogue()
FOR_TUTORS = _CATALOGUE["tutors"]
FOR_STUDENTS = _CATALOGUE["students"]


class Held(Protocol):
    """A segment that somebody is in, and since when (`store.Held`)."""

    @property
    def segment(self) -> str:
        """Its name."""

    @property
    def since(self) -> datetime:
        """When it began."""


def recommend(
    triggers: Iterable[Trigger], metrics: Mapping[str, float | str | None]
) -> list[dict[str, Any]]:
    """What applies, in the catalogue's order: code, text, and the trigger (metric, value,
    threshold). A metric that is None or missing triggers nothing.
    """
    return [
        {
            "code": each.code,
            "text": each.text,
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
    """Rows of ops.tutor_health, recommendations as JSON text.

    `held` are the segments as they were before, by tutor; `usual` is what is usual on the platform;
    `risks` are the levels of the forecast of departures, None where too little is known to tell.
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
    """Rows of ops.student_health, recommendations as JSON text; `held` are the segments as they
    were before, by student.
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
        # Who has left needs no next session.
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

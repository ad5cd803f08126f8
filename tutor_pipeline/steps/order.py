"""The order of a refresh, defined once: which step makes which table, from which tables.

The assets take their dependencies from here, and the refresh after sessions its sequence. A step
depends only on tables of earlier steps; a test compares the assets with this.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Step(StrEnum):
    """The steps, in their order."""

    TAKE = "take"
    BUILD = "build"
    CHECK = "check"
    SCORE = "score"
    JUDGE = "judge"
    TELL = "tell"
    SETTLE = "settle"


METRICS = (
    "marts/tutor_aggregates",
    "marts/dim_tutors",
    "marts/fct_sessions",
    "marts/fct_session_students",
    "ops/quarantine",
    "staging/session_rows",
    "intermediate/int_tutor_days",
)
"""The tables behind every metric of a tutor."""

_OF_TUTORS = (
    "marts/tutor_aggregates",
    "marts/dim_tutors",
    "marts/fct_sessions",
    "ops/quarantine",
)
_OF_EVIDENCE = ("marts/tutor_features", "marts/tutor_evidence")
_OF_STUDENTS = ("marts/student_aggregates", "marts/student_evidence")
_JUDGED = (*_OF_TUTORS, "ops/current_tutor_risk", "ops/tutor_student_churn")

SCORES_REST_ON = (
    *METRICS,
    *_OF_EVIDENCE,
    *_OF_STUDENTS,
    "marts/dim_students",
)
"""While a blocking check of one of these tables fails, no score is made."""

FINDINGS_REST_ON = (*METRICS, "ops/current_tutor_risk")
"""While a blocking check of one of these tables fails, no finding is made."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the pipeline: the step that makes it, and the tables it is made from."""

    step: Step
    rests_on: tuple[str, ...]


TABLES = {
    "ops/quarantine": Table(Step.CHECK, ("staging/session_rows",)),
    "ops/churn_algorithm_weights": Table(Step.SCORE, ()),
    "ops/score_references": Table(Step.SCORE, (*_OF_EVIDENCE, *_OF_TUTORS)),
    "ops/tutor_scores": Table(Step.SCORE, ("ops/model_versions", *_OF_EVIDENCE, *_OF_TUTORS)),
    "ops/current_tutor_risk": Table(
        Step.SCORE, ("ops/model_versions", "marts/tutor_evidence", *_OF_TUTORS)
    ),
    "ops/tutor_health": Table(Step.SCORE, (*_OF_EVIDENCE, *_OF_TUTORS)),
    "ops/student_scores": Table(
        Step.SCORE,
        ("ops/churn_algorithm_weights", "ops/model_versions", *_OF_STUDENTS, *_OF_TUTORS),
    ),
    "ops/tutor_student_churn": Table(
        Step.SCORE, ("ops/model_versions", *_OF_STUDENTS, *_OF_TUTORS)
    ),
    "ops/student_health": Table(
        Step.SCORE, ("ops/churn_algorithm_weights", "marts/student_aggregates", *_OF_TUTORS)
    ),
    "ops/alerts": Table(Step.JUDGE, _JUDGED),
    # An open alert may suppress an insight that says the same.
    "ops/tutor_insights": Table(Step.JUDGE, (*_JUDGED, "ops/alerts")),
    "ops/achievements": Table(Step.JUDGE, _JUDGED),
    # All findings are made and messages noted: the ledger can settle.
    "ops/session_ledger": Table(
        Step.SETTLE, ("ops/alerts", "ops/tutor_insights", "ops/achievements")
    ),
}
"""The tables that a refresh makes besides the dbt models, in order."""

MODELS_OF_A_TUTOR = {
    "session_rows": "staging",
    "fct_sessions": "marts",
    "dim_tutors": "marts",
    "int_tutor_days": "intermediate",
    "tutor_aggregates": "marts",
    "tutor_features": "marts",
    "tutor_evidence": "marts",
}
"""The tables that are built for the tutors touched, and their schema."""
OF_GROUPS = {"fct_session_students": "marts"}
"""Built for them too where the platform lists who takes part in a session: each costs a pass."""

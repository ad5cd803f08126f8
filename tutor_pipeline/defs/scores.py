"""Scores as assets: the weights, the scores of tutors, the scores of students."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from tutor_pipeline.core import formatting
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.defs.common.assets import (
    column_schema,
    table,
    table_asset,
    table_spec,
    with_code_references,
)
from tutor_pipeline.defs.common.guarded import GuardedConfig, guarded
from tutor_pipeline.defs.common.project import load_project
from tutor_pipeline.defs.common.required import required
from tutor_pipeline.defs.common.warehouse_resource import WarehouseResource
from tutor_pipeline.judgement.quality.guard import Required
from tutor_pipeline.judgement.scores.score import Level, Score
from tutor_pipeline.judgement.scores.storage import churn_weights as stored_weights
from tutor_pipeline.steps.names import Group
from tutor_pipeline.steps.order import SCORES_REST_ON
from tutor_pipeline.steps.score import Scored, Scoring, score_students, score_tutors

_SHOWN = 25

_OF_TUTORS = {
    "ops/score_references": "What is usual on this platform: the reference of departure_v1 and of"
    " health_v1. Every full refresh fits it, refreshes after sessions read it.",
    "ops/tutor_scores": "The scores of every tutor by every scorer, with reasons.",
    "ops/current_tutor_risk": "The newest risk of each tutor to leave, by the champion scorer. The"
    " rule high_churn_risk reads it.",
    "ops/tutor_health": "How each tutor is doing: health, burnout, segment, and recommendations.",
}
_OF_STUDENTS = {
    "ops/student_scores": "The scores of every student, with reasons: the risk of leaving from"
    " student_departure_v1 and weighted_v1, and health.",
    "ops/tutor_student_churn": "Which tutors' students are likely to leave. The rule"
    " student_churn_risk reads it.",
    "ops/student_health": "How each student is doing: health, segment, and recommendations.",
}


@dg.definitions
def definitions() -> dg.Definitions:
    """The weights, the scores of tutors, the scores of students."""
    project = load_project()
    blocking = required(project, SCORES_REST_ON)
    return dg.Definitions(
        assets=with_code_references(
            churn_algorithm_weights,
            _build_tutors(blocking, project.scoring),
            _build_students(blocking, project.scoring),
        )
    )


@table_asset("ops/churn_algorithm_weights", Group.SCORES)
def churn_algorithm_weights(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource
) -> dg.MaterializeResult[None]:
    """How much each factor of the student churn score counts. The first version is written if there
    is none. A version never changes; a newer one replaces it.
    """
    with warehouse.warehouse.connect() as database:
        seeded = stored_weights.seed(database, datetime.now(UTC))
        newest = stored_weights.current(database)
        columns = column_schema(database, database.schemas.ops, "churn_algorithm_weights")
    assert newest is not None
    return dg.MaterializeResult(
        metadata={
            "version": newest.version,
            "seeded": seeded,
            "weights": table(
                {"factor": factor, "weight": weight} for factor, weight in newest.weights.items()
            ),
            "dagster/column_schema": columns,
        }
    )


def _build_tutors(blocking: Sequence[Required], scoring: Scoring) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name="score_tutors",
        specs=[table_spec(each, Group.SCORES, about) for each, about in _OF_TUTORS.items()],
    )
    def tutors(
        context: dg.AssetExecutionContext, config: GuardedConfig, warehouse: WarehouseResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        target = warehouse.warehouse
        with guarded(context, config, target, blocking, "ops/tutor_scores") as (database, forced):
            scored = score_tutors(database, context.run.run_id, scoring)
        shared = {**_numbers(scored), **forced, "champion": scored.champion}
        counts = {"tutors": scored.subjects, "scores": len(scored.scores)}
        learned = {"version": scored.version, "departures_learned_from": scored.departures}
        yield _result(target, "score_references", {**shared, **learned}, counts)
        yield _result(target, "tutor_scores", shared, counts)
        levels = {"tutors": scored.subjects, **scored.levels}
        yield _result(
            target, "current_tutor_risk", {**shared, "why": _why(scored.risk, "tutor")}, levels
        )
        segments = {"tutors": scored.subjects, **scored.segments}
        yield _result(target, "tutor_health", shared, segments)

    return tutors


def _build_students(blocking: Sequence[Required], scoring: Scoring) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name="score_students",
        specs=[table_spec(each, Group.SCORES, about) for each, about in _OF_STUDENTS.items()],
    )
    def students(
        context: dg.AssetExecutionContext, config: GuardedConfig, warehouse: WarehouseResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        target = warehouse.warehouse
        with guarded(context, config, target, blocking, "ops/student_scores") as (database, forced):
            scored = score_students(database, context.run.run_id, scoring)
        shared = {**_numbers(scored), **forced}
        churn = {
            **shared,
            "champion": scored.champion,
            "version": scored.version,
            "departures_learned_from": scored.departures,
            "why": _why(scored.risk, "student"),
        }
        levels = {"students": scored.subjects, **scored.levels}
        yield _result(target, "student_scores", churn, levels)
        yield _result(target, "tutor_student_churn", shared, scored.tutors_of_students)
        segments = {"students": scored.subjects, **scored.segments}
        yield _result(target, "student_health", shared, segments)

    return students


def _numbers(scored: Scored) -> dict[str, Any]:
    """Metadata that Dagster plots."""
    return {
        "as_of": dg.MetadataValue.timestamp(scored.as_of),
        "subjects": scored.subjects,
        "scores": len(scored.scores),
        "score_seconds": round(scored.seconds, 3),
    }


def _result(
    warehouse: Warehouse, name: str, metadata: Mapping[str, Any], counts: Mapping[str, int]
) -> dg.MaterializeResult[None]:
    with warehouse.connect() as database:
        columns = column_schema(database, database.schemas.ops, name)
    return dg.MaterializeResult(
        asset_key=["ops", name],
        metadata={
            **metadata,
            **counts,  # as entries of their own, to be plotted
            "counts": dict(counts),
            "dagster/column_schema": columns,
        },
    )


def _why(scores: Iterable[Score], who: str) -> dg.MetadataValue[Any]:
    """A table of everyone above Low risk, with reasons, highest first. `who`: tutor or student; an
    erasure needs it to find ids that are only digits.
    """
    raised = sorted(
        (score for score in scores if score.level not in (None, Level.LOW)),
        key=lambda score: (-(score.score or 0.0), score.subject_id),
    )
    return table(
        (
            {
                who: score.subject_id,
                "how likely": formatting.chance(
                    score.score, score.is_probability, score.lower, score.upper, score.base_rate
                ),
                "level": str(score.level),
                "why": "; ".join(each.label for each in score.reasons if each.contribution > 0),
            }
            for score in raised
        ),
        limit=_SHOWN,
    )

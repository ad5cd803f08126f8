"""What is learned once a week from past data: how well each scorer does (the back-test), the
forecasts of departures, and the weights of the student churn score.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from tutor_pipeline.core.warehouse.refresh_runs import built_moment
from tutor_pipeline.defs.common.assets import (
    column_schema,
    table,
    table_asset,
    table_spec,
    with_code_references,
)
from tutor_pipeline.defs.common.guarded import GuardedConfig, require
from tutor_pipeline.defs.common.project import load_project
from tutor_pipeline.defs.common.required import required
from tutor_pipeline.defs.common.warehouse_resource import WarehouseResource
from tutor_pipeline.judgement.quality.guard import Required
from tutor_pipeline.judgement.scores.score import Subject
from tutor_pipeline.judgement.scores.storage import score_tables
from tutor_pipeline.steps.names import Cadence, Group
from tutor_pipeline.steps.order import SCORES_REST_ON
from tutor_pipeline.steps.score import Scoring

WEEKS = 52
"""The maximum number of dates in a back-test, one a week."""

_PAST = (
    "marts/tutor_aggregates_history",
    "marts/tutor_features_history",
    "marts/tutor_evidence_history",
    "marts/tutor_departures",
    "marts/fct_sessions",
    "marts/student_aggregates_history",
    "marts/student_evidence_history",
    "marts/dim_students",
)
_ABOUT = {
    "ops/backtest_metrics": "How well each scorer would have done on past days, with intervals: who"
    " is at risk now (where the truth is known), which tutors and which students leave within 30"
    " days.",
    "ops/model_versions": "The forecasts of departures (of tutors, of students), by version:"
    " documented weights, adjusted by every recorded departure. Each stores its gain on unseen"
    " departures; the newest version is in use.",
}


class BacktestConfig(GuardedConfig):
    """Config of a back-test."""

    weeks: int = WEEKS
    """Number of dates, a week apart, up to the newest day of the history."""


@dg.definitions
def definitions() -> dg.Definitions:
    """The assets that learn from departures and refine the weights."""
    project = load_project()
    blocking = required(project, SCORES_REST_ON)
    return dg.Definitions(
        assets=with_code_references(*build_learning_assets(blocking, project.scoring))
    )


def build_learning_assets(
    blocking: Sequence[Required], scoring: Scoring
) -> tuple[dg.AssetsDefinition, dg.AssetsDefinition]:
    """The assets that learn the forecasts, back-test them and refine the weights. `blocking`: the
    checks without which nothing is learned.
    """
    return _build_departures(blocking, scoring), _build_refinement(blocking)


def _build_departures(blocking: Sequence[Required], scoring: Scoring) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name="learn_departures",
        specs=[
            table_spec(each, Group.SCORES, about, made=Cadence.WEEK, deps=_PAST)
            for each, about in _ABOUT.items()
        ],
    )
    def learn_departures(
        context: dg.AssetExecutionContext, config: BacktestConfig, warehouse: WarehouseResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        # Imported only here: loading the definitions does not need it.
        from tutor_pipeline.steps import leaks
        from tutor_pipeline.steps import learn_departures as learning

        def progress(step: str, done: int, total: int) -> None:
            context.log.info(f"{step} ({done} of {total})")

        target, run_id, log = warehouse.warehouse, context.run.run_id, context.log
        with target.connect() as database:
            require(context, config, database, blocking, "ops/model_versions")
            as_of = built_moment(database)
            logged = leaks.log_evidence(database, as_of)
        # Logged first, in case a later step fails: the day is new only once.
        if logged is not None:
            log.info(f"evidence of {logged} logged")
        known = learning.know(target, as_of, config.weeks, log)
        of_students = learning.learn_students(target, known, scoring, progress, log)
        tested = learning.test(known, of_students, scoring, progress, log)
        yield _backtest(context, warehouse, tested.result, known.why)
        if tested.past is None or known.found is None:
            yield dg.MaterializeResult(
                asset_key=["ops", "model_versions"],
                metadata={"decision": known.why, **_of_students(of_students)},
            )
            return
        with target.connect() as database:
            kept, learned = learning.learn(database, known, tested, of_students, scoring, run_id)
            schema = column_schema(database, database.schemas.ops, "model_versions")
        yield dg.MaterializeResult(
            asset_key=["ops", "model_versions"],
            metadata={
                "decision": kept.decision,
                "comparison": dg.MetadataValue.json(tested.comparison),
                "verified": known.found.verified,
                "left_out": ", ".join(known.found.left_out) or "none",
                **({} if kept.version is None else {"version": kept.version}),
                "held_back": kept.held is not None,
                **({} if learned is None else _numbers(learned)),
                **_of_students(of_students),
                "dagster/column_schema": schema,
            },
        )

    return learn_departures


def _of_students(made: Any) -> dict[str, Any]:
    """Metadata on what was learned of students (`learn_departures.OfStudents`)."""
    if made.learned is None:
        return {"students_decision": made.decision}
    return {
        "students_decision": made.decision,
        "students_comparison": dg.MetadataValue.json(made.comparison),
        "students_version": made.kept.version,
        "students_left_out": ", ".join(made.found.left_out) or "none",
        "students_held_back": made.kept.held is not None,
        **{f"students_{name}": value for name, value in _numbers(made.learned).items()},
    }


def _backtest(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, result: Any, why: str | None
) -> dg.MaterializeResult[None]:
    """Store a back-test. `why`: the reason if there is no result."""
    from tutor_pipeline.steps.learn_departures import keep_backtest

    key = ["ops", "backtest_metrics"]
    if result is None:
        return dg.MaterializeResult(asset_key=key, metadata={"decision": why})
    file = warehouse.settings.backtest_report
    with warehouse.warehouse.connect() as database:
        keep_backtest(database, context.run.run_id, result, file)
        schema = column_schema(database, database.schemas.ops, "backtest_metrics")
    return dg.MaterializeResult(
        asset_key=key,
        metadata={
            "dates": result.dates,
            "rows": result.rows,
            "tutors": result.tutors,
            **{f"left_out_{name}": number for name, number in result.left_out.items()},
            **_headline(result),
            "figures": table((_figure(row) for row in _measured(result)), limit=500),
            "report": dg.MetadataValue.path(file),
            "notes": "; ".join(result.notes) or "none",
            "dagster/column_schema": schema,
        },
    )


def _numbers(learned: Any) -> dict[str, float]:
    """Metadata that Dagster plots of a version."""
    return {
        "departures": learned.departures,
        "learned_rows": learned.learned_rows,
        "multiplier": learned.multiplier,
        "base_rate": learned.base_rate,
        "agreement": learned.agreement,
        "standing_out": learned.standing_out,
    }


def _measured(result: Any) -> list[Mapping[str, Any]]:
    return [row for row in result.metric_rows() if row["value"] is not None]


def _headline(result: Any) -> dict[str, float]:
    """The figures that Dagster plots: AUC of each scorer, and its recall of those at risk."""
    from tutor_pipeline.judgement.scores.evaluation import Metric

    names = {Metric.AUC: "auc", Metric.RECALL: "found"}  # short: the UI has little room
    return {
        f"{row['target']}_{names[row['metric']]}_{row['scorer']}": row["value"]
        for row in _measured(result)
        if row["metric"] in names
    }


def _figure(row: Mapping[str, Any]) -> dict[str, str]:
    interval = "" if row["lower"] is None else f"{row['lower']:.3f} to {row['upper']:.3f}"
    return {
        "target": str(row["target"]),
        "scorer": row["scorer"],
        "metric": str(row["metric"]),
        "value": f"{row['value']:.3f}",
        "90 % interval": interval,
    }


def _build_refinement(blocking: Sequence[Required]) -> dg.AssetsDefinition:
    deps = (
        "marts/student_aggregates_history",
        "marts/dim_students",
        "ops/churn_algorithm_weights",
    )

    @table_asset("ops/churn_weight_history", Group.SCORES, made=Cadence.WEEK, deps=deps)
    def refine_weights(
        context: dg.AssetExecutionContext, config: GuardedConfig, warehouse: WarehouseResource
    ) -> dg.MaterializeResult[None]:
        """Weights of the student churn score, fitted to who really left. A new version is written
        only if it predicts held-out weeks better; every attempt is kept, with the reason if it was
        refused.
        """
        from tutor_pipeline.steps.refine_weights import refine

        with warehouse.warehouse.connect() as database:
            score_tables.lock(database, Subject.STUDENT)
            require(context, config, database, blocking, "ops/churn_weight_history")
            refined = refine(database, context.run.run_id)
            schema = column_schema(database, database.schemas.ops, "churn_weight_history")
        decision = refined.decision
        figures = ("metric_before", "metric_after", "gain_lower_bound")
        return dg.MaterializeResult(
            metadata={
                "decision": "accepted" if decision.accepted else "refused",
                "reason": decision.reason,
                "rows": decision.rows,
                "churn_events": decision.churn_events,
                **{
                    name: value
                    for name in figures
                    if (value := getattr(decision, name)) is not None
                },
                "weights": table(
                    {
                        "factor": factor,
                        "in force": f"{weight:.3f}",
                        "fitted": "–"
                        if decision.weights is None
                        else f"{decision.weights.get(factor, 0.0):.3f}",
                    }
                    for factor, weight in refined.in_force.items()
                ),
                "dagster/column_schema": schema,
            }
        )

    return refine_weights

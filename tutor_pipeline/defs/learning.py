"""What is learned once a week from what has happened: how well each scorer does (the back-test),
the forecasts of departures, and the weights of the student churn score.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import dagster as dg
import psycopg

from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.core.warehouse.refresh_runs import built_moment
from tutor_pipeline.defs import past_students
from tutor_pipeline.defs.checks import asset_key
from tutor_pipeline.defs.columns import column_schema
from tutor_pipeline.defs.forecaster import keep_version
from tutor_pipeline.defs.guarded import GuardedConfig
from tutor_pipeline.defs.metrics import OWNER
from tutor_pipeline.defs.past import (
    SETTLING_DAYS,
    decision_of,
    learn_from,
    nothing_to_test,
    read_past,
    run_backtest,
)
from tutor_pipeline.defs.resources import WarehouseResource
from tutor_pipeline.defs.scores import GROUP, Scoring, require
from tutor_pipeline.judgement.quality import guard
from tutor_pipeline.judgement.scores import store, weights
from tutor_pipeline.judgement.scores.store import Subject
from tutor_pipeline.people.reports.publish import write_whole

JOB = "weekly_learning"

WEEKS = 52
"""How far a back-test looks back at most; a date a week."""

MUCH_RECORDED_LATER = 0.2
"""Beyond this share of rows left out for it, what is left may not be typical: it is said."""


class BacktestConfig(GuardedConfig):
    """What a back-test looks at."""

    weeks: int = WEEKS
    """Dates, a week apart, up to the newest day of the history."""


def build_learning_assets(
    required: Sequence[guard.Required], scoring: Scoring
) -> list[dg.AssetsDefinition]:
    """What departures teach the forecasts, with the back-test that shows it, and the refinement of
    the weights. `required` are the blocking checks without which nothing is learned.
    """
    return [_build_departures(required, scoring), _build_refinement(required)]


def build_learning_job(*assets: dg.AssetsDefinition) -> Any:
    """`weekly_learning`: these assets."""
    return dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(*assets),
        description="Once a week: the back-test of every scorer, what departures teach"
        " departure_v1, and the weights of the student churn score, replaced only where that is"
        " proved better.",
    )


def _build_departures(required: Sequence[guard.Required], scoring: Scoring) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name="learn_departures",
        specs=[
            dg.AssetSpec(
                ["ops", table],
                deps=[
                    asset_key("marts/tutor_aggregates_history"),
                    asset_key("marts/tutor_features_history"),
                    asset_key("marts/tutor_evidence_history"),
                    asset_key("marts/tutor_departures"),
                    asset_key("marts/fct_sessions"),
                    asset_key("marts/student_aggregates_history"),
                    asset_key("marts/student_evidence_history"),
                    asset_key("marts/dim_students"),
                ],
                group_name=GROUP,
                kinds={"python", "postgres"},
                owners=[OWNER],
                description=description,
                metadata={"dagster/table_name": f"ops.{table}"},
            )
            for table, description in (
                (
                    "backtest_metrics",
                    "How well each scorer would have done on past days, with intervals: who is at"
                    " risk now (where the truth is known), which tutors and which students leave"
                    " within 30 days.",
                ),
                (
                    "model_versions",
                    "The forecasts of departures (of tutors, of students), by version: documented"
                    " weights, moved by every departure that was recorded. Its gain on departures"
                    " that it had not seen stands beside it; the newest version is in use.",
                ),
            )
        ],
    )
    def learn_departures(
        context: dg.AssetExecutionContext, config: BacktestConfig, warehouse: WarehouseResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        # Numbers are read only where something is learned: loading the definitions needs none.
        from tutor_pipeline.defs import leaks
        from tutor_pipeline.judgement.scores.departure.students import STUDENTS
        from tutor_pipeline.judgement.scores.departure.tutors import TUTORS

        target = warehouse.warehouse
        with target.connect() as database:
            require(database, required, "ops/model_versions", context, config)
            as_of = built_moment(database)
            logged = leaks.log_evidence(database, as_of)
        # Whatever goes wrong from here on: the day was new today, and never will be again.
        with target.connect() as database:
            past = read_past(database, as_of, config.weeks)
            found = None if past is None else leaks.look(database, past)
            students = past_students.read_past(database, as_of, config.weeks)
        if logged is not None:
            context.log.info(f"evidence of {logged} logged")
        why = nothing_to_test(past)
        if why is not None:
            context.log.warning(why)

        def progress(step: str, done: int, total: int) -> None:
            context.log.info(f"{step} ({done} of {total})")

        of_students = _learn_students(context, target, as_of, students, scoring, progress)
        if past is None or found is None:
            yield _keep_backtest(context, warehouse, of_students.result, why)
            yield dg.MaterializeResult(
                asset_key=["ops", "model_versions"],
                metadata={"decision": why, **of_students.metadata},
            )
            return
        if past.share_recorded_later > MUCH_RECORDED_LATER:
            context.log.warning(
                f"{past.share_recorded_later:.0%} of the rows rest on what was recorded more than"
                f" {SETTLING_DAYS} day later, and are left out: what is left may not be typical"
            )

        rate = scoring.yearly_departure_rate
        _warn_of(context, found)
        past = leaks.without_leaks(past, found)
        result = run_backtest(past, rate, progress) if why is None else None
        comparison = {} if result is None else result.comparison(past.weeks[-1].reference.forecast)
        if of_students.result is not None:
            result = of_students.result if result is None else result.joined(of_students.result)
        yield _keep_backtest(context, warehouse, result, why)
        learned = learn_from(past, rate)
        kept = leaks.Kept(why or "Nothing to learn from: no past week has matured")
        with target.connect() as database:
            if learned is not None:
                told = leaks.tells(past, learned, rate)
                kept = leaks.keep(database, as_of, learned, found, told, comparison)
            looked = [(TUTORS.scorer, found, kept)]
            if of_students.found is not None:
                looked.append((STUDENTS.scorer, of_students.found, of_students.kept))
            leaks.report(database, looked, context.run.run_id, datetime.now(UTC))
            schema = column_schema(database, target.schemas.ops, "model_versions")
        yield dg.MaterializeResult(
            asset_key=["ops", "model_versions"],
            metadata={
                "decision": kept.decision,
                "comparison": dg.MetadataValue.json(comparison),
                "verified": found.verified,
                "left_out": ", ".join(found.left_out) or "none",
                **({} if kept.version is None else {"version": kept.version}),
                "held_back": kept.held is not None,
                **({} if learned is None else _numbers(learned)),
                **of_students.metadata,
                "dagster/column_schema": schema,
            },
        )

    return learn_departures


def _warn_of(context: dg.AssetExecutionContext, found: Any) -> None:
    for leak in found.leaks:
        context.log.warning(
            f"{', '.join(leak.signs)} left out of learning: {leak.column} {leak.why}"
        )


class _OfStudents(NamedTuple):
    """The back-test of the students' scorers (None: nothing could be asked), what was learned of
    students, as metadata, what looked like leakage (`leaks.Look`), and what became of the version
    (`leaks.Kept`).
    """

    result: Any
    metadata: Mapping[str, Any]
    found: Any = None
    kept: Any = None


def _learn_students(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    as_of: datetime,
    past: past_students.PastOfStudents | None,
    scoring: Scoring,
    progress: Callable[[str, int, int], None],
) -> _OfStudents:
    """Test the students' scorers, and store the version that students who left teach. One under
    which nobody would be at risk is kept with the reason, and not used.
    """
    from tutor_pipeline.defs import leaks

    if past is None:
        return _OfStudents(None, {"students_decision": "Nothing to learn from: no past week"})
    rate = scoring.yearly_student_departure_rate
    with warehouse.connect() as database:
        found = leaks.look_at_students(database, past)
    _warn_of(context, found)
    past = leaks.without_leaks(past, found)
    result = past_students.run_backtest(past, rate, progress)
    learned = learn_from(past, rate)
    if learned is None:
        nothing = "Nothing to learn from: no past week has matured"
        return _OfStudents(result, {"students_decision": nothing}, found, leaks.Kept(nothing))
    comparison = {} if result is None else result.comparison(learned.forecast)
    with warehouse.connect() as database:
        if past_students.silences(learned, past):
            decision = (
                "Refused, as nobody would have been at Medium or High in any week:"
                f" {decision_of(learned)}"
            )
            context.log.warning(f"{learned.forecast.scorer}: {decision}")
            version = keep_version(
                database, as_of, learned, decision, comparison, is_promoted=False
            ).version
            kept = leaks.Kept(decision, version)
        else:
            told = leaks.tells(past, learned, rate)
            kept = leaks.keep(database, as_of, learned, found, told, comparison)
    return _OfStudents(
        result,
        {
            "students_decision": kept.decision,
            "students_comparison": dg.MetadataValue.json(comparison),
            "students_version": kept.version,
            "students_left_out": ", ".join(found.left_out) or "none",
            "students_held_back": kept.held is not None,
            **{f"students_{name}": value for name, value in _numbers(learned).items()},
        },
        found,
        kept,
    )


def _store_backtest(database: Database, run_id: str, now: datetime, result: Any, page: str) -> None:
    for table in ("backtest_metrics", "backtest_runs"):
        database.execute(
            database.sql("delete from {ops}.")
            + psycopg.sql.Identifier(table)
            + psycopg.sql.SQL(" where run_id = %s"),
            (run_id,),
        )
    store.add(
        database,
        "backtest_runs",
        {
            "run_id": run_id,
            "at": now,
            "first_as_of": result.first_as_of,
            "last_as_of": result.last_as_of,
            "dates": result.dates,
            "rows": result.rows,
            "left_out": result.left_out,
            "report_html": page,
        },
    )
    for row in result.metric_rows():
        store.add(database, "backtest_metrics", {"run_id": run_id, **row})


def _keep_backtest(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource, result: Any, why: str | None
) -> dg.MaterializeResult[None]:
    """Write figures and report, in the database and as a file. `why` there is no result, where
    there is none.
    """
    if result is None:
        return dg.MaterializeResult(
            asset_key=["ops", "backtest_metrics"], metadata={"decision": why}
        )
    from tutor_pipeline.people.reports.backtest import render

    target, now = warehouse.warehouse, datetime.now(UTC)
    page = render(result.content(), now.date())
    with target.connect() as database:
        _store_backtest(database, context.run.run_id, now, result, page)
        schema = column_schema(database, target.schemas.ops, "backtest_metrics")
    file = warehouse.settings.backtest_report
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, page)
    return dg.MaterializeResult(
        asset_key=["ops", "backtest_metrics"],
        metadata={
            "dates": result.dates,
            "rows": result.rows,
            "tutors": result.tutors,
            **{f"left_out_{name}": number for name, number in result.left_out.items()},
            **_headline(result),
            "figures": dg.MetadataValue.md(_figures(result)),
            "report": dg.MetadataValue.path(file),
            "notes": "; ".join(result.notes) or "none",
            "dagster/column_schema": schema,
        },
    )


def _numbers(learned: Any) -> dict[str, float]:
    """What Dagster plots of a version."""
    return {
        "departures": learned.departures,
        "learned_rows": learned.learned_rows,
        "multiplier": learned.multiplier,
        "base_rate": learned.base_rate,
        "agreement": learned.agreement,
        "standing_out": learned.standing_out,
    }


def _headline(result: Any) -> dict[str, float]:
    """The figures that Dagster plots: AUC of each scorer, and what is found of those at risk."""
    from tutor_pipeline.judgement.scores.evaluation import Metric

    names = {Metric.AUC: "auc", Metric.RECALL: "found"}  # short: the UI has little room
    return {
        f"{row['target']}_{names[row['metric']]}_{row['scorer']}": row["value"]
        for row in result.metric_rows()
        if row["metric"] in names and row["value"] is not None
    }


def _figures(result: Any) -> str:
    lines = [
        "| target | scorer | metric | value | 90 % interval |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in result.metric_rows():
        if row["value"] is not None:
            interval = "" if row["lower"] is None else f"{row['lower']:.3f} to {row['upper']:.3f}"
            lines.append(
                f"| {row['target']} | {row['scorer']} | {row['metric']} | {row['value']:.3f}"
                f" | {interval} |"
            )
    return "\n".join(lines)


def _build_refinement(required: Sequence[guard.Required]) -> dg.AssetsDefinition:
    @dg.asset(
        key=["ops", "churn_weight_history"],
        deps=[
            asset_key("marts/student_aggregates_history"),
            asset_key("marts/dim_students"),
            asset_key("ops/churn_algorithm_weights"),
        ],
        group_name=GROUP,
        kinds={"python", "postgres"},
        owners=[OWNER],
        metadata={"dagster/table_name": "ops.churn_weight_history"},
    )
    def refine_weights(
        context: dg.AssetExecutionContext, config: GuardedConfig, warehouse: WarehouseResource
    ) -> dg.MaterializeResult[None]:
        """Weights of the student churn score fitted to who really left. A new version is written
        only where it predicts held-out weeks better; every attempt is kept, with why it was
        refused.
        """
        from tutor_pipeline.judgement.scores import refinement

        target, now = warehouse.warehouse, datetime.now(UTC)
        with target.connect() as database:
            store.lock(database, Subject.STUDENT)
            require(database, required, "ops/churn_weight_history", context, config)
            as_of = built_moment(database)
            weights.seed(database, now)
            current = weights.current(database)
            assert current is not None
            rows = database.rows(
                target.sql(refinement.OUTCOMES),
                {"known_until": store.day_of(target, as_of) - timedelta(days=1)},
            )
            decision = refinement.refine(rows, current)
            version = None
            if decision.accepted:
                assert decision.weights is not None and decision.levels is not None
                version = weights.add(
                    database,
                    decision.weights,
                    decision.levels,
                    replaces=current,
                    at=now,
                    notes=f"{weights.LEARNED} {decision.reason}",
                ).version
            store.add(
                database,
                "churn_weight_history",
                {
                    "run_id": context.run.run_id,
                    "decided_at": now,
                    "as_of": as_of,
                    "old_version": current.version,
                    "new_version": version,
                    "old_weights": current.weights,
                    "new_weights": decision.weights,
                    "metric": refinement.METRIC,
                    "metric_before": decision.metric_before,
                    "metric_after": decision.metric_after,
                    "gain_lower_bound": decision.gain_lower_bound,
                    "rows": decision.rows,
                    "churn_events": decision.churn_events,
                    "decision": "accepted" if decision.accepted else "refused",
                    "reason": decision.reason,
                },
            )
            schema = column_schema(database, target.schemas.ops, "churn_weight_history")
        figures = {
            name: value
            for name in ("metric_before", "metric_after", "gain_lower_bound")
            if (value := getattr(decision, name)) is not None
        }
        return dg.MaterializeResult(
            metadata={
                "decision": "accepted" if decision.accepted else "refused",
                "reason": decision.reason,
                "rows": decision.rows,
                "churn_events": decision.churn_events,
                **figures,
                "weights": dg.MetadataValue.md(_weights(current.weights, decision.weights)),
                "dagster/column_schema": schema,
            }
        )

    return refine_weights


def _weights(old: Mapping[str, float], new: Mapping[str, float] | None) -> str:
    lines = ["| factor | in force | fitted |", "| --- | --- | --- |"]
    for factor, weight in old.items():
        fitted = "–" if new is None else f"{new.get(factor, 0.0):.3f}"
        lines.append(f"| {factor} | {weight:.3f} | {fitted} |")
    return "\n".join(lines)

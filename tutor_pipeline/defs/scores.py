"""Scores as assets: what scorers are configured with, what they say of tutors and of students."""

import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import dagster as dg
import psycopg

from tutor_pipeline.core import formatting
from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.core.warehouse.refresh_runs import moment
from tutor_pipeline.defs.checks import asset_key
from tutor_pipeline.defs.columns import column_schema
from tutor_pipeline.defs.forecaster import forecaster_of
from tutor_pipeline.defs.guarded import METRICS, GuardedConfig, await_checks, cell, overridden
from tutor_pipeline.defs.metrics import OWNER
from tutor_pipeline.defs.resources import WarehouseResource
from tutor_pipeline.judgement.quality import guard
from tutor_pipeline.judgement.scores import store, weights
from tutor_pipeline.judgement.scores.score import Level, Score
from tutor_pipeline.judgement.scores.store import Subject
from tutor_pipeline.metrics import wide_rows
from tutor_pipeline.metrics.catalogue import metric_columns

GROUP = "scores"

INPUTS = (
    *METRICS,
    "marts/tutor_features",
    "marts/tutor_evidence",
    "marts/student_aggregates",
    "marts/student_evidence",
    "marts/dim_students",
)
"""What scores rest on: while a blocking check of one of these does not hold, none is made."""

TABLES_OF_TUTORS = ("tutor_scores", "current_tutor_risk", "tutor_health")
"""What `score_tutors` writes, in `ops`."""

_SHOWN = 25


@dg.asset(
    key=["ops", "churn_algorithm_weights"],
    group_name=GROUP,
    kinds={"python", "postgres"},
    owners=[OWNER],
    metadata={"dagster/table_name": "ops.churn_algorithm_weights"},
)
def churn_algorithm_weights(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource
) -> dg.MaterializeResult[None]:
    """How much each factor of the student churn score counts. The first version is written where
    there is none; a version is never changed, only followed by a newer one.
    """
    target = warehouse.warehouse
    with target.connect() as database:
        seeded = weights.seed(database, datetime.now(UTC))
        newest = weights.current(database)
        columns = column_schema(database, target.schemas.ops, "churn_algorithm_weights")
    assert newest is not None
    rows = [f"| {factor} | {weight:.2f} |" for factor, weight in newest.weights.items()]
    return dg.MaterializeResult(
        metadata={
            "version": newest.version,
            "seeded": seeded,
            "weights": dg.MetadataValue.md(
                "\n".join(["| factor | weight |", "| --- | --- |", *rows])
            ),
            "dagster/column_schema": columns,
        }
    )


@dataclass(frozen=True, slots=True)
class Scored:
    """What a run said of tutors or students."""

    as_of: datetime
    subjects: int
    scores: Sequence[Score]
    segments: Mapping[str, int]
    champion: str | None
    risk: Sequence[Score]
    seconds: float
    tutors_of_students: Mapping[str, int] = field(default_factory=dict)
    version: str | None = None
    departures: int = 0

    def metadata(self) -> dict[str, Any]:
        """Numbers that Dagster plots."""
        return {
            "as_of": dg.MetadataValue.timestamp(self.as_of),
            "subjects": self.subjects,
            "scores": len(self.scores),
            "score_seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class Scoring:
    """How people are scored: the scorer of tutors that is believed, and the shares of tutors and of
    students that leave within a year as long as no departures are recorded.
    """

    champion: str
    yearly_departure_rate: float
    yearly_student_departure_rate: float


def score_tutors(database: Database, run_id: str, scoring: Scoring) -> Scored:
    """Score the tutors that a refresh covered, in the connection's transaction."""
    with _no_collection():
        return _score_tutors(database, run_id, scoring)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without collecting garbage: scores are hundreds of thousands of small objects and none goes
    before the end; looking for some takes a fifth of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _score_tutors(database: Database, run_id: str, scoring: Scoring) -> Scored:
    from tutor_pipeline.judgement.scores import recommendations, tutor_scorers
    from tutor_pipeline.judgement.scores.departure.tutors import TUTORS

    began = perf_counter()
    store.lock(database, Subject.TUTOR)
    wide = wide_rows.read(database, run_id, _columns(tutor_scorers.READS))
    rows = [_plainly_named(row, tutor_scorers.PROFILE_RATE) for row in wide.rows]
    forecaster = forecaster_of(
        database, TUTORS, rows, wide.as_of, wide.scope, scoring.yearly_departure_rate
    )
    said = tutor_scorers.score_tutors(rows, forecaster, scoring.champion)
    health = recommendations.tutor_rows(
        said.health,
        store.segments(database, Subject.TUTOR, wide.scope),
        forecaster.usual,
        said.departure,
        wide.as_of,
    )
    store.save(database, Subject.TUTOR, said.scores, wide.as_of, wide.scope)
    store.publish_risk(database, said.champion, wide.as_of, wide.scope)
    store.replace(database, "tutor_health", Subject.TUTOR, health, wide.scope)
    return Scored(
        wide.as_of,
        len(rows),
        said.scores,
        _segments(health),
        said.champion[0],
        said.risk,
        perf_counter() - began,
        version=forecaster.named,
        departures=forecaster.version.departures,
    )


def score_students(database: Database, run_id: str, scoring: Scoring) -> Scored:
    """Score all students, in the connection's transaction. Raises TutorPipelineError where the
    tables were built by an older version.
    """
    try:
        with _no_collection():
            return _score_students(database, run_id, scoring)
    except (psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedTable) as error:
        raise TutorPipelineError(
            f"the tables of students were built by an older version: {error.diag.message_primary}."
            "\nRun the whole refresh first: tutor-pipeline enrich"
        ) from error


def _score_students(database: Database, run_id: str, scoring: Scoring) -> Scored:
    from tutor_pipeline.judgement.scores import health, recommendations, weighted

    began = perf_counter()
    store.lock(database, Subject.STUDENT)
    current = weights.current(database)
    assert current is not None, "seeded before"
    names = sorted({"student_id", "tutor_ids", *weighted.READS, *health.STUDENT_READS})
    rows = database.rows(
        database.sql("select ")
        + psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, names))
        + database.sql(", as_of from {marts}.student_aggregates order by student_id")
    )
    as_of = max((row["as_of"] for row in rows), default=moment(database, run_id))
    churn = weighted.score(rows, current)
    forecaster, leaving = _student_departures(
        database, as_of, scoring.yearly_student_departure_rate
    )
    assessed = health.assess_students(rows, {each.subject_id: each.score for each in churn})
    healths = recommendations.student_rows(
        assessed, store.segments(database, Subject.STUDENT, None), as_of
    )
    scores = [*leaving, *churn, *(score for student in assessed for score in student.scores)]
    by_tutor = [
        {**each._asdict(), "as_of": as_of} for each in weighted.at_risk_by_tutor(leaving, rows)
    ]
    store.save(database, Subject.STUDENT, scores, as_of, None)
    store.replace(database, "student_health", Subject.STUDENT, healths, None)
    store.replace(database, "tutor_student_churn", Subject.TUTOR, by_tutor, None)
    at_risk = sum(1 for each in by_tutor if each["students_at_high_risk"])
    return Scored(
        as_of,
        len(rows),
        scores,
        _segments(healths),
        forecaster.version.forecast.scorer,
        leaving,
        perf_counter() - began,
        {"tutors": len(by_tutor), "with_students_at_high_risk": at_risk},
        version=forecaster.named,
        departures=forecaster.version.departures,
    )


def _student_departures(
    database: Database, as_of: datetime, yearly_rate: float
) -> tuple[Any, list[Score]]:
    """What student_departure_v1 scores with, and what it says of each student that is asked about:
    the evidence of all of them, as students are only scored together.
    """
    from tutor_pipeline.judgement.scores.departure import scorer
    from tutor_pipeline.judgement.scores.departure.students import STUDENTS

    rows = database.rows(
        database.sql("select ")
        + psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, (STUDENTS.key, *STUDENTS.reads)))
        + database.sql(f" from {{marts}}.{STUDENTS.evidence} order by student_id")
    )
    forecaster = forecaster_of(database, STUDENTS, rows, as_of, None, yearly_rate)
    return forecaster, scorer.score(
        rows, forecaster.reference, forecaster.version, forecaster.named, forecaster.held
    )


def build_score_assets(
    required: Sequence[guard.Required], scoring: Scoring
) -> list[dg.AssetsDefinition]:
    """The scores of tutors and of students. `required` are the blocking checks without which none
    is made.
    """

    @dg.multi_asset(
        name="score_tutors",
        specs=[
            _spec(
                "score_references",
                ("marts/tutor_evidence", "marts/tutor_features", *_CHECKED),
                "What is usual on this platform: the yardstick of departure_v1 and of health_v1."
                " Fitted by every full refresh, read by the refreshes after sessions.",
            ),
            _spec(
                "tutor_scores",
                ("ops/model_versions", "marts/tutor_features", "marts/tutor_evidence", *_CHECKED),
                "What every scorer says of every tutor, with its reasons: departure_v1, signals_v1,"
                " reliability_v1, health_v1.",
            ),
            _spec(
                "current_tutor_risk",
                ("ops/model_versions", "marts/tutor_evidence", *_CHECKED),
                "The newest risk of each tutor to leave, as the champion sees it: the rule"
                " high_churn_risk reads it.",
            ),
            _spec(
                "tutor_health",
                ("marts/tutor_features", "marts/tutor_evidence", *_CHECKED),
                "How each tutor is doing: health, burnout, segment, and what is recommended.",
            ),
        ],
    )
    def tutors(
        context: dg.AssetExecutionContext, config: GuardedConfig, warehouse: WarehouseResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        target = warehouse.warehouse
        await_checks(context, target, required)
        with target.connect() as database:
            objections = require(database, required, "ops/tutor_scores", context, config)
            scored = score_tutors(database, context.run.run_id, scoring)
        shared = {**scored.metadata(), **objections, "champion": scored.champion}
        counts = {"tutors": scored.subjects, "scores": len(scored.scores)}
        learned = {"version": scored.version, "departures_learned_from": scored.departures}
        yield _result(target, "score_references", {**shared, **learned}, counts)
        yield _result(target, "tutor_scores", shared, counts)
        yield _result(
            target,
            "current_tutor_risk",
            {**shared, "why": dg.MetadataValue.md(_why(scored.risk))},
            _levels("tutors", scored),
        )
        yield _result(
            target, "tutor_health", shared, {"tutors": scored.subjects, **scored.segments}
        )

    @dg.multi_asset(
        name="score_students",
        specs=[
            _spec(
                "student_scores",
                (
                    "ops/churn_algorithm_weights",
                    "ops/model_versions",
                    "marts/student_aggregates",
                    "marts/student_evidence",
                    *_CHECKED,
                ),
                "What scorers say of every student, with the reasons: student_departure_v1 and"
                " weighted_v1 of leaving, and health.",
            ),
            _spec(
                "tutor_student_churn",
                (
                    "ops/model_versions",
                    "marts/student_aggregates",
                    "marts/student_evidence",
                    *_CHECKED,
                ),
                "Which tutors' students are likely to leave: the rule student_churn_risk reads it.",
            ),
            _spec(
                "student_health",
                ("ops/churn_algorithm_weights", "marts/student_aggregates", *_CHECKED),
                "How each student is doing: health, segment, and what is recommended.",
            ),
        ],
    )
    def students(
        context: dg.AssetExecutionContext, config: GuardedConfig, warehouse: WarehouseResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        target = warehouse.warehouse
        await_checks(context, target, required)
        with target.connect() as database:
            objections = require(database, required, "ops/student_scores", context, config)
            scored = score_students(database, context.run.run_id, scoring)
        shared = {**scored.metadata(), **objections}
        churn = {
            **shared,
            "champion": scored.champion,
            "version": scored.version,
            "departures_learned_from": scored.departures,
            "why": dg.MetadataValue.md(_why(scored.risk)),
        }
        yield _result(target, "student_scores", churn, _levels("students", scored))
        yield _result(target, "tutor_student_churn", shared, scored.tutors_of_students)
        yield _result(
            target, "student_health", shared, {"students": scored.subjects, **scored.segments}
        )

    return [tutors, students]


_CHECKED = ("marts/tutor_aggregates", "marts/dim_tutors", "marts/fct_sessions", "ops/quarantine")


def _spec(table: str, deps: Iterable[str], description: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        ["ops", table],
        deps=[asset_key(dep) for dep in deps],
        group_name=GROUP,
        kinds={"python", "postgres"},
        owners=[OWNER],
        description=description,
        metadata={"dagster/table_name": f"ops.{table}"},
    )


def require(
    database: Database,
    required: Sequence[guard.Required],
    asset: str,
    context: dg.AssetExecutionContext,
    config: GuardedConfig,
) -> dict[str, Any]:
    """Let an asset be made, or not (see `quality.guard`); what was overridden, as metadata."""
    objections = guard.require(
        database, required, asset=asset, run_id=context.run.run_id, forced_by=config.forced_by
    )
    return overridden(objections, config.forced_by)


def _result(
    warehouse: Warehouse, table: str, metadata: Mapping[str, Any], counts: Mapping[str, int]
) -> dg.MaterializeResult[None]:
    with warehouse.connect() as database:
        columns = column_schema(database, warehouse.schemas.ops, table)
    return dg.MaterializeResult(
        asset_key=["ops", table],
        metadata={
            **metadata,
            **counts,  # one by one: these are plotted
            "counts": dict(counts),
            "dagster/column_schema": columns,
        },
    )


def _levels(who: str, scored: Scored) -> dict[str, int]:
    """How many were looked at, and the level of their risk."""
    found = Counter(str(score.level or "unknown") for score in scored.risk)
    levels = (*map(str, Level), "unknown")
    return {who: scored.subjects, **{level: found[level] for level in levels}}


def _segments(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    return dict(sorted(Counter(row["segment"] or "unknown" for row in rows).items()))


def _why(scores: Iterable[Score]) -> str:
    """A Markdown table of who is at more than a Low risk, and why, the highest first."""
    raised = sorted(
        (score for score in scores if score.level not in (None, Level.LOW)),
        key=lambda score: (-(score.score or 0.0), score.subject_id),
    )
    if not raised:
        return "Nobody is above Low."
    lines = ["| who | how likely | level | why |", "| --- | --- | --- | --- |"]
    for score in raised[:_SHOWN]:
        labels = "; ".join(each.label for each in score.reasons if each.contribution > 0)
        lines.append(
            f"| {cell(score.subject_id)} | {_chance(score)} | {score.level} | {cell(labels)} |"
        )
    if len(raised) > _SHOWN:
        lines.append(f"| … | | | {len(raised) - _SHOWN} more |")
    return "\n".join(lines)


def _chance(score: Score) -> str:
    return formatting.chance(
        score.score, score.is_probability, score.lower, score.upper, score.base_rate
    )


def _columns(names: Iterable[str]) -> list[str]:
    """Names as `wide_rows` takes them: a metric by its own name, others by their relation's."""
    metrics = metric_columns()[wide_rows.MAIN]
    evidence = metric_columns()[wide_rows.EVIDENCE]
    wanted = [
        name
        if name in metrics
        else f"{wide_rows.EVIDENCE if name in evidence else wide_rows.FEATURES}.{name}"
        for name in names
    ]
    return [*wanted, f"{wide_rows.PROFILES}.reschedule_rate"]


def _plainly_named(row: Mapping[str, Any], profile_rate: str) -> dict[str, Any]:
    named = {name.rpartition(".")[2]: value for name, value in row.items()}
    named[profile_rate] = named.pop("reschedule_rate")
    return named

"""Score: computes scores of tutors and students, in the transaction of the caller."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter
from typing import Any

import psycopg

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Database, identifiers
from tutor_pipeline.core.warehouse.refresh_runs import moment
from tutor_pipeline.judgement.scores.score import Level, Score, Subject
from tutor_pipeline.judgement.scores.storage import churn_weights as stored_weights
from tutor_pipeline.judgement.scores.storage import score_tables
from tutor_pipeline.metrics import wide_rows
from tutor_pipeline.metrics.catalogue import metric_columns
from tutor_pipeline.steps.forecaster import forecaster_of

TABLES_OF_TUTORS = ("tutor_scores", "current_tutor_risk", "tutor_health")
"""The tables in `ops` that `score_tutors` writes."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of a run for tutors or students."""

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

    @property
    def levels(self) -> dict[str, int]:
        """Counts by level of risk, unknown included."""
        found = Counter(str(score.level or "unknown") for score in self.risk)
        return {level: found[level] for level in (*map(str, Level), "unknown")}


@dataclass(frozen=True, slots=True)
class Scoring:
    """How people are scored: the champion scorer of tutors, and the yearly rates at which tutors
    and students leave, used as long as no departures are recorded.
    """

    champion: str
    yearly_departure_rate: float
    yearly_student_departure_rate: float


def score_tutors(database: Database, run_id: str, scoring: Scoring) -> Scored:
    """Score the tutors that a refresh covered, in the transaction of the caller."""
    with _no_collection():
        return _score_tutors(database, run_id, scoring)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Disable garbage collection: scores are hundreds of thousands of small objects that all live
    to the end, and collection takes a fifth of the time.
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
    score_tables.lock(database, Subject.TUTOR)
    wide = wide_rows.read(database, run_id, _columns(tutor_scorers.READS))
    rows = [_plainly_named(row, tutor_scorers.PROFILE_RATE) for row in wide.rows]
    forecaster = forecaster_of(
        database, TUTORS, rows, wide.as_of, wide.scope, scoring.yearly_departure_rate
    )
    said = tutor_scorers.score_tutors(rows, forecaster, scoring.champion)
    health = recommendations.tutor_rows(
        said.health,
        score_tables.segments(database, Subject.TUTOR, wide.scope),
        forecaster.usual,
        said.departure,
        wide.as_of,
    )
    score_tables.save(database, Subject.TUTOR, said.scores, wide.as_of, wide.scope)
    score_tables.publish_risk(database, said.champion, wide.as_of, wide.scope)
    score_tables.replace(database, "tutor_health", Subject.TUTOR, health, wide.scope)
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
    """Score all students, in the transaction of the caller. Raises TutorPipelineError if the
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
    score_tables.lock(database, Subject.STUDENT)
    current = stored_weights.current(database)
    assert current is not None, "seeded before"
    names = sorted({"student_id", "tutor_ids", *weighted.READS, *health.STUDENT_READS})
    rows = database.rows(
        database.sql(
            "select {columns}, as_of from {marts}.student_aggregates order by student_id",
            columns=identifiers(names),
        )
    )
    as_of = max((row["as_of"] for row in rows), default=moment(database, run_id))
    churn = weighted.score(rows, current)
    forecaster, leaving = _student_departures(
        database, as_of, scoring.yearly_student_departure_rate
    )
    assessed = health.assess_students(rows, {each.subject_id: each.score for each in churn})
    healths = recommendations.student_rows(
        assessed, score_tables.segments(database, Subject.STUDENT, None), as_of
    )
    scores = [*leaving, *churn, *(score for student in assessed for score in student.scores)]
    by_tutor = [
        {**each._asdict(), "as_of": as_of} for each in weighted.at_risk_by_tutor(leaving, rows)
    ]
    score_tables.save(database, Subject.STUDENT, scores, as_of, None)
    score_tables.replace(database, "student_health", Subject.STUDENT, healths, None)
    score_tables.replace(database, "tutor_student_churn", Subject.TUTOR, by_tutor, None)
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
    """Return the forecaster of student_departure_v1 and its scores of the students asked about.
    It reads the evidence of all students, as they are always scored together.
    """
    from tutor_pipeline.judgement.scores.departure import scorer
    from tutor_pipeline.judgement.scores.departure.students import STUDENTS

    rows = database.rows(
        database.sql(
            "select {columns} from {marts}.{evidence} order by student_id",
            columns=identifiers((STUDENTS.key, *STUDENTS.reads)),
            evidence=identifiers([STUDENTS.evidence]),
        )
    )
    forecaster = forecaster_of(database, STUDENTS, rows, as_of, None, yearly_rate)
    return forecaster, scorer.score(
        rows, forecaster.reference, forecaster.version, forecaster.named, forecaster.held
    )


def _segments(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    return dict(sorted(Counter(row["segment"] or "unknown" for row in rows).items()))


def _columns(names: Iterable[str]) -> list[str]:
    """Names for `wide_rows`: metrics by their own name, other columns prefixed by relation."""
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

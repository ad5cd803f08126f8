"""Input of the students' back-test: what was known on each past date, and who left afterwards.

Students are evaluated at the ends of weeks (Sundays), unlike tutors. A row never holds data that
was recorded later: marks and bills count from the week in which they became known.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import psycopg

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.judgement.scores import churn_weights
from tutor_pipeline.judgement.scores.storage import churn_weights as stored_weights
from tutor_pipeline.steps.backtest_tutors import (
    HORIZON_DAYS,
    SETTLING_DAYS,
    WATCHED,
    Watched,
    watch,
)

if TYPE_CHECKING:
    from tutor_pipeline.judgement.scores.backtest import Outcome, Scorer
    from tutor_pipeline.judgement.scores.churn_weights import Weights
    from tutor_pipeline.judgement.scores.departure.outcomes import Standard, Week

TESTED_STUDENTS = 5_000
"""Maximum number of students in the back-test: the same ones each time, chosen by a hash."""

FIRST_WEIGHTS = "weighted_v1_first"
"""weighted_v1 with the weights of its first version, when newer weights are in force."""


@dataclass(frozen=True, slots=True)
class PastOfStudents:
    """What is known of the past. `evidence` is the training data; `weeks` is the same data against
    the reference of each day; `history` has the rows to back-test, by day; `departures` has, by
    student, the day after the last day of a student who left; `weights` are those in force.
    """

    known_until: date
    evidence: "Sequence[Week]"
    weeks: "Sequence[Standard]"
    history: Mapping[date, Sequence[Mapping[str, Any]]]
    departures: Mapping[str, date]
    weights: "Weights"

    @property
    def watched(self) -> list[Watched]:
        """Some rows of each week with their columns, to detect leakage."""
        one_in = max(1, max((len(week.ids) for week in self.weeks), default=0) // WATCHED)
        return [
            watch(week, rows.columns, self.departures, one_in)
            for week, rows in zip(self.weeks, self.evidence, strict=True)
        ]


def read_past(database: Database, as_of: datetime, weeks: int) -> PastOfStudents | None:
    """Return what is known of the last weeks of students, or None without any evidence."""
    from tutor_pipeline.judgement.scores import health, weighted
    from tutor_pipeline.judgement.scores.departure import outcomes
    from tutor_pipeline.judgement.scores.departure.students import STUDENTS
    from tutor_pipeline.judgement.scores.storage import evidence_history

    known_until = as_of.astimezone(ZoneInfo(database.timezone)).date() - timedelta(days=1)
    days = evidence_history.days(database, STUDENTS, known_until)
    if not days:
        return None
    evidence = list(evidence_history.weeks(database, STUDENTS, days, {}))
    names = sorted(
        {*weighted.READS, *health.STUDENT_READS, "as_of_date", "days_since_last_session"}
        - {"tutor_ids"}
    )
    rows = database.rows(
        database.sql("select ")
        + psycopg.sql.SQL(", ").join(psycopg.sql.Identifier("metrics", name) for name in names)
        + database.sql(
            " from {marts}.student_aggregates_history as metrics"
            " inner join {marts}.student_evidence_history using (student_id, as_of_date)"
            " where as_of_date = any(%(days)s) and student_id in ("
            "select student_id from {marts}.student_evidence_history group by student_id"
            " order by hashtextextended(student_id, 0), student_id limit %(students)s"
            ") order by as_of_date, student_id"
        ),
        {"days": days[-weeks:], "students": TESTED_STUDENTS},
    )
    by_day: dict[date, list[dict[str, Any]]] = {}
    for row in rows:
        by_day.setdefault(row["as_of_date"], []).append(row)
    departures = database.execute(
        "select student_id, churned_date + 1 from {marts}.dim_students where churned_date <= %s",
        (known_until,),
    ).fetchall()
    return PastOfStudents(
        known_until,
        evidence,
        [outcomes.standard(STUDENTS, week) for week in evidence],
        by_day,
        dict(departures),
        stored_weights.current(database) or churn_weights.first_version(as_of),
    )


def run_backtest(
    past: PastOfStudents,
    yearly_rate: float,
    progress: Callable[[str, int, int], None],
    replicates: int | None = None,
) -> Any:
    """Back-test every scorer of students. Returns a `scores.backtest.Result`, or None if no day
    can be tested. `replicates`: draws behind each interval, None = the default number.
    """
    from tutor_pipeline.judgement.scores import backtest, evaluation

    if not past.history:
        return None
    return backtest.run(
        past.history,
        past.departures,
        _scorers(past, yearly_rate),
        backtest.Plan(
            past.known_until,
            HORIZON_DAYS,
            SETTLING_DAYS,
            replicates=evaluation.REPLICATES if replicates is None else replicates,
            key="student_id",
            departure=backtest.Question.STUDENT_DEPARTURE,
        ),
        progress=progress,
    )


def _scorers(past: PastOfStudents, yearly_rate: float) -> "list[Scorer]":
    from tutor_pipeline.judgement.scores import health, weighted
    from tutor_pipeline.judgement.scores.backtest import Scorer, boosting, forecasts, plain
    from tutor_pipeline.judgement.scores.departure.students import STUDENTS

    def by_weights(name: str, of: "Weights") -> "Scorer":
        return plain(name, str(of.version), lambda rows: weighted.score(rows, of))

    first = churn_weights.first_version(past.weights.effective_from)
    others = [] if past.weights.version == first.version else [by_weights(FIRST_WEIGHTS, first)]
    return [
        *forecasts(STUDENTS, {week.day: week for week in past.weeks}, yearly_rate),
        boosting(STUDENTS, {week.day: week for week in past.evidence}),
        by_weights(weighted.SCORER, past.weights),
        *others,
        Scorer(
            health.STUDENT_SCORER,
            health.VERSION,
            lambda training: lambda rows: _unhealthy(rows, past.weights),
        ),
    ]


def _unhealthy(rows: Sequence[Mapping[str, Any]], of: "Weights") -> "list[Outcome]":
    """The risk that student_health_v1 implies: full health minus health."""
    from tutor_pipeline.judgement.scores import health, weighted

    churn = {each.subject_id: each.score for each in weighted.score(rows, of)}
    return [
        (None if each.health_score is None else 100 - each.health_score, None)
        for each in health.assess_students(rows, churn)
    ]


def silences(learned: Any, past: PastOfStudents) -> bool:
    """Whether the learned version puts no student at Medium or High in any week."""
    from tutor_pipeline.judgement.scores.departure.version import log_odds, probability

    return learned.departures > 0 and not any(
        (probability(log_odds(learned, week.z)) > learned.medium_above).any() for week in past.weeks
    )

"""Learns from departures once a week: back-tests every scorer and stores new versions of the
forecasts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from psycopg import sql

from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.judgement.scores.storage import versions
from tutor_pipeline.people.reports.publish import write_whole
from tutor_pipeline.steps import backtest_students, leaks
from tutor_pipeline.steps.backtest_tutors import (
    SETTLING_DAYS,
    Past,
    decision_of,
    learn_from,
    nothing_to_test,
    read_past,
    run_backtest,
)
from tutor_pipeline.steps.forecaster import keep_version
from tutor_pipeline.steps.refresh_after_sessions import Log
from tutor_pipeline.steps.score import Scoring

MUCH_RECORDED_LATER = 0.2
"""Warn above this share of rows left out: the remaining rows may not be typical."""

Progress = Callable[[str, int, int], None]
"""Receives the step, the part done, and the total."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the past, as of a moment. `why`: the reason no tutor can be tested."""

    as_of: datetime
    tutors: Past | None
    found: leaks.Look | None
    students: backtest_students.PastOfStudents | None
    why: str | None


@dataclass(frozen=True, slots=True)
class OfStudents:
    """The result for students: the back-test of their scorers (None: no student could be tested),
    what was learned, what looked like leakage, and the fate of the version.
    """

    decision: str
    result: Any = None
    comparison: Mapping[str, Any] = field(default_factory=dict)
    learned: Any = None
    found: leaks.Look | None = None
    kept: leaks.Kept | None = None


@dataclass(frozen=True, slots=True)
class Tested:
    """The past without leaking columns, its back-test, and the figures stored with a version."""

    past: Past | None
    result: Any
    comparison: Mapping[str, Any]


def know(warehouse: Warehouse, as_of: datetime, weeks: int, log: Log) -> Known:
    """Read the last `weeks` weekly days of tutors and students."""
    with warehouse.connect() as database:
        past = read_past(database, as_of, weeks)
        found = None if past is None else leaks.look(database, past)
        students = backtest_students.read_past(database, as_of, weeks)
    why = nothing_to_test(past)
    if why is not None:
        log.warning(why)
    return Known(as_of, past, found, students, why)


def learn_students(
    warehouse: Warehouse, known: Known, scoring: Scoring, progress: Progress, log: Log
) -> OfStudents:
    """Back-test the students' scorers and store the version learned from students who left. A
    version under which nobody is at risk is stored with the reason, and not used.
    """
    past = known.students
    if past is None:
        return OfStudents("Nothing to learn from: no past week")
    rate = scoring.yearly_student_departure_rate
    with warehouse.connect() as database:
        found = leaks.look_at_students(database, past)
    _warn_of(log, found)
    past = leaks.without_leaks(past, found)
    result = backtest_students.run_backtest(past, rate, progress)
    learned = learn_from(past, rate)
    if learned is None:
        nothing = "Nothing to learn from: no past week has matured"
        return OfStudents(nothing, result, found=found, kept=leaks.Kept(nothing))
    comparison = {} if result is None else result.comparison(learned.forecast)
    with warehouse.connect() as database:
        if backtest_students.silences(learned, past):
            decision = (
                "Refused, as nobody would have been at Medium or High in any week:"
                f" {decision_of(learned)}"
            )
            log.warning(f"{learned.forecast.scorer}: {decision}")
            version = keep_version(
                database, known.as_of, learned, decision, comparison, is_promoted=False
            ).version
            kept = leaks.Kept(decision, version)
        else:
            told = leaks.tells(past, learned, rate)
            kept = leaks.keep(database, known.as_of, learned, found, told, comparison)
    return OfStudents(kept.decision, result, comparison, learned, found, kept)


def test(
    known: Known, of_students: OfStudents, scoring: Scoring, progress: Progress, log: Log
) -> Tested:
    """Back-test the tutors' scorers; the students' figures are added to the result."""
    past, found = known.tutors, known.found
    if past is None or found is None:
        return Tested(None, of_students.result, {})
    if past.share_recorded_later > MUCH_RECORDED_LATER:
        log.warning(
            f"{past.share_recorded_later:.0%} of the rows rest on what was recorded more than"
            f" {SETTLING_DAYS} day later, and are left out: the other rows may not be typical"
        )
    _warn_of(log, found)
    past = leaks.without_leaks(past, found)
    rate = scoring.yearly_departure_rate
    result = run_backtest(past, rate, progress) if known.why is None else None
    comparison = {} if result is None else result.comparison(past.weeks[-1].reference.forecast)
    if of_students.result is not None:
        result = of_students.result if result is None else result.joined(of_students.result)
    return Tested(past, result, comparison)


def learn(
    database: Database,
    known: Known,
    tested: Tested,
    of_students: OfStudents,
    scoring: Scoring,
    run_id: str,
) -> tuple[leaks.Kept, Any]:
    """Store the version learned from tutors who left, and report leaks. Returns its fate and what
    was learned (None: no past week has matured).
    """
    # Imported only here: loading the definitions does not need it.
    from tutor_pipeline.judgement.scores.departure.students import STUDENTS
    from tutor_pipeline.judgement.scores.departure.tutors import TUTORS

    past, found = tested.past, known.found
    assert past is not None
    assert found is not None
    rate = scoring.yearly_departure_rate
    learned = learn_from(past, rate)
    kept = leaks.Kept(known.why or "Nothing to learn from: no past week has matured")
    if learned is not None:
        told = leaks.tells(past, learned, rate)
        kept = leaks.keep(database, known.as_of, learned, found, told, tested.comparison)
    looked = [(TUTORS.scorer, found, kept)]
    if of_students.found is not None and of_students.kept is not None:
        looked.append((STUDENTS.scorer, of_students.found, of_students.kept))
    leaks.report(database, looked, run_id, datetime.now(UTC))
    return kept, learned


def keep_backtest(database: Database, run_id: str, result: Any, file: Path) -> None:
    """Write the figures of a back-test to the database, and its report there and to a file."""
    from tutor_pipeline.people.reports.backtest import render

    now = datetime.now(UTC)
    page = render(result.content(), now.date())
    for table in ("backtest_metrics", "backtest_runs"):
        database.execute(
            database.sql(
                "delete from {ops}.{table} where run_id = %s", table=sql.Identifier(table)
            ),
            (run_id,),
        )
    run = {
        "run_id": run_id,
        "at": now,
        "first_as_of": result.first_as_of,
        "last_as_of": result.last_as_of,
        "dates": result.dates,
        "rows": result.rows,
        "left_out": result.left_out,
        "report_html": page,
    }
    versions.add(database, "backtest_runs", run)
    for row in result.metric_rows():
        versions.add(database, "backtest_metrics", {"run_id": run_id, **row})
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, page)


def _warn_of(log: Log, found: leaks.Look) -> None:
    for leak in found.leaks:
        log.warning(f"{', '.join(leak.signs)} left out of learning: {leak.column} {leak.why}")

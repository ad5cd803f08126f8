"""Queries around the back-test: its figures, and which days it can go back to. Reads only."""

from __future__ import annotations

from datetime import date

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.people.reports.status_queries import exists


def backtest(database: Database, run_id: str) -> list[Row]:
    """Returns the figures of a back-test, by target and scorer."""
    return database.rows(
        "select * from {ops}.backtest_metrics where run_id = %(run_id)s"
        " order by target desc, scorer = 'oracle', scorer, version, metric",
        {"run_id": run_id},
    )


def first_session_on(database: Database) -> date:
    """Returns the day of the first session. Raises TutorPipelineError when there is none."""
    if exists(database, database.schemas.marts, "fct_sessions"):
        found: date | None = database.value("select min(session_on) from {marts}.fct_sessions")
        if found is not None:
            return found
    raise TutorPipelineError("there is no session. Run first: tutor-pipeline enrich")


def days_of_history(database: Database) -> set[date]:
    """Returns the days of which marts.tutor_aggregates_history has rows."""
    if not exists(database, database.schemas.marts, "tutor_aggregates_history"):
        return set()
    rows = database.rows("select distinct as_of_date as day from {marts}.tutor_aggregates_history")
    return {row["day"] for row in rows}

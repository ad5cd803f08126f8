"""What a page says of its data, and of the whole platform."""

from __future__ import annotations

from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.people.reports import status_queries
from tutor_pipeline.people.reports.status_queries import exists


def is_built(database: Database) -> bool:
    """Whether there is anything to show: what a first refresh makes last is there."""
    marts = database.schemas.marts
    return all(exists(database, marts, table) for table in ("tutor_scoreboard", "platform_metrics"))


def facts(database: Database) -> Row:
    """Returns what a page says of its data: as of when, and what is wrong with it."""
    return {
        "alerts_as_of": status_queries.alerts_as_of(database),
        "missing_rows": status_queries.missing_rows(database),
        "stopped": status_queries.stopped_refresh(database),
        "stale": status_queries.is_stale(database),
        "newest_session_age_days": status_queries.newest_session_age_days(database),
    }


def platform_bar(database: Database) -> Row | None:
    """Returns the newest row of the platform's metrics."""
    return database.one("select * from {marts}.platform_metrics order by metric_date desc limit 1")

"""What the pipeline found as CSV files, in the column names that users of the CSV format know.

Belongs here: which file holds what, in SQL. Does not belong here: a metric's definition.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from psycopg import sql

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.people.reports.queries import exists

FILES: Mapping[str, str] = {
    "tutor_aggregates.csv": """
        select
            metrics.tutor_id,
            metrics.sessions_30d as total_sessions_30d,
            metrics.sessions_7d as total_sessions_7d,
            metrics.avg_rating_30d,
            metrics.avg_rating_7d,
            metrics.avg_engagement_30d as avg_engagement_score,
            metrics.avg_empathy_30d as avg_empathy_score,
            metrics.avg_clarity_30d as avg_clarity_score,
            metrics.avg_student_satisfaction_30d as avg_student_satisfaction,
            metrics.first_session_count_90d as first_session_count,
            metrics.first_session_avg_rating_90d as first_session_avg_rating,
            initcap(metrics.poor_first_session_flag::text) as poor_first_session_flag,
            metrics.recommendation_rate_30d as recommendation_rate,
            metrics.technical_issue_rate_30d as technical_issue_rate,
            metrics.avg_sentiment_7d as sentiment_trend_7d,
            signals.score as churn_probability,
            signals.level as churn_risk_level,
            jsonb_array_length(
                jsonb_path_query_array(signals.reasons, '$[*] ? (@.contribution > 0)')
            ) as churn_signals_detected
        from {marts}.tutor_aggregates as metrics
        left join lateral (
            select score, level, reasons
            from {ops}.tutor_scores as scores
            where scores.tutor_id = metrics.tutor_id and scores.scorer = 'signals_v1'
            order by scores.as_of desc
            limit 1
        ) as signals on true
        order by metrics.tutor_id
        """,
    "alerts.csv": "select * from {ops}.alerts order by tutor_id, triggered_date, alert_id",
    "insights.csv": (
        "select * from {ops}.tutor_insights order by tutor_id, detected_at, insight_id"
    ),
    "achievements.csv": (
        "select * from {ops}.achievements order by tutor_id, earned_date, achievement_id"
    ),
}
"""File -> query."""


def export(database: Database, folder: Path) -> dict[str, int]:
    """Write the files, each whole or not at all, all as of one moment; {file: rows}.

    Existing ones are replaced. Raises TutorPipelineError: nothing is built, the folder can't be
    written.
    """
    if not exists(database, database.schemas.marts, "tutor_aggregates"):
        raise TutorPipelineError("nothing is built yet. Run first: tutor-pipeline enrich")
    database.commit()
    database.execute("set transaction isolation level repeatable read, read only")
    partial = {name: folder / f"{name}.{os.getpid()}.part" for name in FILES}
    written = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, query in FILES.items():
            written[name] = _write(database, database.sql(query), partial[name])
        for name, file in partial.items():
            file.replace(folder / name)
    except OSError as error:
        raise TutorPipelineError(f"cannot write to {folder}: {error.strerror}") from error
    finally:
        for file in partial.values():
            file.unlink(missing_ok=True)
    return written


def _write(database: Database, query: sql.Composable, file: Path) -> int:
    statement = sql.SQL("copy ({}) to stdout with (format csv, header true)").format(query)
    with (
        database.connection.cursor() as cursor,
        file.open("wb") as output,
        cursor.copy(statement) as copy,
    ):
        for block in copy:
            output.write(block)
    return cursor.rowcount

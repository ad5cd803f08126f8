"""The results of the pipeline as CSV files, in the column names that users of the CSV format know.

Belongs here: the query of each file. Does not belong here: the definition of a metric.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from psycopg import sql

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.people.reports.status_queries import exists

FILES: Mapping[str, str] = {
    "tutor_aggregates.csv": statement(__file__, "export_tutor_aggregates"),
    "alerts.csv": "select * from {ops}.alerts order by tutor_id, triggered_date, alert_id",
    "insights.csv": (
        "select * from {ops}.tutor_insights order by tutor_id, detected_at, insight_id"
    ),
    "achievements.csv": (
        "select * from {ops}.achievements order by tutor_id, earned_date, achievement_id"
    ),
}
"""Query per file."""


def export(database: Database, folder: Path) -> dict[str, int]:
    """Writes all files from one snapshot of the database. Returns {file: rows}.

    Replaces existing files; if a query fails, all stay as they were. Raises TutorPipelineError when
    nothing is built or the folder cannot be written to.
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
    """Copies a query's rows into a file with a header line. Returns the number of rows."""
    copied = database.sql("copy ({query}) to stdout with (format csv, header true)", query=query)
    with file.open("wb") as output, database.copy(copied) as copy:
        for block in copy:
            output.write(block)
    return copy.cursor.rowcount

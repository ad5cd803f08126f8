"""The results of the pipeline as CSV files, in the column names that users of the CSV format know.

Spreadsheets open these files, and run what begins like a formula: such a text gets an apostrophe
before it, which they show as text.

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
from tutor_pipeline.judgement.scores.signals import POINT
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

_CANNOT_RUN = ("bool", "int2", "int4", "int8", "numeric", "float4", "float8", "date", "timestamptz")
"""Types of which no value is text. Their negative numbers stay numbers."""
_DEFUSED = r"""
    case
        when {column}::text ~ '^[-=+@\t\r]' and {column}::text !~ '^[-+]?[0-9]+([.][0-9]+)?$'
            then {apostrophe} || {column}::text
        else {column}::text
    end as {column}
"""


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
            composed = database.sql(query, point=sql.Literal(POINT))
            written[name] = _write(database, _defused(database, composed), partial[name])
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
    lines, is_quoted = 0, False
    with file.open("wb") as output, database.copy(copied) as copy:
        for block in copy:
            output.write(block)
            # Counted here: what a driver says of a COPY depends on its version. A line end within
            # quotes ends no row, and a doubled quote opens and closes them.
            for number, part in enumerate(bytes(block).split(b'"')):
                is_quoted ^= number > 0
                lines += 0 if is_quoted else part.count(b"\n")
    return lines - 1


def _defused(database: Database, query: sql.Composable) -> sql.Composable:
    """Returns the query with texts that a spreadsheet would run made plain texts."""
    described = database.execute(
        database.sql("select * from ({query}) as exported limit 0", query=query)
    ).description
    columns = [
        sql.Identifier(column.name)
        if column.type_display in _CANNOT_RUN
        else sql.SQL(_DEFUSED).format(
            column=sql.Identifier(column.name), apostrophe=sql.Literal("'")
        )
        for column in described or ()
    ]
    return database.sql(
        "select {columns} from ({query}) as exported",
        columns=sql.SQL(", ").join(columns),
        query=query,
    )

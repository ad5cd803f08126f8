"""The feature log: what the evidence said on the day it was new.

Belongs here: writing a day once, reading it beside what history says now, and the columns that
somebody accepted.
Does not belong here: when a day is logged, what a difference means (`leakage`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np
from psycopg import sql

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.judgement.scores.leakage import Day
from tutor_pipeline.judgement.scores.score import Subject


def definition_of(text: str, columns: Sequence[str]) -> str:
    """Returns a hash of the SQL that defines the columns. Days logged under another definition are
    not compared.
    """
    return hashlib.sha256("\n".join((text, *columns)).encode()).hexdigest()[:16]


def newest_day(database: Database, subject: Subject) -> date | None:
    """Returns the last logged day; None before the first."""
    day: date | None = database.value(
        "select max(as_of_date) from {ops}.feature_log_days where subject = %(subject)s",
        {"subject": subject},
    )
    return day


def first_days(database: Database, subject: Subject) -> dict[str, date]:
    """Returns the first day on which each column was logged."""
    return dict(
        database.execute(
            "select name, min(as_of_date) from {ops}.feature_log_days"
            " cross join unnest(columns) as name where subject = %(subject)s group by name",
            {"subject": subject},
        )
    )


def write(
    database: Database,
    subject: Subject,
    day: date,
    columns: Sequence[str],
    definition: str,
    logged_at: datetime,
) -> int:
    """Log what history says of a day now; returns the number of rows. Does nothing where the day is
    logged already.
    """
    header = database.execute(
        "insert into {ops}.feature_log_days"
        " (subject, as_of_date, logged_at, definition, columns)"
        " values (%(subject)s, %(day)s, %(logged_at)s, %(definition)s, %(columns)s)"
        " on conflict do nothing",
        {
            "subject": subject,
            "day": day,
            "logged_at": logged_at,
            "definition": definition,
            "columns": list(columns),
        },
    )
    if not header.rowcount:
        return 0
    return database.execute(
        database.sql(
            "insert into {ops}.feature_log (subject, as_of_date, {key}, numbers)"
            " select %(subject)s, as_of_date, {key}, {numbers} from {history}"
            " where as_of_date = %(day)s on conflict do nothing",
            key=sql.Identifier(subject.key),
            numbers=_numbers(columns),
            history=_history(database, subject),
        ),
        {"subject": subject, "day": day},
    ).rowcount


def read(
    database: Database, subject: Subject, columns: Sequence[str], definition: str
) -> list[Day]:
    """Returns the logged days that history still has, oldest first. Leaves out rows that rest on
    anything recorded after they were logged.
    """
    rows = database.execute(
        database.sql(
            statement(__file__, "compare_with_history"),
            numbers=_numbers(columns),
            history=_history(database, subject),
            key=sql.Identifier(subject.key),
        ),
        {"subject": subject, "definition": definition},
    )
    return [
        Day(day, logged_at, compared, who or [], _table(columns, then), _table(columns, now))
        for day, logged_at, compared, who, then, now in rows
    ]


def accept(
    database: Database, subject: Subject, column: str, *, by: str, why: str, at: datetime
) -> None:
    """Let a column be learned from although it looked like leakage."""
    database.execute(
        "insert into {ops}.accepted_columns"
        " (subject, column_name, accepted_at, accepted_by, why)"
        " values (%(subject)s, %(column)s, %(at)s, %(by)s, %(why)s) on conflict do nothing",
        {"subject": subject, "column": column, "at": at, "by": by, "why": why},
    )


def accepted(database: Database, subject: Subject) -> dict[str, datetime]:
    """Returns the accepted columns, with the moment of the last acceptance."""
    return dict(
        database.execute(
            "select column_name, max(accepted_at) from {ops}.accepted_columns"
            " where subject = %(subject)s group by column_name",
            {"subject": subject},
        )
    )


def forget(database: Database) -> None:
    """Delete the log and the accepted columns, because another platform took the place of the
    logged one.
    """
    for table in ("feature_log", "feature_log_days", "accepted_columns"):
        database.execute(f"delete from {{ops}}.{table}")


def _history(database: Database, subject: Subject) -> sql.Identifier:
    return sql.Identifier(database.schemas.marts, f"{subject}_evidence_history")


def _numbers(columns: Sequence[str]) -> sql.Composed:
    cells = sql.SQL(", ").join(
        sql.SQL("coalesce({}::float8, 'NaN')").format(sql.Identifier(name)) for name in columns
    )
    return sql.SQL("array[{}]").format(cells)


def _table(columns: Sequence[str], rows: Sequence[Sequence[float]] | None) -> Mapping[str, Any]:
    table = np.array(rows or [], dtype=np.float64).reshape(-1, len(columns))
    return {name: table[:, place] for place, name in enumerate(columns)}

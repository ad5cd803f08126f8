"""The log of what evidence said when it was new, in the database.

Belongs here: writing a day once, reading it beside what history says now, and the columns that
somebody accepted. Does not belong here: when a day is logged, what a difference means (`leakage`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np
from psycopg import sql

from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.judgement.scores.leakage import Day
from tutor_pipeline.judgement.scores.store import Subject


def definition_of(text: str, columns: Sequence[str]) -> str:
    """Of the SQL that defines the columns: history under another one says other things."""
    return hashlib.sha256("\n".join((text, *columns)).encode()).hexdigest()[:16]


def newest_day(database: Database, subject: Subject) -> date | None:
    """The last day that was logged."""
    ((day,),) = database.execute(
        "select max(as_of_date) from {ops}.feature_log_days where subject = %s",
        (subject,),
    ).fetchall()
    return None if day is None else day


def first_days(database: Database, subject: Subject) -> dict[str, date]:
    """The first day on which each column was logged."""
    return dict(
        database.execute(
            "select name, min(as_of_date) from {ops}.feature_log_days"
            " cross join unnest(columns) as name where subject = %s group by name",
            (subject,),
        ).fetchall()
    )


def write(
    database: Database,
    subject: Subject,
    day: date,
    columns: Sequence[str],
    definition: str,
    logged_at: datetime,
) -> int:
    """Log what history says of a day now; how many rows. A day that is logged stays as it is."""
    header = database.execute(
        "insert into {ops}.feature_log_days"
        " (subject, as_of_date, logged_at, definition, columns) values (%s, %s, %s, %s, %s)"
        " on conflict do nothing",
        (subject, day, logged_at, definition, list(columns)),
    )
    if not header.rowcount:
        return 0
    return database.execute(
        sql.SQL(
            "insert into {log} (subject, as_of_date, {key}, numbers)"
            " select %(subject)s, as_of_date, {key}, {numbers} from {history}"
            " where as_of_date = %(day)s on conflict do nothing"
        ).format(
            log=sql.Identifier(database.schemas.ops, "feature_log"),
            key=sql.Identifier(subject.key),
            numbers=_numbers(columns),
            history=_history(database.warehouse, subject),
        ),
        {"subject": subject, "day": day},
    ).rowcount


def read(
    database: Database, subject: Subject, columns: Sequence[str], definition: str
) -> list[Day]:
    """The logged days that history still has, oldest first. Rows that rest on anything recorded
    after they were logged are not compared.
    """
    rows = database.execute(
        sql.SQL(
            """
            with compared as (
                select
                    logged.as_of_date,
                    days.logged_at,
                    logged.{key} as who,
                    logged.numbers,
                    {numbers} as numbers_now
                from {days} as days
                inner join {log} as logged using (subject, as_of_date)
                inner join {history} as history
                    on history.as_of_date = logged.as_of_date
                    and history.{key} = logged.{key}
                where
                    days.subject = %(subject)s
                    and days.definition = %(definition)s
                    and (recorded_until is null or recorded_until <= days.logged_at)
            )

            select
                as_of_date,
                logged_at,
                count(*),
                array_agg(who order by who)
                    filter (where numbers is distinct from numbers_now),
                array_agg(numbers order by who)
                    filter (where numbers is distinct from numbers_now),
                array_agg(numbers_now order by who)
                    filter (where numbers is distinct from numbers_now)
            from compared
            group by as_of_date, logged_at
            order by as_of_date
            """
        ).format(
            numbers=_numbers(columns),
            days=sql.Identifier(database.schemas.ops, "feature_log_days"),
            log=sql.Identifier(database.schemas.ops, "feature_log"),
            history=_history(database.warehouse, subject),
            key=sql.Identifier(subject.key),
        ),
        {"subject": subject, "definition": definition},
    ).fetchall()
    return [
        Day(day, logged_at, compared, who or [], _table(columns, then), _table(columns, now))
        for day, logged_at, compared, who, then, now in rows
    ]


def accept(
    database: Database, subject: Subject, column: str, *, by: str, why: str, at: datetime
) -> None:
    """Let a column be learned from, whatever it looked like until now."""
    database.execute(
        "insert into {ops}.accepted_columns"
        " (subject, column_name, accepted_at, accepted_by, why) values (%s, %s, %s, %s, %s)"
        " on conflict do nothing",
        (subject, column, at, by, why),
    )


def accepted(database: Database, subject: Subject) -> dict[str, datetime]:
    """The columns that somebody accepted, and when last."""
    return dict(
        database.execute(
            "select column_name, max(accepted_at) from {ops}.accepted_columns"
            " where subject = %s group by 1",
            (subject,),
        ).fetchall()
    )


def forget(database: Database) -> None:
    """Begin anew: another platform has taken the place of the one that was logged."""
    for table in ("feature_log", "feature_log_days", "accepted_columns"):
        database.execute(database.sql("delete from {ops}.") + sql.Identifier(table))


def _history(warehouse: Warehouse, subject: Subject) -> sql.Identifier:
    return sql.Identifier(warehouse.schemas.marts, f"{subject}_evidence_history")


def _numbers(columns: Sequence[str]) -> sql.Composable:
    cells = (
        sql.SQL("coalesce({}::float8, 'NaN')").format(sql.Identifier(name)) for name in columns
    )
    return sql.SQL("array[") + sql.SQL(", ").join(cells) + sql.SQL("]")


def _table(columns: Sequence[str], rows: Sequence[Sequence[float]] | None) -> Mapping[str, Any]:
    table = np.array(rows or [], dtype=np.float64).reshape(-1, len(columns))
    return {name: table[:, place] for place, name in enumerate(columns)}

"""The tables of scores, risks, health and segments.

Belongs here: reading and writing them, in the caller's transaction.
Does not belong here: what scorers learn (`versions`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import sql

from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.judgement.scores.score import Level, Reason, Score, Subject, Target
from tutor_pipeline.judgement.scores.segments import Held

Scope = Sequence[str] | None
"""The ids of the tutors or students that a run covers; None = all."""

_IN_SCOPE = "(%(scope)s::text[] is null or {key} = any(%(scope)s::text[]))"
_LEVEL_HELD_DAYS = 14

_SCORE_COLUMNS = (
    *("as_of", "as_of_on", "reasons", "scorer", "version", "target", "horizon_days", "score"),
    *("is_probability", "level", "status", "input_hash"),
    *("lower", "upper", "base_rate", "known_share", "not_known"),
)
"""The columns after the subject's id, in the order in which they are written."""


def lock(database: Database, subject: Subject) -> None:
    """Take the lock of these scores until the transaction ends: one writer at a time."""
    database.lock(f"{subject}_scores")


def day_of(warehouse: Warehouse, as_of: datetime) -> date:
    """Returns the day of a moment in the pipeline's time zone."""
    return as_of.astimezone(ZoneInfo(warehouse.timezone)).date()


def save(
    database: Database, subject: Subject, scores: Sequence[Score], as_of: datetime, scope: Scope
) -> int:
    """Write scores as of a moment; returns how many. Deletes the scope's scores of the same day
    and of later days: the table keeps the newest of each day.
    """
    table = _table(database, f"{subject}_scores")
    day = day_of(database.warehouse, as_of)
    database.execute(
        database.sql(
            f"delete from {{table}} where as_of_on >= %(day)s and {_IN_SCOPE}",
            table=table,
            key=sql.Identifier(subject.key),
        ),
        {"day": day, "scope": _ids(scope)},
    )
    columns = _names((subject.key, *_SCORE_COLUMNS))
    with database.copy(
        database.sql("copy {table} ({columns}) from stdin", table=table, columns=columns)
    ) as copy:
        for score in scores:
            copy.write_row(_cells(score, as_of, day))
    return len(scores)


def _cells(score: Score, as_of: datetime, day: date) -> tuple[Any, ...]:
    return (
        score.subject_id,
        as_of,
        day,
        _reasons_json(score.reasons),
        score.scorer,
        score.version,
        str(score.target),
        score.horizon_days,
        score.score,
        score.is_probability,
        None if score.level is None else str(score.level),
        str(score.status),
        score.input_hash,
        score.lower,
        score.upper,
        score.base_rate,
        score.known_share,
        _ENCODER.encode(score.not_known),
    )


def _reasons_json(reasons: Iterable[Reason]) -> str:
    return _ENCODER.encode(
        [
            # `dataclasses.asdict` copies deeply, which takes longer than scoring itself.
            {
                "code": reason.code,
                "label": reason.label,
                "value": reason.value,
                "reference": reason.reference,
                "n": reason.n,
                "contribution": reason.contribution,
            }
            for reason in reasons
        ]
    )


# `json.dumps` makes an encoder per call; this one is shared.
_ENCODER = json.JSONEncoder(ensure_ascii=False)


def publish_risk(
    database: Database, champion: tuple[str, Target, int], as_of: datetime, scope: Scope
) -> None:
    """Copy the champion's scores (scorer, target, horizon in days), just saved, to
    `ops.current_tutor_risk`, which has a row per tutor. Replaces the rows of the scope.
    """
    scorer, target, horizon_days = champion
    parameters = {
        "as_of": as_of,
        "scope": _ids(scope),
        "scorer": scorer,
        "target": str(target),
        "horizon_days": horizon_days,
    }
    key = sql.Identifier(Subject.TUTOR.key)
    database.execute(
        database.sql(f"delete from {{ops}}.current_tutor_risk where {_IN_SCOPE}", key=key),
        parameters,
    )
    database.execute(
        database.sql(
            "insert into {ops}.current_tutor_risk (tutor_id, as_of, scorer, version, score,"
            " is_probability, level, reasons, status, lower, upper, base_rate, known_share,"
            " not_known)"
            " select tutor_id, as_of, scorer, version, score, is_probability, level, reasons,"
            " status, lower, upper, base_rate, known_share, not_known from {ops}.tutor_scores"
            " where as_of = %(as_of)s and scorer = %(scorer)s and target = %(target)s"
            f" and horizon_days = %(horizon_days)s and {_IN_SCOPE}",
            key=key,
        ),
        parameters,
    )


def replace(
    database: Database,
    table: str,
    subject: Subject,
    rows: Sequence[Mapping[str, Any]],
    scope: Scope,
) -> None:
    """Replace the scope's rows in a table of `ops` that has a row per subject. All `rows` have
    the same columns.
    """
    name = _table(database, table)
    database.execute(
        database.sql(
            f"delete from {{table}} where {_IN_SCOPE}",
            table=name,
            key=sql.Identifier(subject.key),
        ),
        {"scope": _ids(scope)},
    )
    if not rows:
        return
    columns = list(rows[0])
    with database.copy(
        database.sql("copy {table} ({columns}) from stdin", table=name, columns=_names(columns))
    ) as copy:
        for row in rows:
            copy.write_row([row[column] for column in columns])


def segments(database: Database, subject: Subject, scope: Scope) -> dict[str, Held]:
    """Returns the stored segment of each subject that has one, by id."""
    rows = database.execute(
        database.sql(
            "select {key}, segment, segment_since from {table}"
            f" where segment is not null and {_IN_SCOPE}",
            key=sql.Identifier(subject.key),
            table=_table(database, f"{subject}_health"),
        ),
        {"scope": _ids(scope)},
    )
    return {identity: Held(segment, since) for identity, segment, since in rows}


def held_levels(
    database: Database, subject: Subject, scorer: str, as_of: datetime, scope: Scope
) -> dict[str, str]:
    """Returns the level above Low that a scorer last gave each subject, by id. Reads the scores of
    the 14 days up to `as_of`.
    """
    rows = database.execute(
        database.sql(
            "select distinct on ({key}) {key}, level from {table}"
            " where scorer = %(scorer)s and as_of <= %(as_of)s and as_of_on > %(since)s"
            f" and {_IN_SCOPE} order by {{key}}, as_of desc",
            key=sql.Identifier(subject.key),
            table=_table(database, f"{subject}_scores"),
        ),
        {
            "scorer": scorer,
            "as_of": as_of,
            "since": day_of(database.warehouse, as_of) - timedelta(days=_LEVEL_HELD_DAYS),
            "scope": _ids(scope),
        },
    )
    return {identity: level for identity, level in rows if level in (Level.MEDIUM, Level.HIGH)}


def clear(database: Database) -> int:
    """Delete all scores and health in one transaction; returns the number of rows. What scorers
    have learned stays: later scores name its version.
    """
    removed = 0
    with database.transaction():
        for subject in Subject:
            lock(database, subject)
        for table in (
            "tutor_scores",
            "student_scores",
            "current_tutor_risk",
            "tutor_student_churn",
            "tutor_health",
            "student_health",
        ):
            removed += database.execute(f"delete from {{ops}}.{table}").rowcount
    return removed


def _table(database: Database, name: str) -> sql.Identifier:
    return sql.Identifier(database.schemas.ops, name)


def _names(columns: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _ids(scope: Scope) -> list[str] | None:
    return None if scope is None else list(scope)

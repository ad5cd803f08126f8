"""The rows that rules read: the metrics of each tutor, with scores, evidence and profile.

Belongs here: the inputs that rules may name, and the SQL that joins them into a row.
Does not belong here: how a metric or a score is computed, how a rule uses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.metrics.catalogue import Column, metric_columns

MAIN = "tutor_aggregates"
OPEN_ALERTS = "open_alerts"
"""`open_alerts.<alert>`: whether that alert is open. The rule catalogue knows the alerts."""

FEATURES, EVIDENCE, PROFILES = "tutor_features", "tutor_evidence", "dim_tutors"
"""Marts with one row for each row of the metrics; scorers read them too."""

# What rules may read besides the metrics: a relation, its table in `ops` and its columns.
_SCORES: Mapping[str, tuple[str, Mapping[str, Column]]] = {
    "tutor_risk": (
        "current_tutor_risk",
        {
            "level": Column(
                "text", "Level of the champion score.", None, ("Low", "Medium", "High")
            ),
            "score": Column("double precision", "The champion score, 0-1.", None),
            "scorer": Column("text", "Which scorer is the champion.", None),
            "reasons": Column("text", "The reasons of the score, in words.", None),
            "chance": Column(
                "text",
                "How likely it is and how sure that is, in words and brackets; empty where the"
                " score is no probability.",
                None,
            ),
        },
    ),
    "student_risk": (
        "tutor_student_churn",
        {
            "students_at_high_risk": Column(
                "integer", "Students of the tutor at High churn risk.", "students"
            ),
            "students": Column("integer", "Students of the tutor with a churn score.", None),
        },
    ),
}


def _percent(column: str) -> str:
    """Return SQL for a probability as text, as `likelihood` writes it."""
    share = f"tutor_risk.{column}::numeric"
    return f"""case
        when {share} > 0 and {share} < 0.0005 then 'under 0.1 %%'
        when {share} >= 0.995 and {share} < 1 then 'over 99 %%'
        else trim_scale(round(100 * {share}, case when {share} < 0.0995 then 1 else 0 end))
            || ' %%'
    end"""


_EXPRESSIONS = {
    "tutor_risk.reasons": """(
        -- An unknown factor is a reason that contributes nothing.
        select string_agg(label.value #>> '{}', '; ' order by label.ordinality)
        from jsonb_path_query(tutor_risk.reasons, '$[*] ? (@.contribution > 0).label')
            with ordinality as label (value, ordinality)
    )""",
    "tutor_risk.chance": f"""case
        when tutor_risk.is_probability and tutor_risk.lower is not null
            then ' (' || {_percent("score")} || ' likely, between '
                || {_percent("lower")} || ' and ' || {_percent("upper")}
                || coalesce('; ' || {_percent("base_rate")} || ' is usual', '') || ')'
        when tutor_risk.base_rate > 0
            then ' (' || round((tutor_risk.score / tutor_risk.base_rate)::numeric)
                || ' times as likely as is usual here)'
        else ''
    end""",
}


@dataclass(frozen=True, slots=True)
class WideRows:
    """One row per active tutor as of a moment. `scope` is None for all tutors."""

    rows: list[dict[str, Any]]
    as_of: datetime
    active_tutors: frozenset[str]
    scope: tuple[str, ...] | None


def rule_inputs() -> dict[str, Mapping[str, Column]]:
    """Return {relation: {column: Column}} of all that rules may name except `open_alerts`."""
    scores = {relation: columns for relation, (_, columns) in _SCORES.items()}
    return {MAIN: metric_columns()[MAIN], **scores}


def read(
    database: Database, run_id: str, columns: Sequence[str], tutors: Sequence[str] | None = None
) -> WideRows:
    """Return the rows of the tutors that the refresh `run_id` covered; all if there is none. Of
    some `tutors` alone, if these are named.

    `columns` have the names that rules use: `metric` or `relation.column`. Scorers may also name
    `tutor_features.column`, `tutor_evidence.column` and `dim_tutors.column`. The as-of moment comes
    from the rows, so findings are as of the data they were made from. Raises TutorPipelineError if
    the table is not built, is built by an older version, or has no tutor.
    """
    marts = database.schemas.marts
    if database.value("select to_regclass(%s)", (f'"{marts}"."{MAIN}"',)) is None:
        raise TutorPipelineError(
            f"{marts}.{MAIN} is not built yet.\nRun the whole refresh first: tutor-pipeline enrich"
        )
    header = database.one(
        "select is_full or tables is not null as is_full, as_of"
        " from {ops}.refresh_runs where run_id = %s",
        (run_id,),
    )
    scope: tuple[str, ...] | None = None if tutors is None else tuple(tutors)
    if header is not None and not header["is_full"]:
        found = database.execute(
            "select tutor_id from {ops}.refresh_scope where run_id = %s order by tutor_id",
            (run_id,),
        )
        scope = tuple(tutor_id for (tutor_id,) in found)
    active = database.execute("select tutor_id from {marts}.dim_tutors where is_active").fetchall()
    try:
        rows = _rows(database, columns, scope)
    except (psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedTable) as error:
        raise TutorPipelineError(
            f"{marts}.{MAIN} was built by an older version: {error.diag.message_primary}.\n"
            "Run the whole refresh first: tutor-pipeline enrich"
        ) from error
    moments = [row["as_of"] for row in rows]
    if not moments:
        if header is None:
            raise TutorPipelineError(
                f"{marts}.{MAIN} has no row: the platform has no"
                " active tutor.\nSee what was found with: tutor-pipeline check-source"
            )
        moments = [header["as_of"]]
    return WideRows(rows, max(moments), frozenset(tutor for (tutor,) in active), scope)


def everybody(database: Database, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of all tutors, whatever a run covers."""
    return _rows(database, columns, None)


def _rows(
    database: Database, columns: Sequence[str], scope: Sequence[str] | None
) -> list[dict[str, Any]]:
    """Return rows with only the named columns: rules read some thirty of 160."""
    names = dict.fromkeys(("tutor_id", "as_of", *columns))
    relations = {name.partition(".")[0] for name in names if "." in name}
    query = database.sql(
        "select {columns} from {marts}.tutor_aggregates{joins}"
        " where %(scope)s::text[] is null or tutor_aggregates.tutor_id = any(%(scope)s::text[])"
        " order by tutor_aggregates.tutor_id",
        columns=sql.SQL(", ").join(
            sql.SQL("{} as {}").format(_expression(name), sql.Identifier(name)) for name in names
        ),
        joins=sql.SQL("").join(_joins(database, relations)),
    )
    return database.rows(query, {"scope": None if scope is None else list(scope)})


def _joins(database: Database, relations: set[str]) -> Iterator[sql.Composed]:
    """Yield a join for each relation beside the metrics."""
    for relation, (table, _) in _SCORES.items():
        if relation in relations:
            yield _join(sql.Identifier(database.schemas.ops, table), relation)
    for relation in sorted(relations & {FEATURES, EVIDENCE, PROFILES}):
        yield _join(sql.Identifier(database.schemas.marts, relation), relation)
    if OPEN_ALERTS in relations:
        open_alerts = """(
            select tutor_id, array_agg(alert_type) as types
            from {ops}.alerts
            where subject_kind = 'tutor' and resolved_at is null
            group by tutor_id
        )"""
        yield _join(database.sql(open_alerts), OPEN_ALERTS)


def _join(table: sql.Composable, relation: str) -> sql.Composed:
    return sql.SQL(
        " left join {table} as {name} on tutor_aggregates.tutor_id = {name}.tutor_id"
    ).format(table=table, name=sql.Identifier(relation))


def _expression(name: str) -> sql.Composable:
    """Return the SQL for a name that rules use."""
    if name in _EXPRESSIONS:
        return sql.SQL(_EXPRESSIONS[name])
    relation, _, column = name.rpartition(".")
    if relation == OPEN_ALERTS:
        return sql.SQL("coalesce({} = any(open_alerts.types), false)").format(column)
    return sql.Identifier(relation or MAIN, column)

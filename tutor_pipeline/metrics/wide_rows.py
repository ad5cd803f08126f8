"""The rows that rules read: the metrics of each tutor, and what is known beside them.

Belongs here: the inputs that rules may name and how a row is put together from them, in SQL.
Does not belong here: how a metric or a score is computed, what a rule makes of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
"""`open_alerts.<alert>`: whether that alert is open. The catalogue itself knows which there are."""

FEATURES, EVIDENCE, PROFILES = "tutor_features", "tutor_evidence", "dim_tutors"
"""Beside the metrics in `marts`, a row for each of theirs: what scorers read too."""

# What rules may read beside the metrics: a relation, its table in `ops` and its columns.
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
    """SQL of a likelihood in percent, to the tenth below 10 (as `words.likelihood`)."""
    share = f"tutor_risk.{column}::numeric"
    return f"trim_scale(round(100 * {share}, case when {share} < 0.0995 then 1 else 0 end))"


_EXPRESSIONS = {
    "tutor_risk.reasons": """(
        -- What is unknown is a reason that adds nothing.
        select string_agg(label.value #>> '{}', '; ' order by label.ordinality)
        from jsonb_path_query(tutor_risk.reasons, '$[*] ? (@.contribution > 0).label')
            with ordinality as label (value, ordinality)
    )""",
    "tutor_risk.chance": f"""case
        when tutor_risk.is_probability and tutor_risk.lower is not null
            then ' (' || {_percent("score")} || ' %% likely, between '
                || {_percent("lower")} || ' and ' || {_percent("upper")} || ' %%'
                || coalesce('; ' || {_percent("base_rate")} || ' %% is usual', '') || ')'
        when tutor_risk.base_rate > 0
            then ' (' || round((tutor_risk.score / tutor_risk.base_rate)::numeric)
                || ' times as likely as is usual here)'
        else ''
    end""",
}


@dataclass(frozen=True, slots=True)
class WideRows:
    """One row per active tutor as of a moment. `scope` None = all tutors."""

    rows: list[dict[str, Any]]
    as_of: datetime
    active_tutors: frozenset[str]
    scope: tuple[str, ...] | None


def rule_inputs() -> dict[str, Mapping[str, Column]]:
    """{relation: {column: Column}} of all that rules may name, but for `open_alerts`."""
    scores = {relation: columns for relation, (_, columns) in _SCORES.items()}
    return {MAIN: metric_columns()[MAIN], **scores}


def read(database: Database, run_id: str, columns: Sequence[str]) -> WideRows:
    """The rows of the tutors that the refresh `run_id` covered; all where there was none.

    `columns` are named as rules name them: `metric` or `relation.column`; scorers may name
    `tutor_features.column`, `tutor_evidence.column` and `dim_tutors.column` too. The moment comes
    from the rows themselves, so findings are as of what they were made from, whatever happened
    between the two steps. Raises TutorPipelineError: never built, built by an older version, no
    tutor.
    """
    marts = database.schemas.marts
    built = database.execute(
        "select to_regclass(%s) is not null", (f'"{marts}"."{MAIN}"',)
    ).fetchone()
    if built != (True,):
        raise TutorPipelineError(
            f"{marts}.{MAIN} is not built yet.\nRun the whole refresh first: tutor-pipeline enrich"
        )
    header = database.execute(
        "select is_full, as_of from {ops}.refresh_runs where run_id = %s", (run_id,)
    ).fetchone()
    scope: tuple[str, ...] | None = None
    if header is not None and not header[0]:
        found = database.execute(
            "select tutor_id from {ops}.refresh_scope where run_id = %s order by tutor_id",
            (run_id,),
        ).fetchall()
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
        moments = [header[1]]
    return WideRows(rows, max(moments), frozenset(tutor for (tutor,) in active), scope)


def everybody(database: Database, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of all tutors, whomever a run covers."""
    return _rows(database, columns, None)


def _rows(
    database: Database, columns: Sequence[str], scope: Sequence[str] | None
) -> list[dict[str, Any]]:
    """Only what the rules read: of 160 columns they name some thirty."""
    names = dict.fromkeys(("tutor_id", "as_of", *columns))
    relations = {name.partition(".")[0] for name in names if "." in name}
    select = sql.SQL(", ").join(
        sql.SQL("{} as {}").format(_expression(name), sql.Identifier(name)) for name in names
    )
    query = [sql.SQL("select "), select, database.sql(" from {marts}.tutor_aggregates")]
    for relation, (table, _) in _SCORES.items():
        if relation in relations:
            joined = sql.Identifier(database.schemas.ops, table)
            query.append(_join(joined, relation))
    for relation in sorted(relations & {FEATURES, EVIDENCE, PROFILES}):
        query.append(_join(sql.Identifier(database.schemas.marts, relation), relation))
    if OPEN_ALERTS in relations:
        open_alerts = """(
            select tutor_id, array_agg(alert_type) as types
            from {ops}.alerts
            where resolved_at is null
            group by tutor_id
        )"""
        query.append(_join(database.sql(open_alerts), OPEN_ALERTS))
    query.append(
        sql.SQL(
            " where %(scope)s::text[] is null or tutor_aggregates.tutor_id = any(%(scope)s::text[])"
            " order by tutor_aggregates.tutor_id"
        )
    )
    return database.rows(sql.Composed(query), {"scope": None if scope is None else list(scope)})


def _join(table: sql.Composable, relation: str) -> sql.Composed:
    return sql.SQL(
        " left join {table} as {name} on tutor_aggregates.tutor_id = {name}.tutor_id"
    ).format(table=table, name=sql.Identifier(relation))


def _expression(name: str) -> sql.Composable:
    """The SQL behind a name that rules use."""
    if name in _EXPRESSIONS:
        return sql.SQL(_EXPRESSIONS[name])
    relation, _, column = name.rpartition(".")
    if relation == OPEN_ALERTS:
        return sql.SQL("coalesce({} = any(open_alerts.types), false)").format(column)
    return sql.Identifier(relation or MAIN, column)

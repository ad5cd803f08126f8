"""Queries on the state of the tables: which exist, how many rows they hold, how new they are.

Belongs here: what `status`, warnings about old data and every reader of dbt's tables ask first.
Reads only.
"""

from __future__ import annotations

from datetime import datetime

from psycopg.sql import Identifier

from tutor_pipeline.core.findings import Kind
from tutor_pipeline.core.formatting import moment
from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.core.warehouse.locks import is_held
from tutor_pipeline.judgement.lifecycle.store import last_applied
from tutor_pipeline.sources import relations
from tutor_pipeline.sources.losses import ASSET, CHECK

STALE_DAYS = 7
"""If the newest session is older than this, today's windows are empty."""


def exists(database: Database, schema: str, table: str) -> bool:
    """Returns whether a table or view exists and this role may read it."""
    found: bool = database.value(
        "select exists (select 1 from pg_class inner join pg_namespace"
        " on relnamespace = pg_namespace.oid where nspname = %(schema)s and relname = %(table)s"
        " and has_schema_privilege(relnamespace, 'usage')"
        " and has_table_privilege(pg_class.oid, 'select'))",
        {"schema": schema, "table": table},
    )
    return found


def status(database: Database) -> dict[str, Row]:
    """Returns the row counts of the main tables (None = not there) and the newest moments."""
    schemas = database.schemas
    rows: Row = {
        relations.shown(database.warehouse, table): relations.count(database, table)
        for table in ("tutors", "sessions")
    }
    tables = (
        (schemas.marts, "fct_sessions"),
        (schemas.marts, "tutor_aggregates"),
        (schemas.ops, "quarantine"),
        (schemas.ops, "alerts"),
    )
    for schema, table in tables:
        rows[f"{schema}.{table}"] = (
            database.value(
                database.sql("select count(*) from {table}", table=Identifier(schema, table))
            )
            if exists(database, schema, table)
            else None
        )
    newest_session = computed_as_of = None
    if exists(database, schemas.marts, "fct_sessions"):
        newest_session = database.value(
            "select max(scheduled_start) from {marts}.fct_sessions"
            " where status = 'completed' and scheduled_start <= now()"
        )
    if exists(database, schemas.marts, "tutor_aggregates"):
        computed_as_of = database.value("select max(as_of) from {marts}.tutor_aggregates")
    return {
        "rows": rows,
        "data": {
            "newest_session": _shown(newest_session),
            "computed_as_of": _shown(computed_as_of),
            "alerts_as_of": _shown(alerts_as_of(database)),
            "open_alerts": database.value(
                "select count(*) from {ops}.alerts where resolved_at is null"
            ),
            "open_quarantine": database.value(
                "select count(*) from {ops}.quarantine where resolved_at is null"
            ),
            "missing_rows": missing_rows(database),
        },
    }


def _shown(at: datetime | None) -> str | None:
    return None if at is None else moment(at)


def missing_rows(database: Database) -> str | None:
    """Returns which rows of the platform are missing, so that nothing is derived; None = none."""
    found = database.one(
        "select status, observed from {ops}.dq_results where asset = %s and check_name = %s"
        " order by evaluated_at desc, run_id desc limit 1",
        (ASSET, CHECK),
    )
    return None if found is None or found["status"] == "passed" else found["observed"]


def alerts_as_of(database: Database) -> datetime | None:
    """Returns the as-of moment of the alerts: that of the newest run that evaluated alert rules.

    The metrics are newer while a blocking check stops the alerts. None before the first run.
    """
    return last_applied(database, Kind.ALERT)


def is_stale(database: Database) -> bool:
    """Returns whether `generate` or `import` loaded the platform after the last refresh began."""
    return (
        database.value(
            "select (select max(loaded_at) from {ops}.platform_loads)"
            " > (select max(started_at) from {ops}.refresh_runs where tables is null)"
        )
        is True
    )


def stopped_refresh(database: Database) -> datetime | None:
    """Returns when the newest full refresh began, if it ended before it made alerts; None = it made
    them, or is at work.
    """
    newest = database.one(
        "select started_at, as_of from {ops}.refresh_runs"
        " where is_full and snapshot_from is null order by started_at desc, run_id desc limit 1"
    )
    applied = alerts_as_of(database)
    if newest is None or applied is None or newest["as_of"] <= applied:
        return None
    began: datetime = newest["started_at"]
    return None if is_held(database, "refresh") else began


def newest_session_age_days(database: Database) -> int | None:
    """Returns the whole days since the newest completed session; None without one."""
    if not exists(database, database.schemas.marts, "fct_sessions"):
        return None
    found: int | None = database.value(
        "select floor(extract(epoch from now() - max(scheduled_start)) / 86400)::int"
        " from {marts}.fct_sessions where status = 'completed' and scheduled_start <= now()"
    )
    return found


def monthly_load(database: Database) -> float | None:
    """Returns the median of `sessions_30d` over tutors who had a session; None without any."""
    found: float | None = database.value(
        "select percentile_cont(0.5) within group (order by sessions_30d)"
        " from {marts}.tutor_aggregates where sessions_30d > 0"
    )
    return found


def last_pass(database: Database) -> Row:
    """Returns the newest pass of the refresh after sessions; {"at": None} before the first one."""
    found = database.one(
        """
        select
            to_char(settled_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS UTC') as at,
            changes,
            tutors,
            (select round(sum(value::numeric), 1) from jsonb_each_text(seconds))::float8
                as seconds,
            run_id as run
        from {ops}.refresh_passes
        order by settled_at desc, run_id desc
        limit 1
        """
    )
    return found or {"at": None}

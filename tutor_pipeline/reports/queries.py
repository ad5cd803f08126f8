"""What commands show, as plain SQL. Every function takes an open connection and returns dicts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from difflib import get_close_matches
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from tutor_pipeline.errors import TutorPipelineError, UsageError
from tutor_pipeline.warehouse.connection import Warehouse

Connection = psycopg.Connection[Any]

# All but the pipeline's own note of which sessions it had seen.
_ALERT_COLUMNS = (
    "tutor_id, alert_id, alert_type, occurrence, severity, title, description, recommended_action,"
    " session_id, evidence_session_ids, metrics, excess, rule_profile, rule_version,"
    " triggered_date, last_confirmed_at, acknowledged, acknowledged_at, acknowledged_by,"
    " acknowledged_note, snoozed_until, snoozed_by, resolved, resolved_at, resolved_by, resolution,"
    " action_taken"
)
Row = dict[str, Any]


def exists(connection: Connection, schema: str, table: str) -> bool:
    """Whether a table or view is there."""
    name = sql.Identifier(schema, table).as_string(connection)
    return _value(connection, "select to_regclass(%s) is not null", (name,)) is True


def attention(connection: Connection, warehouse: Warehouse) -> list[Row]:
    """Tutors in need of attention, most urgent first, with name and all open alerts."""
    if not exists(connection, warehouse.schemas.marts, "tutor_aggregates"):
        return []
    return _rows(
        connection,
        warehouse.sql(
            """
            select
                needing.*,
                tutors.name,
                aggregates.is_high_reschedule,
                (
                    select json_agg(json_build_object(
                        'alert_id', alerts.alert_id,
                        'alert_type', alerts.alert_type,
                        'severity', alerts.severity,
                        'title', alerts.title,
                        'description', alerts.description,
                        'recommended_action', alerts.recommended_action,
                        'evidence_session_ids', alerts.evidence_session_ids,
                        'triggered_date', alerts.triggered_date
                    ) order by alerts.severity, alerts.triggered_date desc, alerts.alert_id)
                    from {ops}.alerts as alerts
                    where
                        alerts.tutor_id = needing.tutor_id
                        and alerts.resolved_at is null
                        and (alerts.snoozed_until is null or alerts.snoozed_until <= now())
                ) as alerts
            from {ops}.tutors_needing_attention as needing
            left join {marts}.dim_tutors as tutors on needing.tutor_id = tutors.tutor_id
            left join {marts}.tutor_aggregates as aggregates
                on needing.tutor_id = aggregates.tutor_id
            order by needing.attention_rank
            """
        ),
    )


def alerts(
    connection: Connection,
    warehouse: Warehouse,
    *,
    tutor: str | None = None,
    alert_type: str | None = None,
    severity: str | None = None,
    include_resolved: bool = False,
) -> list[Row]:
    """Alerts, newest first; open ones unless asked."""
    return _rows(
        connection,
        warehouse.sql(
            """
            select """
            + _ALERT_COLUMNS
            + """
            from {ops}.alerts
            where
                (%(all)s or resolved_at is null)
                and (%(tutor)s::text is null or tutor_id = %(tutor)s)
                and (%(alert_type)s::text is null or alert_type = %(alert_type)s)
                and (%(severity)s::text is null or severity = %(severity)s)
            order by triggered_date desc, tutor_id, alert_id
            """
        ),
        {
            "all": include_resolved,
            "tutor": tutor,
            "alert_type": alert_type,
            "severity": severity,
        },
    )


def alert(connection: Connection, warehouse: Warehouse, alert_id: str) -> Row:
    """One alert with its events, by its id or the id's beginning.

    Raises UsageError: none or several begin like that.
    """
    found = _rows(
        connection,
        warehouse.sql(
            f"select {_ALERT_COLUMNS} from {{ops}}.alerts where starts_with(alert_id, %s) limit 2"
        ),
        (alert_id,),
    )
    if len(found) != 1:
        raise UsageError(
            f"{'no' if not found else 'more than one'} alert has an id that begins with"
            f" {alert_id!r}.\nSee the ids with: tutor-pipeline alerts list --all"
        )
    row = found[0]
    row["events"] = _rows(
        connection,
        warehouse.sql(
            "select event_no, event, at, actor, run_id, details from {ops}.alert_events"
            " where tutor_id = %s and alert_id = %s order by event_no"
        ),
        (row["tutor_id"], row["alert_id"]),
    )
    return row


def tutor(connection: Connection, warehouse: Warehouse, tutor_id: str) -> Row:
    """One tutor's profile, metrics and alerts. Raises UsageError naming similar ids."""
    if not exists(connection, warehouse.schemas.marts, "dim_tutors"):
        raise TutorPipelineError("no tutor is known yet. Run: tutor-pipeline enrich")
    profile = _rows(
        connection,
        warehouse.sql("select * from {marts}.dim_tutors where tutor_id = %s"),
        (tutor_id,),
    )
    if not profile:
        known = _rows(connection, warehouse.sql("select tutor_id from {marts}.dim_tutors"))
        ids = sorted(row["tutor_id"] for row in known)
        begun = [known_id for known_id in ids if known_id.startswith(tutor_id)]
        near = begun[:3] or get_close_matches(tutor_id, ids)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise UsageError(f"no tutor {tutor_id!r} among {len(known):,}.{hint}")
    metrics = _rows(
        connection,
        warehouse.sql("select * from {marts}.tutor_aggregates where tutor_id = %s"),
        (tutor_id,),
    )
    return {
        "tutor_id": tutor_id,
        "profile": profile[0],
        "metrics": metrics[0] if metrics else None,
        "alerts": alerts(connection, warehouse, tutor=tutor_id, include_resolved=True),
    }


def tutors_to_refresh(
    connection: Connection,
    warehouse: Warehouse,
    named: Sequence[str] | None,
    since: date | None,
) -> list[str]:
    """The tutors named, or all known, kept to those with a session since a day.

    Raises UsageError for a named tutor that has no row and no session.
    """
    if not exists(connection, warehouse.schemas.marts, "fct_sessions"):
        raise TutorPipelineError("nothing is built yet. Run first: tutor-pipeline enrich")
    known = _rows(
        connection,
        warehouse.sql(
            """
            select tutors.tutor_id, max(sessions.session_on) as last_session_on
            from {marts}.dim_tutors as tutors
            left join {marts}.fct_sessions as sessions on tutors.tutor_id = sessions.tutor_id
            group by tutors.tutor_id
            order by tutors.tutor_id
            """
        ),
    )
    last = {row["tutor_id"]: row["last_session_on"] for row in known}
    for tutor_id in named or ():
        if tutor_id not in last:
            raise UsageError(
                f"no tutor {tutor_id!r} among {len(last):,}."
                " A tutor new on the platform appears with the next: tutor-pipeline enrich"
            )
    return [
        tutor_id
        for tutor_id in (named or last)
        if since is None or (last[tutor_id] is not None and last[tutor_id] >= since)
    ]


def open_alerts_by_tutor(
    connection: Connection, warehouse: Warehouse, tutors: Sequence[str]
) -> list[Row]:
    """Per tutor: name and how many open alerts, critical ones and warnings."""
    return _rows(
        connection,
        warehouse.sql(
            """
            select
                tutors.tutor_id,
                tutors.name,
                count(alerts.alert_id) as alerts,
                count(*) filter (where alerts.severity = 'critical') as critical,
                count(*) filter (where alerts.severity = 'warning') as warning
            from {marts}.dim_tutors as tutors
            left join {ops}.alerts as alerts
                on tutors.tutor_id = alerts.tutor_id and alerts.resolved_at is null
            where tutors.tutor_id = any(%s::text[])
            group by tutors.tutor_id, tutors.name
            order by tutors.tutor_id
            """
        ),
        (list(tutors),),
    )


def newest_session_age_days(connection: Connection, warehouse: Warehouse) -> int | None:
    """Whole days since the newest completed session, None without one."""
    if not exists(connection, warehouse.schemas.marts, "fct_sessions"):
        return None
    found: int | None = _value(
        connection,
        warehouse.sql(
            "select floor(extract(epoch from now() - max(scheduled_start)) / 86400)::int"
            " from {marts}.fct_sessions where status = 'completed' and scheduled_start <= now()"
        ),
    )
    return found


def is_stale(connection: Connection, warehouse: Warehouse) -> bool:
    """Whether a platform schema of ours was filled after the last refresh began."""
    return (
        _value(
            connection,
            warehouse.sql(
                "select (select max(loaded_at) from {ops}.platform_loads)"
                " > (select max(started_at) from {ops}.refresh_runs)"
            ),
        )
        is True
    )


def status(connection: Connection, warehouse: Warehouse) -> dict[str, Row]:
    """Row counts of what is there, and the newest moments."""
    schemas = warehouse.schemas
    tables = (
        (schemas.platform, "tutors"),
        (schemas.platform, "sessions"),
        (schemas.marts, "fct_sessions"),
        (schemas.marts, "tutor_aggregates"),
        (schemas.ops, "quarantine"),
        (schemas.ops, "alerts"),
    )
    rows: Row = {}
    for schema, table in tables:
        rows[f"{schema}.{table}"] = (
            _value(
                connection,
                sql.SQL("select count(*) from {}").format(sql.Identifier(schema, table)),
            )
            if exists(connection, schema, table)
            else None
        )
    data: Row = {"newest_session": None, "computed_as_of": None, "open_alerts": 0}
    if exists(connection, schemas.marts, "fct_sessions"):
        data["newest_session"] = _value(
            connection,
            warehouse.sql(
                "select to_char(max(scheduled_start) at time zone 'UTC', 'YYYY-MM-DD HH24:MI UTC')"
                " from {marts}.fct_sessions where status = 'completed'"
            ),
        )
    if exists(connection, schemas.marts, "tutor_aggregates"):
        data["computed_as_of"] = _value(
            connection,
            warehouse.sql(
                "select to_char(max(as_of) at time zone 'UTC', 'YYYY-MM-DD HH24:MI UTC')"
                " from {marts}.tutor_aggregates"
            ),
        )
    data["open_alerts"] = _value(
        connection, warehouse.sql("select count(*) from {ops}.alerts where resolved_at is null")
    )
    data["open_quarantine"] = _value(
        connection,
        warehouse.sql("select count(*) from {ops}.quarantine where resolved_at is null"),
    )
    return {"rows": rows, "data": data}


def _rows(connection: Connection, query: sql.Composed, parameters: Any = None) -> list[Row]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, parameters).fetchall()


def _value(connection: Connection, query: Any, parameters: Any = None) -> Any:
    row = connection.execute(query, parameters).fetchone()
    return None if row is None else row[0]

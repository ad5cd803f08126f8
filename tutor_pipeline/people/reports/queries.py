"""What commands show, as plain SQL. Every function takes an open connection and returns dicts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from difflib import get_close_matches
from typing import Any

from psycopg import sql

from tutor_pipeline.core.errors import TutorPipelineError, UsageError
from tutor_pipeline.core.findings import BY_HAND
from tutor_pipeline.core.warehouse.database import Database

# All but the pipeline's own note of which sessions it had seen.
_ALERT_COLUMNS = (
    "tutor_id, alert_id, alert_type, occurrence, severity, title, description, recommended_action,"
    " session_id, evidence_session_ids, metrics, excess, rule_profile, rule_version,"
    " triggered_date, last_confirmed_at, acknowledged, acknowledged_at, acknowledged_by,"
    " acknowledged_note, snoozed_until, snoozed_by, resolved, resolved_at, resolved_by, resolution,"
    " action_taken"
)
Row = dict[str, Any]


def exists(database: Database, schema: str, table: str) -> bool:
    """Whether a table or view is there, and may be read."""
    found: bool = database.value(
        "select exists (select from pg_class inner join pg_namespace"
        " on relnamespace = pg_namespace.oid where nspname = %s and relname = %s"
        " and has_schema_privilege(relnamespace, 'usage')"
        " and has_table_privilege(pg_class.oid, 'select'))",
        (schema, table),
    )
    return found


def attention(database: Database, limit: int) -> list[Row]:
    """The first tutors in need of attention, most urgent first, with name and all open alerts."""
    if not exists(database, database.schemas.marts, "tutor_aggregates"):
        return []
    return database.rows(
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
                        'triggered_date', alerts.triggered_date,
                        'acknowledged_by', alerts.acknowledged_by,
                        'acknowledged_note', alerts.acknowledged_note
                    ) order by alerts.severity, alerts.triggered_date desc, alerts.alert_id)
                    from {ops}.alerts as alerts
                    where
                        alerts.tutor_id = needing.tutor_id
                        and alerts.resolved_at is null
                        and (alerts.snoozed_until is null or alerts.snoozed_until <= now())
                ) as alerts
            from (
                select * from {ops}.tutors_needing_attention order by attention_rank limit %s
            ) as needing
            left join {marts}.dim_tutors as tutors on needing.tutor_id = tutors.tutor_id
            left join {marts}.tutor_aggregates as aggregates
                on needing.tutor_id = aggregates.tutor_id
            order by needing.attention_rank
            """,
        (limit,),
    )


def tutors_in_need(database: Database) -> int:
    """How many tutors need attention."""
    found: int = database.value(
        "select count(distinct tutor_id) from {ops}.alerts where resolved_at is null"
        " and (snoozed_until is null or snoozed_until <= now())"
    )
    return found


def alerts(
    database: Database,
    *,
    tutor: str | None = None,
    alert_type: str | None = None,
    severity: str | None = None,
    include_resolved: bool = False,
) -> list[Row]:
    """Alerts, newest first, then the worst; open ones unless asked."""
    return database.rows(
        database.sql(
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
            order by triggered_date desc, severity, excess desc, tutor_id, alert_id
            """
        ),
        {
            "all": include_resolved,
            "tutor": tutor,
            "alert_type": alert_type,
            "severity": severity,
        },
    )


def alert(database: Database, alert_id: str) -> Row:
    """One alert with its events, by its id or the id's beginning.

    Raises UsageError: none or several begin like that.
    """
    (full_id,) = alert_ids(database, [alert_id])
    (row,) = database.rows(
        f"select {_ALERT_COLUMNS} from {{ops}}.alerts where alert_id = %s", (full_id,)
    )
    row["events"] = database.rows(
        "select event_no, event, at, actor, run_id, details from {ops}.alert_events"
        " where tutor_id = %s and alert_id = %s order by event_no",
        (row["tutor_id"], row["alert_id"]),
    )
    return row


def alert_ids(database: Database, beginnings: Sequence[str]) -> list[str]:
    """The alerts whose ids begin like that, one for each, in that order and none twice.

    Raises UsageError naming each beginning that none or several alerts have.
    """
    found = database.rows(
        """
            select beginning, min(alert_id) as alert_id, count(alert_id) as alerts
            from unnest(%s::text[]) with ordinality as wanted (beginning, position)
            left join {ops}.alerts as alerts on starts_with(alerts.alert_id, wanted.beginning)
            group by position, beginning
            order by position
            """,
        (list(beginnings),),
    )
    wrong = [
        f"{'no' if not row['alerts'] else 'more than one'} alert has an id that begins with"
        f" {row['beginning']!r}."
        for row in found
        if row["alerts"] != 1
    ]
    if wrong:
        raise UsageError("\n".join([*wrong, "See the ids with: tutor-pipeline alerts list --all"]))
    return list(dict.fromkeys(row["alert_id"] for row in found))


def alert_ids_of(
    database: Database, *, tutor: str | None, alert_type: str | None, resolved_by_hand: bool = False
) -> list[str]:
    """The open alerts of a tutor, of a type, or of both; or the newest that a person resolved
    where none of that tutor and type is open.
    """
    rows = database.rows(
        """
            select distinct on (tutor_id, alert_type)
                alert_id,
                resolved_at is null as is_open,
                resolution = any(%(by_hand)s) as is_by_hand
            from {ops}.alerts
            where
                (%(tutor)s::text is null or tutor_id = %(tutor)s)
                and (%(alert_type)s::text is null or alert_type = %(alert_type)s)
            order by tutor_id, alert_type, resolved_at is null desc, occurrence desc
            """,
        {"tutor": tutor, "alert_type": alert_type, "by_hand": [str(each) for each in BY_HAND]},
    )
    wanted = "is_by_hand" if resolved_by_hand else "is_open"
    return [row["alert_id"] for row in rows if row[wanted]]


def activity(database: Database, since: date, *, by_day: bool) -> list[Row]:
    """What became of alerts since a day (UTC): per type, the most opened first and then all types
    together (`alert_type` None); or per day and type (`ops.alert_activity`, which says what the
    columns mean). Nothing where nothing happened.
    """
    if by_day:
        return database.rows(
            "select * from {ops}.alert_activity where day >= %s order by day desc, alert_type",
            (since,),
        )
    return database.rows(
        """
            with completed as (
                select sum(completed) as sessions
                from {ops}.session_days
                where session_on >= %(since)s
            ),

            counted as (
                select
                    line.alert_type,
                    count(*) filter (where event = 'opened') as opened,
                    count(*) filter (where event = 'escalated') as escalated,
                    count(*) filter (where event = 'acknowledged') as acknowledged,
                    count(*) filter (where event = 'snoozed') as snoozed,
                    count(*) filter (where resolved = 'by hand') as resolved_by_hand,
                    count(*) filter (where resolved = 'auto') as resolved_auto,
                    count(*) filter (where resolved = 'retired') as resolved_retired,
                    count(*) filter (where event = 'reopened') as reopened,
                    count(*) filter (where resolved = 'by hand' and resolution = 'coached')
                        as coached,
                    count(*) filter (where resolved = 'by hand' and resolution = 'not_actionable')
                        as not_actionable,
                    avg(hours) filter (where event = 'acknowledged') as mean_hours_to_acknowledge,
                    percentile_cont(0.5) within group (order by hours)
                        filter (where event = 'acknowledged') as median_hours_to_acknowledge,
                    avg(hours) filter (where resolved in ('by hand', 'auto'))
                        as mean_hours_to_resolve,
                    percentile_cont(0.5) within group (order by hours)
                        filter (where resolved in ('by hand', 'auto')) as median_hours_to_resolve,
                    count(distinct session_id) filter (where event = 'opened')
                        as sessions_that_opened
                from {ops}.alert_history as history
                -- Each event counts in the line of its type and in that of all types.
                cross join lateral (values (history.alert_type), (null)) as line (alert_type)
                where history.day >= %(since)s
                group by line.alert_type
            )

            select
                counted.*,
                not_actionable::double precision / nullif(resolved_by_hand, 0)
                    as not_actionable_share,
                coached::double precision / nullif(resolved_by_hand, 0) as coached_share,
                completed.sessions as sessions_completed,
                sessions_that_opened::double precision / nullif(completed.sessions, 0)
                    as opened_session_share
            from counted
            cross join completed
            order by alert_type is null, opened desc, alert_type
            """,
        {"since": since},
    )


def open_alert_types(database: Database) -> dict[str, set[str]]:
    """Which alerts each tutor has open."""
    rows = database.rows(
        "select tutor_id, array_agg(alert_type) as types from {ops}.alerts"
        " where resolved_at is null group by tutor_id"
    )
    return {row["tutor_id"]: set(row["types"]) for row in rows}


def alerts_by_id(database: Database, ids: Sequence[str]) -> dict[str, Row]:
    """Alerts by their whole ids."""
    found = database.rows(
        f"select {_ALERT_COLUMNS} from {{ops}}.alerts where alert_id = any(%s)", (list(ids),)
    )
    return {row["alert_id"]: row for row in found}


def profile_of(database: Database, tutor_id: str) -> Row:
    """One tutor's row of `dim_tutors`. Raises UsageError naming similar ids."""
    if not exists(database, database.schemas.marts, "dim_tutors"):
        raise TutorPipelineError("no tutor is known yet. Run: tutor-pipeline enrich")
    profile = database.rows("select * from {marts}.dim_tutors where tutor_id = %s", (tutor_id,))
    if not profile:
        known = database.rows("select tutor_id from {marts}.dim_tutors")
        ids = sorted(row["tutor_id"] for row in known)
        begun = [known_id for known_id in ids if known_id.startswith(tutor_id)]
        near = begun[:3] or get_close_matches(tutor_id, ids)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise UsageError(f"no tutor {tutor_id!r} among {len(known):,}.{hint}")
    return profile[0]


def alert_types(database: Database) -> set[str]:
    """The types that any alert ever had."""
    rows = database.rows("select distinct alert_type from {ops}.alerts")
    return {row["alert_type"] for row in rows}


def profile_in_force(database: Database) -> str | None:
    """The rule profile of the newest run; None where nothing was evaluated, or all was cleared."""
    found: str | None = database.value(
        "select profile from {ops}.reconcile_runs where kind = 'alert'"
        " order by applied_at desc limit 1"
    )
    return found


def tutor(database: Database, tutor_id: str) -> Row:
    """One tutor's profile, metrics, scores, alerts, insights and badges. Raises UsageError naming
    similar ids.
    """
    profile = profile_of(database, tutor_id)
    metrics = database.rows(
        "select * from {marts}.tutor_aggregates where tutor_id = %s", (tutor_id,)
    )
    return {
        "tutor_id": tutor_id,
        "profile": profile,
        "metrics": metrics[0] if metrics else None,
        "risk": _only(database, "current_tutor_risk", tutor_id),
        "scores": scores(database, tutor_id),
        "health": _only(database, "tutor_health", tutor_id),
        "alerts": alerts(database, tutor=tutor_id, include_resolved=True),
        "insights": database.rows(
            "select * from {ops}.tutor_insights where tutor_id = %s and is_active"
            " order by insight_type desc, category",
            (tutor_id,),
        ),
        "achievements": database.rows(
            "select * from {ops}.achievements where tutor_id = %s"
            " order by is_active desc, earned_date, achievement_type",
            (tutor_id,),
        ),
    }


def scores(database: Database, tutor_id: str) -> list[Row]:
    """What every scorer said of a tutor when it was last scored, risks first."""
    return database.rows(
        """
            select
                scorer, version, target, horizon_days, as_of, score, is_probability, level,
                reasons, status, lower, upper, base_rate, known_share, not_known
            from {ops}.tutor_scores
            where
                tutor_id = %(tutor)s
                and as_of = (
                    select max(as_of) from {ops}.tutor_scores where tutor_id = %(tutor)s
                )
            order by level is null, target, horizon_days, scorer
            """,
        {"tutor": tutor_id},
    )


def _only(database: Database, table: str, tutor_id: str) -> Row | None:
    """The row of a tutor in a table of `ops` with a row per tutor."""
    rows = database.rows(
        database.sql("select * from {ops}.")
        + sql.SQL("{} where tutor_id = %s").format(sql.Identifier(table)),
        (tutor_id,),
    )
    return rows[0] if rows else None


def backtest(database: Database, run_id: str) -> list[Row]:
    """The figures of a back-test, by target and scorer."""
    return database.rows(
        "select * from {ops}.backtest_metrics where run_id = %s"
        " order by target desc, scorer = 'oracle', scorer, version, metric",
        (run_id,),
    )


def first_session_on(database: Database) -> date:
    """The day of the first session. Raises TutorPipelineError where there is none."""
    if exists(database, database.schemas.marts, "fct_sessions"):
        rows = database.rows("select min(session_on) as day from {marts}.fct_sessions")
        if rows[0]["day"] is not None:
            day: date = rows[0]["day"]
            return day
    raise TutorPipelineError("there is no session. Run first: tutor-pipeline enrich")


def days_of_history(database: Database) -> set[date]:
    """The days that marts.tutor_aggregates_history has rows of."""
    if not exists(database, database.schemas.marts, "tutor_aggregates_history"):
        return set()
    rows = database.rows("select distinct as_of_date as day from {marts}.tutor_aggregates_history")
    return {row["day"] for row in rows}


def tutors_to_refresh(
    database: Database, named: Sequence[str] | None, since: date | None
) -> list[str]:
    """The tutors named, or all known, kept to those with a session since a day.

    Raises UsageError for a named tutor that has no row and no session.
    """
    if not exists(database, database.schemas.marts, "fct_sessions"):
        raise TutorPipelineError("nothing is built yet. Run first: tutor-pipeline enrich")
    known = database.rows(
        """
            select tutors.tutor_id, max(sessions.session_on) as last_session_on
            from {marts}.dim_tutors as tutors
            left join {marts}.fct_sessions as sessions
                on tutors.tutor_id = sessions.tutor_id
                    and sessions.scheduled_start <= now()
                    and sessions.status not in ('scheduled', 'in_progress')
            group by tutors.tutor_id
            order by tutors.tutor_id
            """
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
        for tutor_id in dict.fromkeys(named or last)
        if since is None or (last[tutor_id] is not None and last[tutor_id] >= since)
    ]


def findings_by_tutor(database: Database, tutors: Sequence[str]) -> list[Row]:
    """Per tutor: name, open alerts (critical ones and warnings too), insights and badges."""
    return database.rows(
        """
            select
                tutors.tutor_id,
                tutors.name,
                open_alerts.*,
                (
                    select count(*) from {ops}.tutor_insights as insights
                    where insights.tutor_id = tutors.tutor_id and insights.is_active
                ) as insights,
                (
                    select count(*) from {ops}.achievements as achievements
                    where achievements.tutor_id = tutors.tutor_id and achievements.is_active
                ) as achievements
            from {marts}.dim_tutors as tutors
            cross join lateral (
                select
                    count(*) as alerts,
                    count(*) filter (where alerts.severity = 'critical') as critical,
                    count(*) filter (where alerts.severity = 'warning') as warning
                from {ops}.alerts as alerts
                where alerts.tutor_id = tutors.tutor_id and alerts.resolved_at is null
            ) as open_alerts
            where tutors.tutor_id = any(%s::text[])
            order by tutors.tutor_id
            """,
        (list(tutors),),
    )


def open_findings(database: Database, table: str) -> Row:
    """How many rows of a table of findings are open, and of how many tutors."""
    (row,) = database.rows(
        database.sql(
            "select count(*) as open, count(distinct tutor_id) as tutors_with_one from {ops}."
        )
        + sql.SQL("{} where resolved_at is null").format(sql.Identifier(table))
    )
    return row


def skipped_tutors(database: Database, kind: str, run_id: str) -> tuple[int, dict[str, str]]:
    """How many tutors a run evaluated for one kind, and whom it left out and why; of the newest
    run where that one evaluated nobody.
    """
    rows = database.rows(
        "select tutors, skipped from {ops}.reconcile_runs where kind = %s"
        " order by run_id = %s desc, applied_at desc limit 1",
        (kind, run_id),
    )
    return (rows[0]["tutors"], rows[0]["skipped"]) if rows else (0, {})


def monthly_load(database: Database) -> float | None:
    """Median sessions of 30 days of the tutors that had one; None where nobody had."""
    found: float | None = database.value(
        "select percentile_cont(0.5) within group (order by sessions_30d)"
        " from {marts}.tutor_aggregates where sessions_30d > 0"
    )
    return found


def newest_session_age_days(database: Database) -> int | None:
    """Whole days since the newest completed session, None without one."""
    if not exists(database, database.schemas.marts, "fct_sessions"):
        return None
    found: int | None = database.value(
        "select floor(extract(epoch from now() - max(scheduled_start)) / 86400)::int"
        " from {marts}.fct_sessions where status = 'completed' and scheduled_start <= now()"
    )
    return found


def is_stale(database: Database) -> bool:
    """Whether a platform schema of ours was filled after the last refresh began."""
    return (
        database.value(
            "select (select max(loaded_at) from {ops}.platform_loads)"
            " > (select max(started_at) from {ops}.refresh_runs)"
        )
        is True
    )


def status(database: Database) -> dict[str, Row]:
    """Row counts of what is there, and the newest moments."""
    schemas = database.schemas
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
            database.value(sql.SQL("select count(*) from {}").format(sql.Identifier(schema, table)))
            if exists(database, schema, table)
            else None
        )
    data: Row = {"newest_session": None, "computed_as_of": None, "open_alerts": 0}
    if exists(database, schemas.marts, "fct_sessions"):
        data["newest_session"] = database.value(
            "select to_char(max(scheduled_start) at time zone 'UTC', 'YYYY-MM-DD HH24:MI UTC')"
            " from {marts}.fct_sessions where status = 'completed'"
        )
    if exists(database, schemas.marts, "tutor_aggregates"):
        data["computed_as_of"] = database.value(
            "select to_char(max(as_of) at time zone 'UTC', 'YYYY-MM-DD HH24:MI UTC')"
            " from {marts}.tutor_aggregates"
        )
    data["open_alerts"] = database.value(
        "select count(*) from {ops}.alerts where resolved_at is null"
    )
    data["open_quarantine"] = database.value(
        "select count(*) from {ops}.quarantine where resolved_at is null"
    )
    return {"rows": rows, "data": data}


def last_pass(database: Database) -> Row:
    """The newest pass of the refresh after sessions; {"at": None} before the first one."""
    rows = database.rows(
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
    return rows[0] if rows else {"at": None}

"""Queries on alerts: who needs attention, which alerts there are, what became of them.

Belongs here: reading `ops.alerts`, its events and its views for people. Reads only.
Does not belong here: what people do to alerts (`judgement.lifecycle.alert_actions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.findings import BY_HAND
from tutor_pipeline.core.formatting import candidates, count
from tutor_pipeline.core.warehouse.database import Database, Row, identifiers
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.people.reports.status_queries import exists

ALERT_COLUMNS = (
    "tutor_id", "alert_id", "subject_kind", "subject_id", "alert_type", "occurrence", "severity",
    "title", "description", "recommended_action", "session_id", "evidence_session_ids", "metrics",
    "excess", "rule_profile", "rule_version", "triggered_date", "last_confirmed_at", "acknowledged",
    "acknowledged_at", "acknowledged_by", "acknowledged_note", "snoozed_until", "snoozed_by",
    "owner", "resolved", "resolved_at", "resolved_by", "resolution", "action_taken",
)  # fmt: skip
"""All columns but `known_session_ids`, which only the lifecycle reads."""


def attention(database: Database, limit: int) -> list[Row]:
    """Returns the first tutors in need of attention, most urgent first, with name and open alerts.

    Empty before the metrics are built.
    """
    if not exists(database, database.schemas.marts, "tutor_aggregates"):
        return []
    needing = database.rows(
        """
        select needing.*, tutors.name, aggregates.is_high_reschedule
        from (
            select * from {ops}.tutors_needing_attention order by attention_rank limit %(limit)s
        ) as needing
        left join {marts}.dim_tutors as tutors on needing.tutor_id = tutors.tutor_id
        left join {marts}.tutor_aggregates as aggregates
            on needing.tutor_id = aggregates.tutor_id
        order by needing.attention_rank
        """,
        {"limit": limit},
    )
    # A query of its own: in one query, a cluster cannot look up alerts per row of the view.
    shown = database.rows(
        statement(__file__, "attention_alerts"), {"tutors": [row["tutor_id"] for row in needing]}
    )
    alerts = {row["tutor_id"]: row["alerts"] for row in shown}
    # The last alert of a tutor may close between the two queries.
    return [
        {**row, "alerts": alerts[row["tutor_id"]]} for row in needing if row["tutor_id"] in alerts
    ]


def not_told(database: Database) -> dict[str, int]:
    """Returns how many tutors `attention` leaves out, by reason: all their open alerts are
    `snoozed`; the newest run could not read their metrics (`unreadable`); too little is known for
    a level of risk (`unknown_risk`, of active tutors).
    """
    counts = database.one(
        """
        select
            (
                select count(*) from (
                    select tutor_id from {ops}.alerts
                    where subject_kind = 'tutor' and resolved_at is null
                    group by tutor_id
                    having bool_and(coalesce(snoozed_until > now(), false))
                ) as quiet
            ) as snoozed,
            coalesce((
                select (select count(*) from jsonb_object_keys(skipped))
                from {ops}.reconcile_runs
                where kind = 'alert'
                order by applied_at desc
                limit 1
            ), 0) as unreadable
        """
    )
    assert counts is not None
    counts["unknown_risk"] = 0
    if not exists(database, database.schemas.ops, "current_tutor_risk"):
        return counts
    counts["unknown_risk"] = database.value(
        "select count(*) from {ops}.current_tutor_risk as risk"
        " inner join {marts}.tutor_aggregates as active on risk.tutor_id = active.tutor_id"
        " where risk.level is null"
    )
    return counts


def alerts(
    database: Database,
    *,
    tutor: str | None = None,
    student: str | None = None,
    alert_type: str | None = None,
    severity: str | None = None,
    include_resolved: bool = False,
) -> list[Row]:
    """Returns alerts, newest first, then by severity. Without `include_resolved` only open ones.
    `tutor`: those of a tutor; `student`: those about a student.
    """
    return database.rows(
        database.sql(
            """
            select {columns}
            from {ops}.alerts
            where
                (%(all)s or resolved_at is null)
                and (%(tutor)s::text is null or tutor_id = %(tutor)s)
                and (
                    %(student)s::text is null
                    or (subject_kind = 'student' and subject_id = %(student)s)
                )
                and (%(alert_type)s::text is null or alert_type = %(alert_type)s)
                and (%(severity)s::text is null or severity = %(severity)s)
            order by triggered_date desc, severity, excess desc, tutor_id, alert_id
            """,
            columns=identifiers(ALERT_COLUMNS),
        ),
        {
            "all": include_resolved,
            "tutor": tutor,
            "student": student,
            "alert_type": alert_type,
            "severity": severity,
        },
    )


def alert(database: Database, alert_id: str) -> Row:
    """Returns one alert with its events, by its id or the beginning of its id.

    Raises UsageError when no alert or more than one begins like that.
    """
    (full_id,) = alert_ids(database, [alert_id])
    row = alerts_by_id(database, [full_id])[full_id]
    row["events"] = database.rows(
        "select event_no, event, at, actor, run_id, details from {ops}.alert_events"
        " where tutor_id = %(tutor_id)s and alert_id = %(alert_id)s order by event_no",
        {"tutor_id": row["tutor_id"], "alert_id": full_id},
    )
    return row


def alerts_by_id(database: Database, ids: Sequence[str]) -> dict[str, Row]:
    """Returns the alerts with these ids, by id."""
    found = database.rows(
        database.sql(
            "select {columns} from {ops}.alerts where alert_id = any(%(ids)s)",
            columns=identifiers(ALERT_COLUMNS),
        ),
        {"ids": list(ids)},
    )
    return {row["alert_id"]: row for row in found}


def alert_ids(database: Database, beginnings: Sequence[str]) -> list[str]:
    """Returns the id of the one alert that begins with each of `beginnings`, without repetition.

    Raises UsageError naming each beginning that fits no alert or more than one, with these.
    """
    found = database.rows(
        """
        select
            beginning,
            min(alert_id) as alert_id,
            count(alert_id) as alerts,
            (array_agg(alert_id order by alert_id))[:6] as candidates
        from unnest(%(beginnings)s::text[]) with ordinality as wanted (beginning, position)
        left join {ops}.alerts as alerts on starts_with(alerts.alert_id, wanted.beginning)
        group by position, beginning
        order by position
        """,
        {"beginnings": list(beginnings)},
    )
    wrong = [
        f"no alert has an id that begins with {row['beginning']!r}."
        if not row["alerts"]
        else f"{count(row['alerts'], 'alert')} have an id that begins with {row['beginning']!r}"
        f"{candidates(row['candidates'])}."
        for row in found
        if row["alerts"] != 1
    ]
    if wrong:
        raise UsageError("\n".join([*wrong, "See the ids with: tutor-pipeline alerts list --all"]))
    return list(dict.fromkeys(row["alert_id"] for row in found))


def alert_ids_of(
    database: Database, *, tutor: str | None, alert_type: str | None, resolved_by_hand: bool = False
) -> list[str]:
    """Returns the ids of the open alerts of a tutor, of a type, or of both.

    With `resolved_by_hand` it returns, for each subject and type without an open alert, the newest
    one if a person resolved it.
    """
    rows = database.rows(
        """
        select distinct on (tutor_id, subject_kind, subject_id, alert_type)
            alert_id,
            resolved_at is null as is_open,
            resolution = any(%(by_hand)s) as is_by_hand
        from {ops}.alerts
        where
            (%(tutor)s::text is null or tutor_id = %(tutor)s)
            and (%(alert_type)s::text is null or alert_type = %(alert_type)s)
        order by
            tutor_id, subject_kind, subject_id, alert_type, resolved_at is null desc,
            occurrence desc
        """,
        {"tutor": tutor, "alert_type": alert_type, "by_hand": [str(each) for each in BY_HAND]},
    )
    wanted = "is_by_hand" if resolved_by_hand else "is_open"
    return [row["alert_id"] for row in rows if row[wanted]]


def alert_types(database: Database) -> set[str]:
    """Returns the types of all alerts, resolved ones included."""
    rows = database.rows("select distinct alert_type from {ops}.alerts")
    return {row["alert_type"] for row in rows}


def open_alert_types(database: Database) -> dict[str, set[str]]:
    """Returns the types of the open alerts about each tutor who has one."""
    rows = database.rows(
        "select tutor_id, array_agg(alert_type) as types from {ops}.alerts"
        " where subject_kind = 'tutor' and resolved_at is null group by tutor_id"
    )
    return {row["tutor_id"]: set(row["types"]) for row in rows}


def activity(database: Database, since: date, *, by_day: bool) -> list[Row]:
    """Returns what became of alerts since a day (UTC); empty if nothing happened.

    One row per type, the most opened first, and at the end one for all types together
    (`alert_type` None). With `by_day` one row per day and type (`ops.alert_activity`, which
    describes the columns).
    """
    if by_day:
        return database.rows(
            "select * from {ops}.alert_activity where day >= %(since)s"
            " order by day desc, alert_type",
            {"since": since},
        )
    return database.rows(statement(__file__, "alert_activity"), {"since": since})

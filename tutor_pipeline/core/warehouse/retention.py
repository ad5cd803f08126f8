"""How long rows of `ops` are kept, and the sizes of tables.

Belongs here: retention rules, and deleting by them. Each rule keeps the old rows that readers need,
as the newest evaluation of a check or the newest refresh.
Does not belong here: Dagster's runs (`defs.housekeeping`), files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import sql

from tutor_pipeline.core.warehouse.database import Database

BATCH = 10_000
"""Rows deleted per statement. Each statement commits, so locks are held only briefly."""

# A run of `post_session_refresh` numbers its passes, <run id>/<n>: thousands a day.
_IS_PART = "stored.run_id like '%%/%%'"


@dataclass(frozen=True, slots=True)
class Rule:
    """Deletes rows of `ops.<table>` (alias `stored`) where the condition `old` holds.

    %(before)s is `days` before now. `key` is the table's primary key.
    """

    table: str
    key: tuple[str, ...]
    days: int
    old: str


RULES = (
    # The guard and the report need the newest evaluation of each check, however old.
    *(
        Rule(
            "dq_results",
            ("run_id", "asset", "check_name"),
            days,
            f"""{which} and stored.evaluated_at < %(before)s
            and (stored.asset, stored.check_name, stored.evaluated_at) not in (
                select asset, check_name, max(evaluated_at) from {{ops}}.dq_results
                group by asset, check_name
            )""",
        )
        for days, which in ((7, _IS_PART), (90, "true"))
    ),
    # The report shows the newest run of each kind.
    Rule(
        "rule_coverage",
        ("run_id", "kind", "rule_id"),
        90,
        """stored.evaluated_at < %(before)s
        and (stored.kind, stored.evaluated_at) not in (
            select kind, max(evaluated_at) from {ops}.rule_coverage group by kind
        )""",
    ),
    # A report compares itself with the previous one, so the newest stays.
    Rule(
        "validation_reports",
        ("run_id",),
        90,
        """stored.made_at < %(before)s
        and stored.made_at < (select max(made_at) from {ops}.validation_reports)""",
    ),
    # The newest run holds the profile in force and the skipped tutors, and no run may have an as-of
    # before the newest.
    *(
        Rule(
            "reconcile_runs",
            ("kind", "run_id"),
            days,
            f"""{which} and stored.applied_at < %(before)s
            and (stored.kind, stored.applied_at) not in (
                select kind, max(applied_at) from {{ops}}.reconcile_runs group by kind
            )
            and (stored.kind, stored.as_of) not in (
                select kind, max(as_of) from {{ops}}.reconcile_runs where evaluated > 0
                group by kind
            )""",
        )
        for days, which in ((7, _IS_PART), (365, "true"))
    ),
    # The newest header has the as-of of all tables. Headers with days stay, because repairs of late
    # sessions read them.
    Rule(
        "refresh_runs",
        ("run_id",),
        7,
        f"""{_IS_PART} and stored.snapshot_from is null and stored.started_at < %(before)s
        and stored.started_at < (
            select max(started_at) from {{ops}}.refresh_runs where snapshot_from is null
        )""",
    ),
    # The last but one full refresh shows which checks are expected.
    Rule(
        "refresh_runs",
        ("run_id",),
        365,
        """stored.snapshot_from is null and stored.started_at < %(before)s
        and stored.started_at < (
            select started_at from {ops}.refresh_runs where is_full and snapshot_from is null
            order by started_at desc, run_id limit 1 offset 1
        )""",
    ),
    # As long as the header.
    Rule(
        "refresh_scope",
        ("run_id", "tutor_id"),
        0,
        """not exists (
            select 1 from {ops}.refresh_runs as header where header.run_id = stored.run_id
        )""",
    ),
    Rule("refresh_passes", ("run_id",), 30, "stored.settled_at < %(before)s"),
    # Refreshes compare with the newest, however old.
    Rule(
        "source_states",
        ("state_no",),
        30,
        """stored.accepted_at < %(before)s
        and stored.state_no < (select max(state_no) from {ops}.source_states)""",
    ),
    # One day longer than a full refresh looks back. The newest row stays, because an empty ledger
    # means that no full refresh has filled it yet.
    Rule(
        "session_ledger",
        ("tutor_id", "session_id"),
        91,
        """stored.pending_since is null
        and coalesce(stored.scheduled_start, stored.processed_at) < %(before)s
        and coalesce(stored.scheduled_start, stored.processed_at) < (
            select max(coalesce(scheduled_start, processed_at)) from {ops}.session_ledger
            where version is not null
        )""",
    ),
    # A year of daily scores would be the largest table. Readers show the newest day per subject.
    *(
        Rule(
            f"{subject}_scores",
            (f"{subject}_id", "scorer", "target", "horizon_days", "version", "as_of"),
            90,
            f"""stored.as_of < %(before)s and stored.as_of_on < (
                select max(newest.as_of_on) from {{ops}}.{subject}_scores as newest
                where newest.{subject}_id = stored.{subject}_id
            )""",
        )
        for subject in ("tutor", "student")
    ),
    # As long as scores may refer to it: their retention, counted from the next version.
    Rule(
        "score_references",
        ("version",),
        90,
        """stored.version < (
            select max(version) from {ops}.score_references as newer
            where newer.scorer = stored.scorer and newer.fitted_at < %(before)s
        )""",
    ),
    Rule(
        "rule_references",
        ("version",),
        90,
        """stored.version < (select max(version) from {ops}.rule_references)
        and stored.fitted_at < %(before)s""",
    ),
    # Leak detection compares half a year of history with its first values.
    Rule(
        "feature_log",
        ("row_no",),
        183,
        "stored.as_of_date < (%(before)s)::date",
    ),
    # The newest one is shown.
    Rule(
        "backtest_runs",
        ("run_id",),
        365,
        "stored.at < %(before)s and stored.at < (select max(at) from {ops}.backtest_runs)",
    ),
    # As long as its run.
    Rule(
        "backtest_metrics",
        ("run_id", "scorer", "version", "target", "horizon_days", "metric"),
        0,
        """not exists (
            select 1 from {ops}.backtest_runs as tested where tested.run_id = stored.run_id
        )""",
    ),
    Rule("incidents", ("incident_id",), 365, "stored.closed_at < %(before)s"),
    # A row prevents a second message. Sessions are found for 14 days, so it stays longer.
    Rule(
        "outbox",
        ("outbox_id",),
        90,
        """(stored.message_id is not null or stored.dropped is not null)
        and stored.occurred_at < %(before)s""",
    ),
    # Sent again after that, an event changes nothing: what it said stands in `event_versions`.
    *(
        Rule(
            "event_inbox",
            ("source", "event_id"),
            days,
            f"stored.state in ({states}) and stored.state_at < %(before)s",
        )
        for days, states in (
            (30, "'applied'"),
            (90, "'dropped', 'quarantined', 'unknown', 'dead'"),
        )
    ),
    Rule("event_rejections", ("hour", "source", "reason"), 30, "stored.last_at < %(before)s"),
    Rule("event_secrets", ("secret_id",), 7, "stored.ends_at < %(before)s"),
    Rule("sign_ins", ("token_hash",), 0, "stored.ends_at < %(before)s"),
    Rule("sign_in_links", ("token_hash",), 7, "stored.ends_at < %(before)s"),
    Rule("sign_in_failures", ("who_hash",), 1, "stored.last_at < %(before)s"),
    Rule("downloads", ("download_no",), 365, "stored.at < %(before)s"),
    # Not while one of its deliveries is waiting.
    Rule(
        "messages",
        ("message_id",),
        90,
        """stored.made_at < %(before)s and not exists (
            select 1 from {ops}.deliveries as waiting
            where waiting.message_id = stored.message_id and waiting.state = 'waiting'
        )""",
    ),
    # As long as the message.
    Rule(
        "deliveries",
        ("message_id", "target"),
        0,
        """not exists (
            select 1 from {ops}.messages as sent where sent.message_id = stored.message_id
        )""",
    ),
)

KEPT: Mapping[str, str] = {
    "alerts": "history",
    "alert_events": "history",
    "notes": "history",
    "accounts": "a row per person who may sign in",
    "tutor_insights": "history",
    "achievements": "history",
    "session_days": "history, a row a day",
    "quarantine": "history: what was wrong with which row",
    "dq_overrides": "an audit of who overrode checks",
    "rule_overrides": "set by people",
    "session_excuses": "set by people",
    "pipeline_zone": "one row",
    "churn_algorithm_weights": "scores name their version",
    "churn_weight_levels": "as long as the weights that they belong to",
    "current_tutor_risk": "a row per tutor",
    "tutor_student_churn": "a row per tutor",
    "tutor_health": "a row per tutor",
    "student_health": "a row per student",
    "model_versions": "scores name their version, a row a week",
    "churn_weight_history": "an audit, a row a week",
    "feature_log_days": "since when a column is logged, a row a week",
    "accepted_columns": "an audit: who allowed which column for learning",
    "session_changes": "of the running refresh: the next one takes back the rest",
    "set_aside_tutors": "a row per tutor, gone with its next success",
    "history_repairs": "gone when the history is repaired",
    "erasures": "proves erasures; it names nobody",
    "platform_loads": "a row per load of data",
    "event_versions": "an event that comes late must find what is newer than itself",
    "event_erasures": "hashes: what names somebody who was erased is dropped, however late",
    "event_erasure_key": "one row",
    "alembic_version": "one row",
}
"""The other tables of `ops`, and why their rows are never too old."""


# Entries of the quarantine whose event is deleted: nothing is left to mend.
_CLOSE = """
    update {ops}.quarantine as kept set resolved_at = %s
    where kept.resolved_at is null and kept.source like 'events:%%' and not exists (
        select 1 from {ops}.event_inbox as stored
        where stored.source = substr(kept.source, 8) and stored.event_id = kept.row_key
    )
"""


def delete_old(database: Database, now: datetime) -> dict[str, int]:
    """Deletes rows by the rules. Returns {table: rows deleted} for every table with a rule.

    `database` is in autocommit mode. After a kill, the next call deletes the rest.
    """
    deleted = dict.fromkeys((rule.table for rule in RULES), 0)
    for rule in RULES:
        # The outer condition checks a row again that changed meanwhile.
        statement = database.sql(
            "delete from {table} as stored where {old} and ({key}) in ("
            "select {key} from {table} as stored where {old} order by {key} limit %(batch)s)",
            table=sql.Identifier(database.schemas.ops, rule.table),
            key=sql.SQL(", ").join(sql.Identifier("stored", name) for name in rule.key),
            old=database.sql(rule.old),
        )
        parameters = {"before": now - timedelta(days=rule.days), "batch": BATCH}
        while rows := database.execute(statement, parameters).rowcount:
            deleted[rule.table] += rows
            if rows < BATCH:
                break
    database.execute(_CLOSE, (now,))
    return deleted


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a table: rows, and bytes on disk with indexes and TOAST."""

    rows: int
    bytes: int


def sizes(database: Database, schema: str) -> dict[str, Size]:
    """Returns the exact size of each table of a schema, by name."""
    tables = database.execute(
        "select relname, pg_total_relation_size(pg_class.oid) from pg_class"
        " where relnamespace = to_regnamespace(quote_ident(%s)) and relkind in ('r', 'p')"
        " order by relname",
        (schema,),
    ).fetchall()
    count = "select count(*) from {table}"
    return {
        name: Size(database.value(database.sql(count, table=sql.Identifier(schema, name))), size)
        for name, size in tables
    }

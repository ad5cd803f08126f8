"""A database with the tables that messages are made of, alerts in it, and real servers."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.servers import MailServer, WebServer
from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.people.notify import compose as composing
from tutor_pipeline.people.notify import outbox
from tutor_pipeline.people.notify.message import Setting
from tutor_pipeline.people.notify.targets import FILE

NOW = datetime(2026, 3, 18, 9, 0, tzinfo=UTC)
"""A Wednesday."""

_AGGREGATES = (
    "sessions_7d int, sessions_30d int, sessions_90d int, reschedule_rate_7d float8,"
    " reschedule_rate_30d float8, reschedule_rate_90d float8, is_high_reschedule boolean,"
    " last_session_at timestamptz, avg_session_score_30d float8, avg_engagement_30d float8,"
    " avg_rating_30d float8, avg_empathy_30d float8, avg_clarity_30d float8,"
    " avg_talk_ratio float8, avg_session_score_14d float8, avg_session_score_prior_14d float8,"
    " score_change_14d float8, avg_session_score_14d_n int"
)
_SESSIONS = (
    "session_on date, scheduled_start timestamptz, status text, subject text, grade_level text,"
    " actual_duration_minutes float8, late_minutes float8, is_late boolean, is_first_session"
    " boolean, is_tutor_reschedule boolean, technical_issues boolean, session_score float8,"
    " student_engagement_score float8, student_satisfaction_rating float8, empathy_score float8,"
    " clarity_score float8, tutor_talk_ratio float8, student_frustration_count int"
)
_TRENDS = (
    "sessions", "completion_rate", "no_show_rate", "reschedule_rate", "avg_session_score",
    "avg_rating", "avg_engagement",
)  # fmt: skip
OURS = (
    "ops.outbox", "ops.messages", "ops.deliveries", "ops.alerts", "ops.alert_events",
    "ops.incidents", "ops.notes", "ops.tutor_insights", "ops.achievements", "ops.session_changes",
    "ops.tutor_health", "ops.current_tutor_risk", "marts.dim_tutors", "marts.tutor_aggregates",
    "marts.fct_sessions", "marts.platform_metrics",
)  # fmt: skip


@pytest.fixture(scope="module")
def db(warehouse):
    """The module's database, with those of dbt's tables that messages read."""
    trends = ", ".join(
        f"{name}_30d float8, {name}_prior_30d float8, {name}_change float8, {name}_trend text"
        for name in _TRENDS
    )
    with warehouse.connect() as database:
        for statement in (
            "create table marts.dim_tutors (tutor_id text primary key, name text)",
            f"create table marts.tutor_aggregates (tutor_id text primary key, {_AGGREGATES})",
            "create table marts.fct_sessions (tutor_id text, session_id text,"
            f" {_SESSIONS}, primary key (tutor_id, session_id))",
            f"create table marts.platform_metrics (metric_date date primary key, {trends})",
        ):
            database.execute(statement)
    return warehouse


@pytest.fixture
def run(db):
    """Execute a statement in a transaction of its own; the rows, as dicts, where there are any."""

    def execute(statement, *parameters):
        with db.connect(row_factory=dict_row) as database:
            cursor = database.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    return execute


@pytest.fixture
def empty(run):
    """Nothing is there."""
    run(f"truncate {', '.join(OURS)}")


@pytest.fixture
def insert(run):
    def insert_row(table, **values):
        names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
        run(f"insert into {table} ({names}) values ({marks})", *values.values())

    return insert_row


@pytest.fixture
def tutor(empty, insert):
    """Put a tutor there."""

    def add(tutor_id, name=None, **aggregates):
        insert("marts.dim_tutors", tutor_id=tutor_id, name=name)
        insert("marts.tutor_aggregates", tutor_id=tutor_id, sessions_30d=12, **aggregates)

    return add


@pytest.fixture
def alert(empty, insert, db):
    """Open an alert and note it in the outbox, as a run does."""

    def add(tutor_id="T1", alert_id=None, severity="critical", step="opened 1", **changes):
        alert_id = alert_id or f"a{tutor_id}"
        values = {
            "tutor_id": tutor_id, "subject_id": tutor_id, "alert_id": alert_id,
            "alert_type": "no_show_pattern",
            "occurrence": 1, "severity": severity, "title": "No-Show Pattern Detected",
            "description": "3 no-shows of the tutor in the last 30 days, of 20 sessions.",
            "recommended_action": "Urgent check-in call to identify issues",
            "session_id": "S1", "evidence_session_ids": ["S1", "S2"], "metrics": Jsonb({}),
            "excess": 0.5, "rule_profile": "conservative", "rule_version": "1",
            "triggered_date": NOW, "last_confirmed_at": NOW,
        }  # fmt: skip
        insert("ops.alerts", **values | changes)
        note(tutor_id, alert_id, severity, step)
        return alert_id

    def note(tutor_id, alert_id, severity="critical", step="opened 1", at=NOW):
        insert(
            "ops.outbox",
            audience=severity,
            kind="alert",
            tutor_id=tutor_id,
            subject_id=alert_id,
            transition=step,
            occurred_at=at,
            due_at=at if severity == "critical" else outbox.next_summary(at, db.timezone),
        )

    add.note = note
    return add


@pytest.fixture
def compose(db):
    """Compose what is due, for addresses by audience (the folder is always one)."""

    def run_once(now=NOW, timezone="UTC", **addresses):
        setting = Setting("http://ui.example.com", "http://reports.example.com", timezone, now)
        wanted = {audience: [FILE, *addresses.get(audience, ())] for audience in map(str, Audience)}
        with db.connect() as database:
            return composing.compose(database, wanted, setting)

    return run_once


@pytest.fixture
def mail_server(starts_something):
    server = MailServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def web_server(starts_something):
    server = WebServer()
    yield server
    server.stop()


@pytest.fixture
def later():
    return lambda **span: NOW + timedelta(**span)


@pytest.fixture(scope="session")
def at():
    return SimpleNamespace(NOW=NOW)

"""Findings and evaluations made by hand, and a database to apply them to."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import psycopg
import pytest

from tutor_pipeline.core.findings import (
    Evaluation,
    Finding,
    Kind,
    Reading,
    Resolution,
    Severity,
    Subject,
    SubjectKind,
)
from tutor_pipeline.judgement.lifecycle import alert_actions
from tutor_pipeline.judgement.lifecycle.store import apply, clear, excused

ACTIVE = frozenset({"T1", "T2", "T3"})
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def day(number):
    """The moment of the n-th run."""
    return START + timedelta(days=number)


def subject(about):
    """A tutor by the id alone."""
    return about if isinstance(about, Subject) else Subject.tutor(about)


def known(about):
    """What stands in `evaluated`: tutors by their ids."""
    return about.id if about.kind is SubjectKind.TUTOR else about


def finding(about="T1", rule_id="no_show", severity="critical", evidence=("S1",), **changes):
    values = {
        "texts": {"title": rule_id, "description": f"{rule_id}!", "recommended_action": "Call"},
        "readings": (Reading("no_shows", 3, 3, 20),),
        "excess": 0.5,
        "rule_version": "v1",
    }
    return Finding(
        subject(about), rule_id, Severity(severity), evidence=tuple(evidence), **values | changes
    )


def insight(about="T1", rule_id="high_engagement", evidence=("S1",), **changes):
    values = {
        "texts": {"insight_type": "strength", "display_text": f"{rule_id}!"},
        "readings": (Reading("engagement", 9.2, 8.5, 12),),
        "excess": 0.1,
        "rule_version": "v1",
        "metric_value": 9.2,
    }
    return Finding(subject(about), rule_id, None, evidence=tuple(evidence), **values | changes)


def badge(about="T1", rule_id="rising_star", **changes):
    texts = {"title": "Rising Star", "description": f"{rule_id}!", "icon": "🚀"}
    return insight(about, rule_id, **{"texts": texts, "evidence": (), **changes})


def evaluation(
    *findings, at=0, evaluated=None, rules=("no_show", "late"), kind=Kind.ALERT, **changes
):
    """By default every tutor found was evaluated for every rule."""
    if evaluated is None:
        about = {known(each.subject) for each in findings}
        evaluated = dict.fromkeys(rules, about)
    values = {"profile": "conservative", "auto_resolve": True, "tutors": len(findings)}
    return Evaluation(
        kind,
        day(at),
        findings=findings,
        evaluated={rule: frozenset(tutors) for rule, tutors in evaluated.items()},
        **values | changes,
    )


@pytest.fixture(scope="session")
def make():
    return SimpleNamespace(
        day=day, finding=finding, insight=insight, badge=badge, evaluation=evaluation
    )


@pytest.fixture(scope="module")
def db(warehouse):
    """The module's database, with the one dbt table that the store reads."""
    with warehouse.connect() as database:
        database.execute(
            "create table {marts}.fct_sessions (tutor_id text, session_id text,"
            " session_on date, scheduled_start timestamptz, status text, student_id text,"
            " subject_id text, subject text, is_tutor_reschedule boolean, is_late boolean,"
            " primary key (tutor_id, session_id))"
        )
    return warehouse


@pytest.fixture
def empty(reader):
    """Empty the tables after the test. Modules with a database use it for all of their tests."""

    def remove_all():
        clear(reader)
        for table in (
            *("rule_overrides", "current_tutor_risk", "churn_algorithm_weights", "notes"),
            *("session_excuses", "session_ledger"),
        ):
            reader.execute(f"truncate {{ops}}.{table}")
        reader.execute("truncate {marts}.fct_sessions")

    yield remove_all
    remove_all()


@pytest.fixture
def run(db):
    """Apply an evaluation on a connection of its own."""

    def run_once(evaluation, run_id=None, active=ACTIVE, scope=None):
        with db.connect() as database:
            return apply(
                database,
                evaluation,
                run_id=run_id or f"run-{evaluation.as_of:%d}",
                active_tutors=active,
                scope=scope,
                excused=excused(database, evaluation.kind, scope, evaluation.as_of),
            )

    return run_once


@pytest.fixture(scope="module")
def reader(db):
    """A handle on which every statement is a transaction of its own."""
    with db.connect(autocommit=True) as database:
        yield database


@pytest.fixture
def query(reader):
    def fetch(text, *parameters):
        return reader.rows(text, parameters)

    return fetch


@pytest.fixture
def execute(reader):
    def run_statement(text, *parameters):
        reader.execute(text, parameters)

    return run_statement


@pytest.fixture
def sessions(execute, make):
    """Put sessions into fct_sessions: id -> day on which they took place."""

    def add(tutor_id="T1", status="no_show_tutor", **days):
        for session_id, number in days.items():
            execute(
                "insert into {marts}.fct_sessions values (%s, %s, %s, %s, %s)",
                tutor_id, session_id, make.day(number).date(), make.day(number), status,
            )  # fmt: skip

    return add


_TABLES = {
    "alerts": "*",
    "alert_events": "tutor_id, alert_id, event_no, event, at, actor, run_id, details",
    "tutor_insights": "*",
    "achievements": "*",
    "session_days": "session_on, completed, null as nothing",
    "reconcile_runs": "kind, run_id, as_of, evaluated, opened, confirmed, escalated, resolved,"
    " suppressed, skipped",
}


@pytest.fixture
def everything(query):
    """Every row of the findings' tables, but for the wall-clock moment of the run."""

    def fetch():
        return {
            name: query(f"select {columns} from {{ops}}.{name} order by 1, 2, 3")
            for name, columns in _TABLES.items()
        }

    return fetch


@pytest.fixture
def open_ids(query):
    """The ids of the open alerts, by (tutor, type)."""

    def fetch():
        rows = query("select * from {ops}.alerts where resolved_at is null")
        return {(row["tutor_id"], row["alert_type"]): row["alert_id"] for row in rows}

    return fetch


@pytest.fixture
def act(db):
    """Do an administrator's act on a connection of its own."""

    def do(verb, alert_ids, at, by="ada", **arguments):
        with db.connect() as database:
            return verb(database, alert_ids, by=by, at=at, **arguments)

    return do


@pytest.fixture
def resolve_all(act, open_ids):
    """Resolve every open alert by hand."""

    def do(at):
        done = act(alert_actions.resolve, list(open_ids().values()), at, reason=Resolution.COACHED)
        assert not done.unchanged

    return do


@pytest.fixture
def kill(db):
    """End the server's side of a connection, as a crash would."""

    def end(database):
        with db.connect() as other:
            other.execute("select pg_terminate_backend(%s, 5000)", (database.info.backend_pid,))

    return end


@pytest.fixture
def killing(kill):
    """Make a cursor class whose connection is cut before its n-th statement."""

    def make_class(at_statement):
        count = 0

        class KillingCursor(psycopg.Cursor):
            def execute(self, *args, **kwargs):
                nonlocal count
                count += 1
                if count == at_statement:
                    kill(self.connection)
                return super().execute(*args, **kwargs)

        return KillingCursor

    return make_class

"""The store on PostgreSQL: one transaction, one open row, nothing lost, nothing twice."""

import threading
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutor_pipeline.domain import Kind, Override, Reading, Step
from tutor_pipeline.errors import RefusedError
from tutor_pipeline.lifecycle.reconcile import row_id
from tutor_pipeline.lifecycle.store import apply, clear, last_applied, read_overrides

ACTIVE = frozenset({"T1", "T2", "T3"})


@pytest.fixture(scope="module")
def db(warehouse):
    """The module's database, with the one table of dbt's that the store reads."""
    with warehouse.connect() as connection:
        connection.execute(
            warehouse.sql(
                "create table {marts}.fct_sessions (tutor_id text, session_id text,"
                " scheduled_start timestamptz, status text, primary key (tutor_id, session_id))"
            )
        )
    return warehouse


@pytest.fixture(autouse=True)
def _empty(db):
    yield
    with db.connect() as connection:
        clear(connection, db)
        connection.execute(db.sql("truncate {marts}.fct_sessions; truncate {ops}.rule_overrides"))


@pytest.fixture
def run(db):
    """Apply an evaluation in a connection of its own."""

    def run_once(evaluation, run_id=None, active=ACTIVE, scope=None):
        with db.connect() as connection:
            return apply(
                connection,
                db,
                evaluation,
                run_id=run_id or f"run-{evaluation.as_of:%d}",
                active_tutors=active,
                scope=scope,
            )

    return run_once


@pytest.fixture
def query(db):
    def fetch(text, *parameters):
        with db.connect(row_factory=psycopg.rows.dict_row) as connection:
            return connection.execute(db.sql(text), parameters).fetchall()

    return fetch


@pytest.fixture
def execute(db):
    def run_statement(text, *parameters):
        with db.connect() as connection:
            connection.execute(db.sql(text), parameters)

    return run_statement


@pytest.fixture
def sessions(execute, make):
    """Put sessions into fct_sessions: id -> day on which they took place."""

    def add(tutor_id="T1", status="no_show_tutor", **days):
        for session_id, number in days.items():
            execute(
                "insert into {marts}.fct_sessions values (%s, %s, %s, %s)",
                tutor_id, session_id, make.day(number), status,
            )  # fmt: skip

    return add


COLUMNS = {
    "alerts": "*",
    "alert_events": "tutor_id, alert_id, event_no, event, at, actor, run_id, details",
    "reconcile_runs": "kind, run_id, as_of, evaluated, opened, confirmed, escalated, resolved,"
    " suppressed, skipped",
}


def everything(db):
    """Every row of the findings' tables, but for the wall-clock moment of the run."""
    with db.connect() as connection:
        return {
            name: connection.execute(
                db.sql(f"select {columns} from {{ops}}.{name} order by 1, 2, 3")
            ).fetchall()
            for name, columns in COLUMNS.items()
        }


def test_an_alert_is_written_whole(run, query, make):
    finding = make.finding(evidence=("S3", "S2", "S1"))
    applied = run(make.evaluation(finding))
    assert (applied.opened, applied.confirmed, applied.resolved) == (1, 0, 0)
    (alert,) = query("select * from {ops}.alerts")
    expected = {
        "tutor_id": "T1",
        "alert_id": row_id("T1", "no_show", make.day(0), 1),
        "alert_type": "no_show",
        "occurrence": 1,
        "severity": "critical",
        "title": "no_show",
        "description": "no_show!",
        "recommended_action": "Call",
        "session_id": "S3",
        "evidence_session_ids": ["S3", "S2", "S1"],
        "metrics": {"no_shows": {"value": 3, "threshold": 3, "exposure": 20}},
        "excess": 0.5,
        "rule_profile": "conservative",
        "rule_version": "v1",
        "triggered_date": make.day(0),
        "last_confirmed_at": make.day(0),
        "acknowledged": False,
        "resolved": False,
        "resolved_at": None,
        "resolution": None,
    }
    assert {name: alert[name] for name in expected} == expected
    (event,) = query("select * from {ops}.alert_events")
    assert (event["event"], event["event_no"], event["at"], event["actor"]) == (
        "opened", 1, make.day(0), "pipeline",
    )  # fmt: skip
    assert event["details"]["severity"] == "critical"


def test_what_still_holds_is_refreshed_and_keeps_its_beginning(run, query, make):
    run(make.evaluation(make.finding(severity="warning")))
    worse = make.finding(
        evidence=("S9", "S1"), readings=(Reading("no_shows", 9, 3, 20),), rule_version="v2"
    )
    applied = run(make.evaluation(worse, at=1))
    assert (applied.opened, applied.confirmed, applied.escalated) == (0, 0, 1)
    (alert,) = query("select * from {ops}.alerts")
    assert alert["triggered_date"] == make.day(0)
    assert alert["last_confirmed_at"] == make.day(1)
    assert alert["severity"] == "critical"
    assert alert["session_id"] == "S9"
    assert alert["metrics"]["no_shows"]["value"] == 9
    assert alert["rule_version"] == "v2"
    events = query("select event, details from {ops}.alert_events order by event_no")
    assert [each["event"] for each in events] == ["opened", "escalated"]
    assert events[1]["details"]["was"] == "warning"


def test_resolved_and_back_again(run, query, make):
    run(make.evaluation(make.finding()))
    resolved = run(make.evaluation(at=1, evaluated={"no_show": {"T1"}}))
    assert [each.step for each in resolved.changes] == [Step.RESOLVED]
    assert run(make.evaluation(make.finding(), at=2)).opened == 1
    rows = query("select * from {ops}.alerts order by occurrence")
    assert [each["occurrence"] for each in rows] == [1, 2]
    assert (rows[0]["resolution"], rows[0]["resolved_by"]) == ("auto", "pipeline")
    assert (rows[0]["resolved_at"], rows[0]["resolved"]) == (make.day(1), True)
    assert rows[0]["alert_id"] != rows[1]["alert_id"]


def test_the_same_run_again_changes_nothing(db, run, make, sessions):
    sessions(S1=-3, S2=-2)
    run(make.evaluation(make.finding(), make.finding("T2", severity="warning")))
    second = make.evaluation(make.finding("T2"), at=1, evaluated={"no_show": {"T1", "T2"}})
    run(second)
    before = everything(db)
    again = run(second)
    assert (again.opened, again.escalated, again.resolved, again.confirmed) == (0, 0, 0, 1)
    assert everything(db) == before


def test_an_unchanged_row_is_not_even_rewritten(run, query, make):
    run(make.evaluation(make.finding()))
    (before,) = query("select xmin::text from {ops}.alerts")
    run(make.evaluation(make.finding()))
    assert query("select xmin::text from {ops}.alerts") == [before]


def test_a_scoped_run_leaves_other_tutors_alone(run, query, make):
    run(make.evaluation(make.finding("T1"), make.finding("T2"), make.finding("T3")))
    run(
        make.evaluation(at=1, evaluated={"late": {"T1"}}),  # no_show is retired
        active=ACTIVE - {"T2"},
        scope=["T1", "T2"],
    )
    rows = query("select tutor_id, resolution from {ops}.alerts order by tutor_id")
    assert [tuple(each.values()) for each in rows] == [
        ("T1", "rule_retired"),
        ("T2", "tutor_inactive"),
        ("T3", None),
    ]


def resolve_by_hand(execute, at):
    execute(
        "update {ops}.alerts set resolved_at = %s, resolved_by = 'ada', resolution = 'coached'"
        " where resolved_at is null",
        at,
    )


def test_resolved_by_hand_it_needs_a_session_first_processed_later(
    run, query, make, sessions, execute
):
    sessions(S1=-6, S2=-5, S3=-4, S4=-3, S5=-2, S6=-1)
    sessions(S7=0, status="scheduled")
    run(make.evaluation(make.finding(evidence=("S6", "S5", "S4", "S3", "S2"))))
    resolve_by_hand(execute, make.day(0) + timedelta(hours=1))

    def opens(number, *evidence):
        applied = run(make.evaluation(make.finding(evidence=evidence), at=number))
        assert applied.opened + applied.suppressed == 1
        return applied.opened == 1

    assert not opens(1, "S6", "S5", "S4", "S3", "S2")
    # One that was processed before, but was not among the newest five.
    assert not opens(2, "S5", "S4", "S3", "S2", "S1")
    # A late arrival: it took place before the resolution and was processed after it.
    sessions(S0=-7)
    assert opens(3, "S5", "S4", "S0")
    assert len(query("select * from {ops}.alerts where resolved_at is null")) == 1


def test_a_session_that_was_only_planned_is_new_evidence(run, make, sessions, execute):
    sessions(S1=-1)
    sessions(S2=0, status="scheduled")
    sessions(S3=1)  # in the future, whatever its status says
    run(make.evaluation(make.finding(evidence=("S1",))))
    resolve_by_hand(execute, make.day(0))
    execute("update {marts}.fct_sessions set status = 'no_show_tutor'")
    assert run(make.evaluation(make.finding(evidence=("S2", "S1")), at=1)).opened == 1
    resolve_by_hand(execute, make.day(1))
    assert run(make.evaluation(make.finding(evidence=("S3", "S1")), at=2)).opened == 0


def test_a_session_between_the_last_run_and_the_resolution_is_not_lost(
    run, make, sessions, execute
):
    sessions(S1=-1)
    run(make.evaluation(make.finding(evidence=("S1",))))
    sessions(S2=0)  # loaded, but no run has looked at it before the resolution
    resolve_by_hand(execute, make.day(0))
    assert run(make.evaluation(make.finding(evidence=("S2", "S1")), at=1)).opened == 1


def test_sessions_processed_while_not_evaluated_are_known(run, make, sessions, execute):
    sessions(S1=-1)
    run(make.evaluation(make.finding(evidence=("S1",))))
    sessions(S2=0)
    run(make.evaluation(at=1, evaluated={"no_show": set(), "late": {"T2"}}))
    resolve_by_hand(execute, make.day(1))
    assert run(make.evaluation(make.finding(evidence=("S2", "S1")), at=2)).opened == 0


def test_an_older_moment_is_refused_and_changes_nothing(db, run, make):
    run(make.evaluation(make.finding(), at=2))
    before = everything(db)
    with pytest.raises(RefusedError) as refused:
        run(make.evaluation(at=1, evaluated={"no_show": {"T1"}}))
    assert make.day(2).isoformat() in str(refused.value)
    assert make.day(1).isoformat() in str(refused.value)
    assert "tutor-pipeline clear" in str(refused.value)
    assert everything(db) == before


def test_a_run_that_evaluated_nothing_refuses_nobody(db, run, make):
    run(make.evaluation(at=5, evaluated={"no_show": set()}))
    assert run(make.evaluation(make.finding(), at=1)).opened == 1
    with db.connect() as connection:
        assert last_applied(connection, db) == make.day(1)
        assert last_applied(connection, db, Kind.ALERT) == make.day(1)
        assert last_applied(connection, db, Kind.INSIGHT) is None


def test_nobody_active_while_alerts_are_open_is_refused(db, run, make):
    assert run(make.evaluation(evaluated={"no_show": set()}), active=()).resolved == 0
    run(make.evaluation(make.finding()))
    before = everything(db)
    with pytest.raises(RefusedError, match="no tutor is active, yet 1 alerts"):
        run(make.evaluation(at=1), active=())
    assert everything(db) == before


def test_a_moment_without_time_zone_is_an_error(run, make):
    naive = replace(make.evaluation(), as_of=make.day(0).replace(tzinfo=None))
    with pytest.raises(ValueError, match="time zone"):
        run(naive)


def test_the_database_itself_keeps_one_open_alert_per_tutor_and_type(run, execute, make):
    run(make.evaluation(make.finding()))
    copy = (
        "insert into {ops}.alerts (tutor_id, alert_id, alert_type, occurrence, severity, title,"
        " description, recommended_action, evidence_session_ids, metrics, excess, rule_profile,"
        " rule_version, triggered_date, last_confirmed_at) select tutor_id, 'other', alert_type,"
        " 2, severity, title, description, recommended_action, evidence_session_ids, metrics,"
        " excess, rule_profile, rule_version, triggered_date, last_confirmed_at from {ops}.alerts"
    )
    with pytest.raises(psycopg.errors.UniqueViolation, match="alerts_open"):
        execute(copy)


def test_eight_runs_at_once_end_as_one(db, run, query, make):
    evaluation = make.evaluation(make.finding("T1"), make.finding("T2", severity="warning"))
    barrier = threading.Barrier(8)
    opened, failures = [], []

    def one(number):
        try:
            barrier.wait()
            opened.append(run(evaluation, run_id=f"run-{number}").opened)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(opened) == [0] * 7 + [2]
    assert query("select count(*) as n from {ops}.alerts") == [{"n": 2}]
    assert query("select count(*) as n from {ops}.alert_events") == [{"n": 2}]


class AbortError(Exception):
    """The caller's own failure after the store was done."""


def killing_cursor(warehouse, at_statement):
    """A cursor class whose connection is cut before its n-th statement."""
    count = 0

    class KillingCursor(psycopg.Cursor):
        def execute(self, *args, **kwargs):
            nonlocal count
            count += 1
            if count == at_statement:
                kill(warehouse, self.connection)
            return super().execute(*args, **kwargs)

    return KillingCursor


def kill(warehouse, connection):
    """End the server's side of a connection, as a crash would."""
    with warehouse.connect() as other:
        other.execute("select pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))


def test_a_run_that_dies_at_any_statement_leaves_all_as_it_was(db, run, make, sessions):
    sessions(S1=-3, S2=-2)
    run(
        make.evaluation(
            make.finding("T1"),
            make.finding("T2", severity="warning"),
            make.finding("T3", rule_id="late"),
        )
    )
    before = everything(db)
    # Opens T1/late, confirms T1/no_show, escalates T2/no_show, resolves T3/late.
    second = make.evaluation(
        make.finding("T1"), make.finding("T1", "late"), make.finding("T2"),
        at=1, evaluated={"no_show": {"T1", "T2"}, "late": {"T1", "T3"}},
    )  # fmt: skip
    statements = 0
    while True:
        statements += 1
        try:
            with db.connect() as connection:
                connection.cursor_factory = killing_cursor(db, statements)
                with connection.transaction():
                    apply(connection, db, second, run_id="run-02", active_tutors=ACTIVE)
                    raise AbortError
        except psycopg.OperationalError:
            assert everything(db) == before, f"statement {statements} left something behind"
        except AbortError:
            break  # every statement ran: there is none left to die at
    assert statements > 7
    with (
        pytest.raises(psycopg.OperationalError),
        db.connect() as connection,
        connection.transaction(),
    ):
        apply(connection, db, second, run_id="run-02", active_tutors=ACTIVE)
        kill(db, connection)  # before the commit
    assert everything(db) == before

    run(second, run_id="run-02")
    after = everything(db)
    assert [row[3] for row in after["alert_events"]].count("opened") == 4
    with db.connect() as connection:
        clear(connection, db)
    run(
        make.evaluation(
            make.finding("T1"),
            make.finding("T2", severity="warning"),
            make.finding("T3", rule_id="late"),
        )
    )
    run(second, run_id="run-02")
    assert everything(db) == after, "not the state of one clean run"


def test_apply_is_a_part_of_the_callers_transaction(db, query, make):
    with pytest.raises(AbortError), db.connect() as connection:
        connection.execute("select 'what else belongs to this run'")
        apply(connection, db, make.evaluation(make.finding()), run_id="r", active_tutors=ACTIVE)
        raise AbortError
    assert query("select tutor_id from {ops}.alerts") == []


def test_overrides_in_force(db, execute, make):
    insert = (
        "insert into {ops}.rule_overrides (tutor_id, kind, rule_id, threshold, disabled, reason,"
        " set_by, set_at, expires_at) values (%s, %s, 'no_show', %s, %s, 'why', 'ada', %s, %s)"
    )
    execute(insert, "T1", "alert", 5, False, make.day(0), None)
    execute(insert, "T2", "alert", None, True, make.day(0), make.day(9))
    execute(insert, "T3", "alert", None, True, make.day(0), make.day(1))
    execute(insert, "T1", "insight", None, True, make.day(0), None)
    with db.connect() as connection:
        assert read_overrides(connection, db, Kind.ALERT, make.day(1)) == (
            Override("T1", "no_show", threshold=5.0),
            Override("T2", "no_show", disabled=True),
        )
    with pytest.raises(psycopg.errors.CheckViolation):
        execute(insert, "T9", "alert", 5, True, make.day(0), None)


def test_clear_removes_what_was_generated_and_keeps_what_people_set(db, run, execute, query, make):
    execute(
        "insert into {ops}.rule_overrides (tutor_id, kind, rule_id, threshold, reason, set_by,"
        " set_at) values ('T1', 'alert', 'late', 9, 'why', 'ada', now())"
    )
    run(make.evaluation(make.finding(), at=3))
    with db.connect() as connection:
        assert clear(connection, db) == 1
        assert last_applied(connection, db) is None
    assert not any(everything(db).values())
    assert query("select count(*) as n from {ops}.rule_overrides") == [{"n": 1}]
    assert run(make.evaluation(make.finding(), at=1)).opened == 1, "an older moment is fine now"


# The views.


def test_tutors_needing_attention_are_ranked(run, query, make, execute):
    run(
        make.evaluation(
            make.finding("T1", severity="warning", excess=9.0),
            make.finding("T2", excess=0.2),
            make.finding("T2", "late", severity="warning", excess=0.1),
            make.finding("T3", excess=0.2),
            make.finding("T4", excess=0.8),
            make.finding("T5", excess=0.1),
            make.finding("T5", "late", excess=0.1),
            make.finding("T6", excess=5.0),
        ),
        active=[f"T{number}" for number in range(1, 7)],
    )
    execute("update {ops}.alerts set snoozed_until = 'infinity', snoozed_by = 'ada'"
            " where tutor_id = 'T6'")  # fmt: skip
    rows = query("select * from {ops}.tutors_needing_attention")
    assert [each["tutor_id"] for each in rows] == ["T5", "T4", "T2", "T3", "T1"]
    assert [each["attention_rank"] for each in rows] == [1, 2, 3, 4, 5]
    assert (rows[2]["critical_alerts"], rows[2]["warning_alerts"]) == (1, 1)
    assert rows[2]["newest_alert_type"] == "no_show", "of two as new, the critical one"
    execute("update {ops}.alerts set snoozed_until = '2026-01-01' where tutor_id = 'T6'")
    assert query("select tutor_id from {ops}.tutors_needing_attention limit 2")[1] == {
        "tutor_id": "T6"
    }


def test_a_tutor_in_need_is_shown_by_the_newest_alert(run, query, make):
    late = make.finding("T1", "late", severity="warning", evidence=("S8", "S7"), excess=3.0)
    run(make.evaluation(make.finding("T1", excess=1.0)))
    run(make.evaluation(make.finding("T1", excess=1.0), late, at=1))
    (row,) = query("select * from {ops}.tutors_needing_attention")
    assert (row["newest_alert_type"], row["newest_triggered_date"]) == ("late", make.day(1))
    assert (row["session_id"], row["evidence_session_ids"]) == ("S8", ["S8", "S7"])
    assert row["excess"] == 3.0


def test_the_summary_of_critical_alerts(run, query, make):
    run(make.evaluation(make.finding("T2"), make.finding("T3", severity="warning")))
    run(make.evaluation(make.finding("T1"), make.finding("T2"), at=1, evaluated={"no_show": {}}))
    run(
        make.evaluation(
            make.finding("T1"), make.finding("T2"), make.finding("T1", "late"), at=2,
            evaluated={"no_show": {}, "late": {}},
        )
    )  # fmt: skip
    rows = query("select * from {ops}.critical_alert_summary")
    assert [(each["tutor_id"], each["critical_alerts"]) for each in rows] == [("T1", 2), ("T2", 1)]
    assert rows[0]["alert_types"] == ["late", "no_show"]
    assert rows[0]["newest_triggered_date"] == make.day(2)


# Random histories: the stored rows and their events stay consistent.

TUTORS = ("T1", "T2")
states = st.tuples(*[st.sampled_from(["critical", "warning", "healthy", "unknown"])] * 2)
steps = st.lists(st.tuples(states, st.booleans(), st.booleans()), min_size=1, max_size=8)


def check_history(db, run, execute, query, sessions, make, history):
    known = ["S0"]
    sessions(**{"S0": -1})
    for number, (state, new_session, by_hand) in enumerate(history):
        if new_session:
            known.append(f"S{number + 1}")
            sessions(**{known[-1]: number})
        evidence = tuple(known[:-6:-1])
        evaluation = make.evaluation(
            *(
                make.finding(tutor, severity=each, evidence=evidence)
                for tutor, each in zip(TUTORS, state, strict=True)
                if each in ("critical", "warning")
            ),
            at=number,
            evaluated={
                "no_show": {t for t, s in zip(TUTORS, state, strict=True) if s != "unknown"}
            },
        )
        run(evaluation, run_id=f"run-{number}")
        once = everything(db)
        run(evaluation, run_id=f"run-{number}")
        assert everything(db) == once
        rows = query(
            "select alerts.tutor_id, alerts.resolved_at is null as is_open, severity,"
            " array_agg(event order by event_no) as events,"
            " array_agg(event_no order by event_no) as numbers, triggered_date, min(at) as first"
            " from {ops}.alerts join {ops}.alert_events using (tutor_id, alert_id)"
            " group by tutor_id, alert_id"
        )
        assert len(rows) == len(query("select * from {ops}.alerts")), "an alert without event"
        for row in rows:
            assert row["numbers"] == list(range(1, len(row["numbers"]) + 1))
            assert row["triggered_date"] == row["first"]
        open_now = {row["tutor_id"]: row["severity"] for row in rows if row["is_open"]}
        for tutor, each in zip(TUTORS, state, strict=True):
            if each == "healthy":
                assert tutor not in open_now
            elif each != "unknown" and tutor in open_now:
                assert open_now[tutor] == each
        if by_hand:
            resolve_by_hand(execute, make.day(number))


@pytest.mark.parametrize(
    "examples", [8, pytest.param(150, marks=pytest.mark.long)], ids=["few", "many"]
)
def test_random_histories(db, run, execute, query, sessions, make, examples):
    @given(steps)
    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    def check(history):
        with db.connect() as connection:
            clear(connection, db)
            connection.execute(db.sql("truncate {marts}.fct_sessions"))
        check_history(db, run, execute, query, sessions, make, history)

    check()

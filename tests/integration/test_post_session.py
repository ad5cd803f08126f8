"""The refresh after sessions: no change is lost, none counts twice, whatever happens meanwhile.

One platform and one ledger for all tests; each has tutors of its own. At the end everything that
they left is compared with what a full refresh makes of the same platform.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import psycopg
import pytest

from tests.integration.refreshes import Refreshes, differences, stopping_at, tables, until, written
from tutor_pipeline.core.warehouse.locks import one_writer
from tutor_pipeline.judgement.lifecycle import excuses
from tutor_pipeline.judgement.lifecycle.excuses import ExcuseKind

TUTORS = [f"P{number:02d}" for number in range(40)]
POOR_FIRSTS = "poor_first_session_pattern"


def calm_zone() -> str:
    """A zone in which no day begins while these tests run."""
    return "UTC" if datetime.now(UTC).hour < 23 else "Etc/GMT-12"


@pytest.fixture(scope="module")
def platform(new_project):
    """A small platform with tutors of our own, who have taught without anything remarkable."""
    # Under rules that look at nobody else, so that a pass and a full refresh say the same.
    project = new_project(TUTOR_TIMEZONE=calm_zone(), TUTOR_RULE_PROFILE="conservative")
    project.run("generate", "--tutors", "12", "--days", "20")
    # Bookings come due while the tests run, and would count as changes.
    project.execute("delete from platform.sessions where status = 'scheduled'")
    project.execute("alter table platform.sessions alter column tutor_id drop not null")
    with psycopg.connect(project.url) as connection:
        connection.cursor().executemany(
            "insert into platform.tutors (user_id, active_status) values (%s, true)",
            [(tutor,) for tutor in TUTORS],
        )
        connection.execute(
            """
            insert into platform.sessions (
                id, tutor_id, scheduled_start, actual_start, completed_at, status, session_number,
                tutor_showed_up, student_showed_up, overall_session_score, updated_at
            )
            select
                tutor || '-' || n, tutor, at, at, at + interval '1 hour', 'completed', 2 + n,
                true, true, 7.5, at
            from unnest(%s::text[]) as tutor, generate_series(0, 5) as n,
                lateral (select date_trunc('hour', now()) - n * interval '2 days' - interval '5 h')
                    as start (at)
            """,
            (TUTORS,),
        )
    return project


@pytest.fixture(scope="module")
def refreshes(platform, tmp_path_factory):
    refreshes = Refreshes(tmp_path_factory.mktemp("runs"), platform.environment)
    refreshes.run("daily_refresh")
    yield refreshes
    refreshes.stop()


@pytest.fixture(scope="module")
def _tutors():
    return iter(TUTORS)


@pytest.fixture
def tutor(_tutors):
    """Somebody of whom nothing waits."""
    return next(_tutors)


def teach(
    project, tutor, *numbers, score=7.5, first=False, ago=timedelta(hours=2), connection=None
):
    """Completed sessions, half an hour apart; `ago`: when the newest began. With a connection,
    they are committed when that is.
    """
    now = datetime.now(UTC)
    values = [
        {
            "id": f"{tutor}-{number}",
            "tutor": tutor,
            "at": now - ago - each * timedelta(minutes=30),
            "number": 1 if first else 9,
            "first": first,
            "score": score,
        }
        for each, number in enumerate(numbers)
    ]
    with nullcontext(connection) if connection else psycopg.connect(project.url) as open_one:
        open_one.cursor().executemany(
            "insert into platform.sessions (id, tutor_id, scheduled_start, actual_start,"
            " completed_at, status, session_number, is_first_session, tutor_showed_up,"
            " student_showed_up, overall_session_score, updated_at)"
            " values (%(id)s, %(tutor)s, %(at)s, %(at)s, %(at)s, 'completed', %(number)s,"
            " %(first)s, true, true, %(score)s, %(at)s)",
            values,
        )


def disappoint(project, tutor, *, name="poor"):
    """Three poor first sessions: an alert is due."""
    teach(project, tutor, *(f"{name}{number}" for number in range(3)), score=5.5, first=True)


def ledger(project, tutor):
    """session id → [is processed, waits] of a tutor."""
    rows = project.query(
        "select session_id, version is not null, pending_since is not null"
        " from ops.session_ledger where tutor_id = %s",
        tutor,
    )
    return {session_id: state for session_id, *state in rows}


def history(project, tutor):
    """What happened to the alerts of a tutor: (alert type, event), in order."""
    return project.query(
        "select alert_type, event from ops.alert_events join ops.alerts using (tutor_id, alert_id)"
        " where tutor_id = %s order by at, alert_type, event_no",
        tutor,
    )


def waiting(project):
    return {
        tutor
        for (tutor,) in project.query(
            "select distinct tutor_id from ops.session_ledger where pending_since is not null"
        )
    }


def processed_once(project, tutor, name="poor"):
    """Three poor first sessions are in the ledger, and had their effect once."""
    sessions = ledger(project, tutor)
    assert {f"{tutor}-{name}{number}" for number in range(3)} <= sessions.keys()
    assert all(state == [True, False] for state in sessions.values())
    assert history(project, tutor) == [(POOR_FIRSTS, "opened")]
    assert project.query("select count(*) from ops.session_changes") == [(0,)]


def taken(project, outcome):
    """How many changes the passes of a run took."""
    ((changes,),) = project.query(
        "select coalesce(sum(changes), 0) from ops.refresh_passes where run_id like %s",
        f"{outcome.run_id}/%",
    )
    return changes


@contextmanager
def breaking(project, table, tutor, does):
    """A trigger on one of our tables: `does` something when a row of the tutor is written."""
    project.execute(
        "create or replace function public.break() returns trigger language plpgsql as"
        f" $$ begin if new.tutor_id = '{tutor}' then {does}; end if; return new; end $$"
    )
    project.execute(
        f"create trigger break before insert on {table} for each row"
        " execute function public.break()"
    )
    try:
        yield
    finally:
        project.execute(f"drop trigger break on {table}")


RAISES = "raise exception 'this one is poisonous'"


def test_every_kind_of_change_counts_once(platform, refreshes, _tutors):
    taught, praised, corrected, cut, giver, taker, shifted, aged, orphaned = (
        next(_tutors) for _ in range(9)
    )
    disappoint(platform, taught)
    with psycopg.connect(platform.url) as connection:
        for statement in (
            "insert into platform.session_feedback (session_id, student_satisfaction_rating,"
            f" submitted_at) values ('{praised}-0', 5, now())",
            f"update platform.sessions set overall_session_score = 2 where id = '{corrected}-0'",
            f"delete from platform.sessions where id = '{cut}-0'",
            f"update platform.sessions set tutor_id = '{taker}' where id = '{giver}-0'",
            "update platform.sessions set scheduled_start = scheduled_start - interval '3 days'"
            f" where id = '{shifted}-0'",
            "update platform.sessions set scheduled_start = scheduled_start - interval '30 days'"
            f" where id = '{aged}-0'",
            f"update platform.sessions set tutor_id = null where id = '{orphaned}-0'",
        ):
            connection.execute(statement)
    outcome = refreshes.run()
    # A move to another tutor is two: one has lost it, one has got it.
    assert taken(platform, outcome) == 3 + 1 + 1 + 1 + 2 + 1 + 1 + 1
    assert waiting(platform) == set()
    processed_once(platform, taught)
    assert outcome.of("ops/session_ledger")["changes_taken"] == 11
    assert outcome.of("marts/tutor_aggregates")["tutors_touched"] == 9
    assert outcome.of("ops/alerts")["opened"] == 1
    assert f"{giver}-0" in ledger(platform, taker)
    assert ledger(platform, aged)[f"{aged}-0"] == [True, False]
    for loser in (cut, giver, orphaned):
        assert f"{loser}-0" not in ledger(platform, loser)
    assert platform.query(
        "select reasons from ops.quarantine where business_key = %s and resolved_at is null",
        f"{orphaned}-0",
    )
    assert platform.query(
        "select avg_rating_90d_n from marts.tutor_aggregates where tutor_id = %s", praised
    ) == [(1,)]

    before = written(platform.url)
    again = refreshes.run()
    assert again.materializations == []
    assert written(platform.url) == before, "nothing changed, so nothing is written"

    # What was moved and taken away comes back: each is a change again, nothing more.
    platform.execute(
        f"update platform.sessions set tutor_id = '{giver}' where id = '{giver}-0';"
        f"update platform.sessions set tutor_id = '{orphaned}' where id = '{orphaned}-0'"
    )
    assert taken(platform, refreshes.run()) == 3
    assert ledger(platform, giver)[f"{giver}-0"] == [True, False]
    assert f"{giver}-0" not in ledger(platform, taker)


def test_what_is_committed_late_or_lies_ahead_is_not_lost(platform, refreshes, _tutors):
    early, late, ahead = (next(_tutors) for _ in range(3))
    with psycopg.connect(platform.url) as connection:
        teach(platform, early, "held", ago=timedelta(hours=3), connection=connection)
        teach(platform, late, "after")
        teach(platform, ahead, "planned", ago=timedelta(hours=-3))
        assert taken(platform, refreshes.run()) == 1
        assert ledger(platform, late)[f"{late}-after"] == [True, False]
        assert f"{early}-held" not in ledger(platform, early)
    platform.execute(
        "update platform.sessions set scheduled_start = now() - interval '1 second'"
        f" where id = '{ahead}-planned'"
    )
    assert taken(platform, refreshes.run()) == 2
    assert ledger(platform, early)[f"{early}-held"] == [True, False]
    assert ledger(platform, ahead)[f"{ahead}-planned"] == [True, False]


@pytest.mark.parametrize(
    "table", [pytest.param("marts.tutor_aggregates", marks=pytest.mark.long), "ops.alerts"]
)
def test_who_breaks_a_refresh_is_set_aside_and_the_others_go_on(
    platform, refreshes, _tutors, table
):
    broken, *others = (next(_tutors) for _ in range(3))
    for each in (broken, *others):
        disappoint(platform, each)
    with breaking(platform, table, broken, RAISES):
        refreshes.run()
        for other in others:
            processed_once(platform, other)
        assert waiting(platform) == {broken}
        ((tutor, reason, attempts, wait),) = platform.query(
            "select tutor_id, reason, attempts, retry_at - set_aside_at from ops.set_aside_tutors"
        )
        assert (tutor, attempts, wait) == (broken, 1, timedelta(minutes=10))
        assert "this one is poisonous" in reason
        assert history(platform, broken) == []

    platform.execute("update ops.set_aside_tutors set retry_at = now()")
    refreshes.run()
    processed_once(platform, broken)
    assert platform.query("select count(*) from ops.set_aside_tutors") == [(0,)]


def test_rows_that_break_a_rule_set_only_their_tutor_aside(platform, refreshes, _tutors):
    broken, sound = next(_tutors), next(_tutors)
    disappoint(platform, broken)
    disappoint(platform, sound)
    aside = "select tutor_id, attempts, retry_at - set_aside_at from ops.set_aside_tutors"
    with breaking(platform, "marts.tutor_aggregates", broken, "new.overall_score := 11"):
        assert taken(platform, refreshes.run()) == 6
        processed_once(platform, sound)
        assert waiting(platform) == {broken}
        assert platform.query(aside) == [(broken, 1, timedelta(minutes=10))]
        ((reason,),) = platform.query("select reason from ops.set_aside_tutors")
        assert "average_score_lies_in_0_to_10" in reason
    platform.execute("update ops.set_aside_tutors set retry_at = now()")
    refreshes.run()
    processed_once(platform, broken)
    assert platform.query("select count(*) from ops.set_aside_tutors") == [(0,)]


@pytest.mark.parametrize("table", ["history_repairs", "alert_events"])
def test_what_fails_without_any_tutor_ends_the_run_and_sets_nobody_aside(
    platform, refreshes, _tutors, table
):
    tutors = [next(_tutors) for _ in range(3)]
    for each in tutors:
        disappoint(platform, each)
    platform.execute(f"alter table ops.{table} rename to gone")
    try:
        run = refreshes.start()
        assert not run.outcome().success
    finally:
        platform.execute(f"alter table ops.gone rename to {table}")
    assert f'relation "ops.{table}" does not exist' in run.log
    assert platform.query("select count(*) from ops.set_aside_tutors") == [(0,)]
    assert waiting(platform) == set(tutors)
    refreshes.run()
    for each in tutors:
        processed_once(platform, each)


def test_a_build_that_fails_for_everybody_sets_nobody_aside(platform, refreshes, _tutors):
    tutors = [next(_tutors) for _ in range(2)]
    for each in tutors:
        disappoint(platform, each)
    platform.execute(
        "create or replace function public.refuse() returns trigger language plpgsql as"
        " $$ begin raise 'not today'; end $$"
    )
    platform.execute(
        "create trigger refuse before insert on marts.tutor_evidence for each statement"
        " execute function public.refuse()"
    )
    try:
        assert not refreshes.start().outcome().success
    finally:
        platform.execute("drop trigger refuse on marts.tutor_evidence")
    assert platform.query("select count(*) from ops.set_aside_tutors") == [(0,)]
    assert waiting(platform) == set(tutors)
    refreshes.run()
    for each in tutors:
        processed_once(platform, each)


def test_while_a_check_objects_nothing_is_taken(platform, refreshes, tutor):
    disappoint(platform, tutor)
    result = "asset = 'marts/fct_sessions' and check_name = 'there_are_sessions'"
    platform.execute(f"update ops.dq_results set status = 'failed' where {result}")
    try:
        assert taken(platform, refreshes.run()) == 0
        assert waiting(platform) == {tutor}
        assert history(platform, tutor) == []
    finally:
        platform.execute(f"update ops.dq_results set status = 'passed' where {result}")
    refreshes.run()
    processed_once(platform, tutor)


@pytest.mark.parametrize(
    "stages",
    [
        # Marked, taken, staged.
        pytest.param(
            ("ops.session_ledger", "ops.refresh_runs", "marts.fct_sessions"), marks=pytest.mark.long
        ),
        # The wide row; then in the one transaction that writes what was found.
        ("marts.tutor_aggregates", "ops.alerts", "ops.refresh_passes"),
    ],
    ids=["first", "then"],
)
def test_killed_at_every_stage_and_run_again_it_happens_once(platform, refreshes, tutor, stages):
    disappoint(platform, tutor)
    for table in stages:
        with stopping_at(platform.url, table) as somebody_stopped:
            run = refreshes.start()
            somebody_stopped()
            run.kill()
        assert history(platform, tutor) == []
    assert taken(platform, refreshes.run()) == 3
    processed_once(platform, tutor)


@pytest.mark.long
@pytest.mark.usefixtures("refreshes")
def test_killed_at_every_statement_and_run_again_it_happens_once(platform, tutor):
    """Each time at the next one, until one comes to its end: then everything is done."""
    disappoint(platform, tutor)
    built = (
        "select count(*), (select sessions_completed_30d from marts.tutor_aggregates"
        " where tutor_id = %s) from marts.fct_sessions where tutor_id = %s"
    )
    before = platform.query(built, tutor, tutor)
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("pass_process.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=platform.environment,
    ) as process:
        for statement in count(1):
            process.stdin.write(f"{statement}\n")
            process.stdin.flush()
            if (status := int(process.stdout.readline())) == 0:
                break
            assert status == -signal.SIGKILL
            ((rows, sessions),) = platform.query(built, tutor, tutor)
            ((rows_before, sessions_before),) = before
            assert (rows - rows_before, sessions - sessions_before) in ((0, 0), (3, 3)), statement
            # Who dies so often is taken for the cause, and waits.
            platform.execute("update ops.session_ledger set attempts = 0 where attempts > 0")
            platform.execute("delete from ops.set_aside_tutors")
        process.stdin.close()
    assert statement > 150, "the pass has more statements"
    processed_once(platform, tutor)


def test_who_lost_the_lock_writes_nothing_and_takes_it_again(platform, refreshes, tutor):
    disappoint(platform, tutor)
    with stopping_at(platform.url, "marts.tutor_aggregates") as wait:
        run = refreshes.start()
        wait()
        assert platform.query(
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted"
            " and pid <> pg_backend_pid() and classid <> 0 and database ="
            " (select oid from pg_database where datname = current_database())"
            " and pid in (select pid from pg_stat_activity where state = 'idle in transaction')"
        )
    run.outcome()
    assert "another process took over writing (refresh)" in run.log
    processed_once(platform, tutor)


def test_a_run_killed_in_its_commit_is_not_done_again(platform, refreshes, tutor):
    disappoint(platform, tutor)
    passes = "select count(*) from ops.refresh_passes"
    ((before,),) = platform.query(passes)
    with stopping_at(platform.url, "ops.refresh_passes", when="at commit") as somebody_stopped:
        run = refreshes.start()
        somebody_stopped()
        run.kill()
        # The server carries the COMMIT out; its successor must see that, and has begun before.
        successor = refreshes.start()
        until(lambda: "STEP_START" in successor.log, "the next run has begun")
    assert successor.outcome().success
    processed_once(platform, tutor)
    assert platform.query(passes) == [(before + 1,)]


def test_another_writer_is_waited_for(platform, refreshes, tutor):
    disappoint(platform, tutor)
    with one_writer(platform.warehouse, "refresh"):
        run = refreshes.start()
        until(lambda: "another process is writing (refresh)" in run.log, "it waits")
        assert waiting(platform) == {tutor}
        assert platform.query("select count(*) from ops.session_changes") == [(0,)]
    assert run.outcome().success
    processed_once(platform, tutor)


def presences(project):
    """How many runs are present: each has a transaction open for it."""
    ((found,),) = project.query(
        "select count(distinct pid) from pg_locks where locktype = 'advisory' and granted"
        " and database = (select oid from pg_database where datname = current_database())"
        " and pid in (select pid from pg_stat_activity where state = 'idle in transaction')"
    )
    return found


def test_one_stands_by_and_another_is_ready_before_it_ends(platform, refreshes, _tutors):
    def poor(tutor):
        disappoint(platform, tutor)
        until(lambda: history(platform, tutor) == [(POOR_FIRSTS, "opened")], "an alert opened")
        processed_once(platform, tutor)

    first = refreshes.start(linger_seconds=None)
    tutor = next(_tutors)
    poor(tutor)
    # Late feedback, long before everything is compared again: the server counts what is written.
    stars = (
        "select student_satisfaction_rating from marts.fct_sessions"
        f" where session_id = '{tutor}-poor0'"
    )
    assert platform.query(stars) == [(None,)]
    platform.execute(
        "insert into platform.session_feedback (session_id, student_satisfaction_rating)"
        f" values ('{tutor}-poor0', 2)"
    )
    until(lambda: platform.query(stars) == [(2,)], "feedback is noticed", seconds=45)
    second = refreshes.start(linger_seconds=None)
    # It reports what it did, and says that it ended well.
    outcome = first.outcome()
    assert outcome.success
    assert outcome.of("ops/alerts")["passes"] >= 1
    poor(next(_tutors))
    # While a pass ends, its lock counts too.
    until(lambda: presences(platform) == 1, "one is present")
    second.kill()
    until(lambda: presences(platform) == 0, "the server knows that it is gone")


def test_one_that_stands_by_alone_ends_some_time(platform, refreshes):
    assert refreshes.run(linger_seconds=None, max_seconds=-55).success


def test_what_changes_during_a_full_refresh_still_waits_and_all_is_as_it_makes_it(
    platform, refreshes, tutor
):
    """The tables as all these tests left them, before a full refresh and after it."""
    references = "select count(*) from ops.score_references where scorer = 'departure_v1'"
    assert waiting(platform) == set()
    assert platform.query(references) == [(1,)], "what is usual is fitted by full refreshes only"
    moment = datetime.now(UTC)
    before = tables(platform.url, moment)
    assert before["marts.tutor_aggregates"]
    assert before["ops.alerts"]
    with stopping_at(platform.url, "ops.dq_results") as somebody_stopped:
        full = refreshes.start("daily_refresh")
        somebody_stopped()  # its tables are made, its findings are not
        disappoint(platform, tutor)
        meanwhile = refreshes.start()
        until(lambda: "another process is writing (refresh)" in meanwhile.log, "it waits")
    assert full.outcome().success, full.log
    assert meanwhile.outcome().success, meanwhile.log
    refreshes.run()
    processed_once(platform, tutor)
    assert platform.query(references) == [(2,)]
    ((version,),) = platform.query(
        "select distinct version from ops.tutor_scores where scorer = 'departure_v1'"
        " and as_of_on = (select max(as_of_on) from ops.tutor_scores)"
    )
    ((newest,),) = platform.query(references.replace("count(*)", "max(version)"))
    assert version.endswith(f".{newest}"), "of all tutors, also of the refreshes after it"
    after = tables(platform.url, moment)
    for side in (before, after):
        for table, rows in side.items():
            side[table] = {key: row for key, row in rows.items() if row.get("tutor_id") != tutor}
    assert differences(before, after) == {}


def excuse(platform, session_id, kind=ExcuseKind.QUALITY):
    """A session is excused. Returns the number of the excuse."""
    tutor = session_id.partition("-")[0]
    with platform.warehouse.connect() as database:
        return excuses.excuse(
            database, tutor, session_id, kind, reason="outage", by="ada", at=datetime.now(UTC)
        )


def test_an_excuse_is_a_change_of_its_session_and_so_is_undoing_it(platform, refreshes, tutor):
    disappoint(platform, tutor)
    refreshes.run()
    assert history(platform, tutor) == [(POOR_FIRSTS, "opened")]
    sessions = "select sessions_30d, first_session_avg_score_90d_n from marts.tutor_aggregates"
    ((taught, scored),) = platform.query(f"{sessions} where tutor_id = %s", tutor)
    number = excuse(platform, f"{tutor}-poor1")
    assert taken(platform, refreshes.run()) == 1
    told = [(POOR_FIRSTS, event) for event in ("opened", "excused", "resolved")]
    assert history(platform, tutor) == told
    assert platform.query("select resolution from ops.alerts where tutor_id = %s", tutor) == [
        ("excused",)
    ]
    assert platform.query(f"{sessions} where tutor_id = %s", tutor) == [(taught, scored - 1)]
    assert taken(platform, refreshes.run()) == 0
    with platform.warehouse.connect() as database:
        excuses.undo(database, number, by="bea", at=datetime.now(UTC))
    assert taken(platform, refreshes.run()) == 1
    assert history(platform, tutor) == [*told, (POOR_FIRSTS, "reopened")]
    assert platform.query(f"{sessions} where tutor_id = %s", tutor) == [(taught, scored)]
    assert waiting(platform) == set()


def test_what_is_excused_while_a_pass_reads_waits_for_the_next(platform, refreshes, tutor):
    disappoint(platform, tutor)
    refreshes.run()
    platform.execute(
        f"update platform.sessions set overall_session_score = 5.4 where id = '{tutor}-poor0'"
    )
    with stopping_at(platform.url, "marts.tutor_aggregates") as wait:
        run = refreshes.start()
        wait()
        # The pass has read the session, and is to record it as processed.
        excuse(platform, f"{tutor}-poor0", ExcuseKind.ALL)
    assert run.outcome().success
    refreshes.run()
    assert history(platform, tutor)[-1] == (POOR_FIRSTS, "resolved")
    assert waiting(platform) == set()


def test_a_session_of_two_months_ago_is_excused_too(platform, refreshes, tutor):
    teach(platform, tutor, *range(100, 103), score=5.5, first=True, ago=timedelta(days=40))
    refreshes.run("daily_refresh")
    assert history(platform, tutor) == [(POOR_FIRSTS, "opened")]
    excuse(platform, f"{tutor}-100")
    assert taken(platform, refreshes.run()) == 1
    assert history(platform, tutor)[-1] == (POOR_FIRSTS, "resolved")


def test_when_versions_are_made_otherwise_old_sessions_are_no_news(platform, refreshes, tutor):
    """As after an update: all versions differ, and only what no run had taken is news."""
    platform.execute("delete from ops.outbox where kind = 'session'")
    told = "select subject_id from ops.outbox where kind = 'session'"
    platform.execute(
        "update ops.refresh_runs set source_shape = 'of an older program' where is_full;"
        "update ops.session_ledger set version = version + 1"
    )
    teach(platform, tutor, "new")
    refreshes.run("daily_refresh")
    assert platform.query(told) == [(f"{tutor}-new",)]
    assert waiting(platform) == set()

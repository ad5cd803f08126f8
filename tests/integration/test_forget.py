"""Erasing a person on request: everything of theirs goes, nobody else's, and it does not come back.

Whether something is left is looked for here in another way than the command does: in the whole text
of every row of every table of both databases, and of every file of the home.
"""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import psycopg
import pytest
from dagster._serdes import deserialize_value

from tutor_pipeline.core.warehouse import erasure
from tutor_pipeline.core.warehouse.locks import is_held
from tutor_pipeline.core.warehouse.personal_data import Person, Role

OURS = ("staging", "intermediate", "marts", "ops")
THEIRS = ("platform", "truth")
COMMAND = [sys.executable, "-c", "from tutor_pipeline.cli import main; main()"]
TUTOR, OTHER_TUTOR = "T0013", "T0015"
NEAR = ("T001", "T00130", "T0013-2")

# Tutors with ids that resemble T0013, and enough of each in alerts, quarantine and samples.
IN_EVERYTHING = """
    insert into platform.users (id, name, role)
    select near, 'A Neighbour', 'tutor' from unnest(%(near)s::text[]) as near;
    insert into platform.tutors (user_id, active_status)
    select near, true from unnest(%(near)s::text[]) as near;
    insert into platform.sessions
        (id, tutor_id, student_id, scheduled_start, status, rescheduled_by, reschedule_reason)
    select
        tutor || '/' || n, tutor, case n when 9 then %(students)s end, now() - n * interval '1 day',
        'rescheduled', 'tutor', 'ill'
    from unnest(%(near)s || %(tutors)s::text[]) as tutor, generate_series(1, 9) as n;
    insert into platform.sessions (id, tutor_id, student_id, scheduled_start, status)
    select tutor || '/bad', tutor, %(students)s, now() - interval '2 days', 'nonsense'
    from unnest(array['T001'] || %(tutors)s::text[]) as tutor;
    insert into platform.session_feedback (session_id, student_satisfaction_rating, feedback_text)
    select 'T001/' || n, 2, 'I was not happy' from generate_series(1, 9) as n
"""


def whole(word):
    return re.compile(rf"(?<![\w-]){re.escape(word)}(?![\w-])")


def state(project, schemas=OURS + THEIRS):
    """{table: its rows as texts}, but for the record of erasures."""
    found = {}
    with psycopg.connect(project.url) as connection:
        tables = connection.execute(
            "select format('%%I.%%I', schemaname, tablename) from pg_tables"
            " where schemaname = any(%s) and tablename <> 'erasures'",
            (list(schemas),),
        ).fetchall()
        for (table,) in tables:
            rows = connection.execute(f"select t::text from {table} as t").fetchall()
            found[table] = sorted(text for (text,) in rows)
    return found


def naming(rows, word):
    """The rows that have the word in them."""
    found = {
        table: [text for text in texts if word in text and whole(word).search(text)]
        for table, texts in rows.items()
    }
    return {table: texts for table, texts in found.items() if texts}


def history_naming(project, word):
    """Texts of Dagster's database with the word in them."""
    with psycopg.connect(f"{project.url}_dagster") as connection:
        tables = connection.execute(
            "select tablename from pg_tables where schemaname = 'public'"
        ).fetchall()
        return [
            text
            for (table,) in tables
            for (text,) in connection.execute(
                f"select t::text from {table} as t where position(%s in t::text) > 0", (word,)
            )
            if whole(word).search(text)
        ]


def files_naming(project, word):
    return sorted(
        file.relative_to(project.home).as_posix()
        for file in project.home.rglob("*")
        if file.is_file()
        and "target" not in file.parts
        and whole(word).search(file.read_text(encoding="utf-8", errors="replace"))
    )


def run_sql(project, statements, **values):
    with psycopg.connect(project.url, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(statements, values or None)


@pytest.fixture(scope="module")
def students(project):
    # Under rules that find alerts of these tutors whoever else is there.
    project.settings["TUTOR_RULE_PROFILE"] = "conservative"
    project.run("generate", "--tutors", "20", "--days", "30", "--sessions-per-day", "30")
    rows = project.query(
        "select student_id from platform.sessions where status = 'completed' and tutor_id ="
        " 'T0003' group by 1 order by count(*) desc, 1 limit 2"
    )
    return [student for (student,) in rows]


@pytest.fixture(scope="module")
def enriched(project, students):
    """A small platform in which people are in all that can name them."""
    run_sql(
        project,
        IN_EVERYTHING,
        near=list(NEAR),
        tutors=[TUTOR, OTHER_TUTOR],
        students=students[0],
    )
    project.run("enrich")
    project.run("alerts", "ack", "--tutor", TUTOR, "--by", "ada", "--note", f"{TUTOR} is ill")
    ack = ("alerts", "ack", "--tutor", "T00130", "--by", "ada", "--note")
    project.run(*ack, f"as {TUTOR} and {students[0]}")
    project.run("alerts", "export", str(project.home / "reports" / "alerts.csv"), "--all")
    (name,) = project.query("select name from platform.users where id = %s", TUTOR)[0]
    messages = project.home / "reports" / "messages"
    messages.mkdir()
    (messages / "1.txt").write_text(f"{name} needs a call")
    (messages / "2.txt").write_text("T00130 needs a call")
    return project


@pytest.fixture
def theirs(enriched):
    """The platform's schema as if its owner had made it."""
    ((mark,),) = enriched.query("select obj_description('platform'::regnamespace)")
    enriched.execute("comment on schema platform is 'the tables of our product'")
    yield enriched
    enriched.execute(f"comment on schema platform is '{mark}'")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "whom?"),
        (["--yes"], "whom?"),
        (["--tutor", "T1", "--student", "S1", "--yes"], "whom?"),
        (["--tutor", "", "--yes"], "whom?"),
        (["--student", " ", "--yes"], "whom?"),
        (["--tutor", "T1"], "--yes"),
    ],
)
def test_wrong_usage(project, arguments, says):
    assert says in project.run("forget", *arguments, status=2).stderr


def test_the_help_has_an_example(project):
    assert "forget --tutor T0042 --dry-run" in project.run("forget", "--help").stdout


def test_looking_changes_nothing(enriched):
    before = state(enriched), history_naming(enriched, TUTOR), files_naming(enriched, TUTOR)
    found = enriched.json("forget", "--tutor", TUTOR, "--dry-run")
    assert found["rows"]["ops.alerts"] >= 1
    assert found["rows"]["platform.sessions"] >= 10
    assert found["dagster"]["event_logs"] >= 1
    assert any(file.endswith("alerts.csv") for file in found["files"])
    shown = enriched.run("forget", "--tutor", TUTOR, "--dry-run").stdout
    assert "ops.alert_events" in shown
    assert (state(enriched), history_naming(enriched, TUTOR), files_naming(enriched, TUTOR)) == (
        before
    )


@pytest.mark.parametrize("number", ["7", "30"])
def test_of_an_id_that_is_a_number_nothing_is_found_among_counts(enriched, number):
    found = enriched.json("forget", "--tutor", number, "--dry-run")
    assert (found["rows"], found["dagster"]) == ({}, {})
    person = Person(Role.TUTOR, number)
    with enriched.warehouse.connect() as connection:
        assert erasure.left(connection, person, OURS + THEIRS) == []


def test_it_asks_first(enriched):
    before = state(enriched)
    terminal, own = pty.openpty()
    os.write(terminal, b"n\n")
    process = subprocess.run(
        [*COMMAND, "forget", "--tutor", TUTOR],
        check=False,
        stdin=own,
        capture_output=True,
        text=True,
        timeout=120,
        env=enriched.environment,
    )
    assert process.returncode == 1
    assert "ops.alerts" in process.stdout
    assert "Erase all of this from postgresql://" in process.stderr
    assert state(enriched) == before


@pytest.mark.long
def test_a_tutor_of_a_platform_that_we_made(enriched):
    (enriched.home / "mine.csv").write_text(f"{TUTOR},1\n")
    before = state(enriched)
    assert len(naming(before, TUTOR)) > 30
    assert history_naming(enriched, TUTOR)
    erased = enriched.json("forget", "--tutor", TUTOR, "--yes", "--by", "ada")
    after = state(enriched)
    assert naming(after, TUTOR) == {}
    assert naming(after, f"{TUTOR}/bad") == {}
    assert history_naming(enriched, TUTOR) == []
    # What somebody put into the home is not ours to delete: it is named.
    assert files_naming(enriched, TUTOR) == ["mine.csv"]
    assert erased["elsewhere"] == [str(enriched.home / "mine.csv")]
    (enriched.home / "mine.csv").unlink()
    messages = enriched.home / "reports" / "messages"
    assert [file.name for file in messages.iterdir()] == ["2.txt"]
    # Everybody else's rows are as they were, but for what was about both.
    both = {"marts.student_aggregates", "ops.dq_results", "ops.alerts", "ops.alert_events"}
    for near in NEAR:
        was, now = naming(before, near), naming(after, near)
        assert len(was) > 10
        assert {table: rows for table, rows in now.items() if table not in both} == {
            table: rows for table, rows in was.items() if table not in both
        }
        assert {table: len(rows) for table, rows in now.items()} == {
            table: len(rows) for table, rows in was.items()
        }
    note = enriched.json("alerts", "list", "--tutor", "T00130")[0]["alert_id"]
    note = enriched.json("alerts", "show", note)["acknowledged_note"]
    assert note.startswith("as (erased) and ")
    # Dagster still reads what it wrote.
    with psycopg.connect(f"{enriched.url}_dagster") as connection:
        masked = connection.execute(
            "select event from event_logs where position('(erased)' in event) > 0"
        ).fetchall()
    assert masked
    for (event,) in masked:
        deserialize_value(event)
    (noted,) = enriched.query("select erased_by, role, rows from ops.erasures")
    assert noted == ("ada", "tutor", erased["rows"])


@pytest.mark.long
def test_a_second_time_there_is_nothing(enriched):
    before = state(enriched)
    again = enriched.run("forget", "--tutor", TUTOR, "--yes")
    assert f"There is nothing of tutor {TUTOR}." in again.stdout
    assert f"Nothing of tutor {TUTOR} is left" in again.stderr
    assert state(enriched) == before
    assert len(enriched.query("select from ops.erasures")) == 1


@pytest.mark.long
def test_while_a_platform_of_others_names_the_person_it_is_refused(theirs):
    before = state(theirs)
    said = theirs.run("forget", "--tutor", OTHER_TUTOR, "--yes", status=3).stderr
    (sessions,) = theirs.query(
        "select count(*) from platform.sessions where tutor_id = %s", OTHER_TUTOR
    )[0]
    assert f"platform.sessions {sessions} rows" in said
    for table in ("users", "tutors", "engagement_events", "tutor_availability"):
        assert f"platform.{table} " in said
    looked = theirs.json("forget", "--tutor", OTHER_TUTOR, "--dry-run", status=3)
    assert looked["platform"]["platform.sessions"] == sessions
    assert not [table for table in looked["rows"] if table.startswith("platform.")]
    assert state(theirs) == before
    assert history_naming(theirs, OTHER_TUTOR)


ERASED_BY_THE_PLATFORM = """
    delete from platform.session_feedback where session_id in (
        select id from platform.sessions where tutor_id = %(tutor)s
    );
    delete from platform.sessions where tutor_id = %(tutor)s;
    delete from platform.tutors where user_id = %(tutor)s;
    delete from platform.users where id = %(tutor)s;
    delete from platform.tutor_subjects where tutor_id = %(tutor)s;
    delete from platform.tutor_certifications where tutor_id = %(tutor)s;
    delete from platform.student_progress where tutor_id = %(tutor)s;
    delete from platform.tutor_availability where tutor_id = %(tutor)s;
    delete from platform.engagement_events where tutor_id = %(tutor)s;
    delete from platform.interventions where tutor_id = %(tutor)s;
    delete from platform.experiment_assignments where tutor_id = %(tutor)s;
    drop table platform.tutor_certifications;
    drop schema truth cascade  -- a platform of others has none
"""


@pytest.mark.long
def test_killed_in_the_middle_the_rows_are_as_they_were(theirs):
    """Killed while it waits for a table in the midst of its transaction."""
    run_sql(theirs, ERASED_BY_THE_PLATFORM, tutor=OTHER_TUTOR)
    before = state(theirs)
    waiting = (
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and wait_event_type = 'Lock' and query like '%%\"alerts\"%%'"
    )
    with psycopg.connect(theirs.url) as blocker:
        blocker.execute("lock table ops.alerts in share mode")
        process = theirs.start("forget", "--tutor", OTHER_TUTOR, "--yes")
        deadline = time.monotonic() + 300
        while theirs.query(waiting) != [(1,)]:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with theirs.warehouse.connect() as connection:
            # No refresh can run meanwhile, whatever it covers.
            assert is_held(connection, "refresh")
            assert is_held(connection, "history")
        process.send_signal(signal.SIGKILL)
        process.wait()
    while theirs.query(waiting) != [(0,)]:
        time.sleep(0.1)
    assert state(theirs) == before
    # The same command again does it, and touches nothing of the platform's.
    theirs.run("forget", "--tutor", OTHER_TUTOR, "--yes")
    after = state(theirs)
    assert naming(after, OTHER_TUTOR) == {}
    assert history_naming(theirs, OTHER_TUTOR) == []
    assert files_naming(theirs, OTHER_TUTOR) == []
    assert {table: rows for table, rows in after.items() if table.startswith("platform.")} == {
        table: rows for table, rows in before.items() if table.startswith("platform.")
    }


@pytest.mark.long
def test_a_students_sessions_stay_their_tutors(enriched, students):
    student, other = students
    counted = "select count(*), count(feedback_text) from {} where {} = %s"
    for table in ("marts.fct_sessions", "platform.sessions"):
        assert enriched.query(f"select count(*) from {table} where student_id = %s", student)
    sessions = enriched.query(
        "select session_id, session_score from marts.fct_sessions where student_id = %s order by 1",
        student,
    )
    of_other = enriched.query(counted.format("marts.fct_sessions", "student_id"), other)
    enriched.run("forget", "--student", student, "--yes")
    assert naming(state(enriched), student) == {}
    assert history_naming(enriched, student) == []
    assert files_naming(enriched, student) == []
    ids = [session for session, _ in sessions]
    assert sessions == enriched.query(
        "select session_id, session_score from marts.fct_sessions where session_id = any(%s)"
        " order by 1",
        ids,
    )
    assert enriched.query(
        "select count(student_id), count(reschedule_reason), count(feedback_text)"
        " from marts.fct_sessions where session_id = any(%s)",
        ids,
    ) == [(0, 0, 0)]
    assert enriched.query(
        "select count(student_id), count(reschedule_reason) from platform.sessions"
        " where id = any(%s)",
        ids,
    ) == [(0, 0)]
    assert of_other == enriched.query(counted.format("marts.fct_sessions", "student_id"), other)


@pytest.mark.long
def test_what_is_left_after_all_is_said(enriched):
    """A text of somebody else's alert, which no rule expects to name anybody."""
    alert = enriched.json("alerts", "list", "--tutor", "T00130")[0]["alert_id"]
    run_sql(
        enriched,
        "update ops.alerts set description = %(text)s where alert_id = %(alert)s",
        text=f"as {TUTOR} does",
        alert=alert,
    )
    said = enriched.run("forget", "--tutor", TUTOR, "--yes", status=1).stderr
    assert "ops.alerts.description: 1 row with this id" in said
    assert "is left" not in said
    (found,) = enriched.json("forget", "--tutor", TUTOR, "--yes", status=1)["left"]
    assert (found["table"], found["column"], found["rows"]) == ("ops.alerts", "description", 1)


@pytest.mark.long
def test_they_do_not_come_back(enriched, students):
    outcome = enriched.json("enrich")
    assert outcome["success"]
    assert outcome["blocking"] == {}
    assert outcome["alerts"]["opened"] == 0
    after = state(enriched)
    for word in (TUTOR, OTHER_TUTOR, students[0]):
        assert naming(after, word) == {}
        assert history_naming(enriched, word) == []
    enriched.run("forget", "--tutor", TUTOR, "--yes")
    assert json.loads(enriched.run("attention", "--json").stdout)

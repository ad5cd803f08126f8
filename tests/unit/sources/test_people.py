"""A person in the platform's tables: seen in a platform of others, erased from one of ours."""

import pytest

from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.core.warehouse.database import Schemas, Warehouse
from tutor_pipeline.core.warehouse.personal_data import Person, Role
from tutor_pipeline.core.warehouse.platform import ensure_platform, ensure_session_students
from tutor_pipeline.sources.contract import load_contract
from tutor_pipeline.sources.personal_rows import erase_from_ours, named_in

TUTOR = "c6f0a9d2-0000-4000-8000-000000000001"
OTHER = "c6f0a9d2-0000-4000-8000-000000000002"

# As somebody else made it: ids are uuids, most tables and columns are missing, one is a view.
LIVE = f"""
    create schema live;
    create table live.sessions (
        id uuid default gen_random_uuid(), tutor_id uuid, student_id integer,
        scheduled_start timestamp, status text
    );
    create table live.people (uid uuid, kind text);
    create view live.users as select uid as id, kind as role from live.people;
    create table live.notes (tutor_id uuid);
    insert into live.sessions (tutor_id, student_id) values
        ('{TUTOR}', 1), ('{TUTOR}', 12), ('{OTHER}', 1);
    insert into live.people values ('{TUTOR}', 'tutor'), ('{OTHER}', 'tutor');
    insert into live.notes values ('{TUTOR}')
"""


@pytest.fixture(scope="module")
def contract():
    return load_contract()


@pytest.fixture
def live(warehouse):
    target = Warehouse(warehouse.url, Schemas(platform="live"))
    with target.connect() as database, database.transaction(force_rollback=True):
        database.execute(LIVE)
        yield database, target


@pytest.mark.parametrize(
    ("role", "id_", "rows"),
    [
        (Role.TUTOR, TUTOR, {"live.sessions": 2, "live.users": 1}),
        (Role.TUTOR, TUTOR[:-1], {}),
        (Role.TUTOR, "1", {}),
        (Role.STUDENT, "1", {"live.sessions": 2}),
        (Role.STUDENT, "12", {"live.sessions": 1}),
        (Role.STUDENT, "' or true --", {}),
    ],
)
def test_what_the_contract_knows_is_counted_as_text(live, contract, role, id_, rows):
    database, _ = live
    assert named_in(database, contract, Person(role, id_)) == rows


def test_without_a_platform_nobody_is_named(warehouse, contract):
    target = Warehouse(warehouse.url, Schemas(platform="nowhere"))
    with target.connect() as database:
        assert named_in(database, contract, Person(Role.TUTOR, "T1")) == {}


def test_what_may_not_be_read_may_still_name_them(live, contract):
    database, _ = live
    database.execute("create role looks_on; grant usage on schema live to looks_on")
    database.execute("grant select on live.sessions to looks_on; set local role looks_on")
    with pytest.raises(RefusedError, match=r"live\.users\.id may not be read"):
        named_in(database, contract, Person(Role.TUTOR, TUTOR))


@pytest.fixture
def ours(warehouse):
    with warehouse.connect() as database, database.transaction(force_rollback=True):
        ensure_platform(database)
        database.execute(
            """
            insert into platform.users (id, name, role) values
                ('T1', 'A', 'tutor'), ('T10', 'B', 'tutor'), ('S1', 'C', 'student');
            insert into platform.tutors (user_id) values ('T1'), ('T10');
            insert into platform.students (user_id) values ('S1'), ('S10');
            insert into platform.sessions
                (id, tutor_id, student_id, scheduled_start, status, reschedule_reason)
            values
                ('1', 'T1', 'S1', now(), 'completed', 'ill'),
                ('2', 'T10', 'S1', now(), 'completed', 'ill'),
                ('3', 'T10', 'S10', now(), 'completed', 'ill');
            insert into platform.session_feedback
                (session_id, student_satisfaction_rating, feedback_text)
            values ('1', 4, 'good'), ('2', 5, 'very good'), ('3', 5, 'great');
            insert into platform.session_audio_metrics (session_id) values ('1'), ('2');
            insert into platform.session_transcript_highlights (id, session_id, text)
            values ('a', '2', 'I am S1'), ('b', '3', 'hello');
            insert into platform.student_progress values
                ('S1', 'T1', now(), 1), ('S10', 'T10', now(), 1);
            create schema truth;
            comment on schema truth is 'Made by tutor-pipeline';
            create table truth.moves (student_id text, from_tutor_id text);
            insert into truth.moves values ('S1', 'T1'), ('S10', 'T10')
            """
        )
        yield database, warehouse


def test_a_tutor_goes_with_their_sessions(ours, contract):
    database, _ = ours
    person = Person(Role.TUTOR, "T1")
    assert erase_from_ours(database, contract, person) == {
        "platform.session_audio_metrics": 1, "platform.session_feedback": 1,
        "platform.users": 1, "platform.tutors": 1, "platform.student_progress": 1,
        "platform.sessions": 1, "truth.moves": 1,
    }  # fmt: skip
    assert named_in(database, contract, person) == {}
    assert database.execute("select id from platform.sessions order by 1").fetchall() == [
        ("2",), ("3",),
    ]  # fmt: skip
    database.execute("drop table platform.tutor_certifications")  # as of an earlier version
    assert erase_from_ours(database, contract, person) == {}


def test_a_student_goes_and_their_tutors_sessions_stay(ours, contract):
    database, _ = ours
    person = Person(Role.STUDENT, "S1")
    assert erase_from_ours(database, contract, person) == {
        "platform.session_transcript_highlights": 1, "platform.session_feedback": 2,
        "platform.sessions": 2, "platform.users": 1, "platform.students": 1,
        "platform.student_progress": 1, "truth.moves": 1,
    }  # fmt: skip
    assert named_in(database, contract, person) == {}
    assert database.execute(
        "select id, student_id, reschedule_reason, feedback_text, student_satisfaction_rating::int"
        " from platform.sessions join platform.session_feedback on id = session_id order by 1"
    ).fetchall() == [
        ("1", None, None, None, 4), ("2", None, None, None, 5), ("3", "S10", "ill", "great", 5),
    ]  # fmt: skip
    assert erase_from_ours(database, contract, person) == {}


def test_a_student_on_lists_leaves_the_lessons_what_they_were(ours, contract):
    database, _ = ours
    ensure_session_students(database)
    database.execute(
        "insert into platform.session_students (session_id, student_id, attended) values"
        # Alone there, absent like the other, and one of two who came.
        " ('1', 'S2', true), ('1', 'S3', false), ('2', 'S2', false), ('2', 'S3', true),"
        " ('3', 'S2', true), ('3', 'S3', null)"
    )
    person = Person(Role.STUDENT, "S2")
    assert erase_from_ours(database, contract, person) == {
        "platform.session_feedback": 3, "platform.session_students": 4,
    }  # fmt: skip
    assert named_in(database, contract, person) == {}
    # Without a list the first is still a lesson that was held.
    assert database.execute(
        "select session_id, student_id from platform.session_students order by 1"
    ).fetchall() == [("2", "S3"), ("3", "S3")]
    assert database.execute(
        "select count(feedback_text), count(student_satisfaction_rating)"
        " from platform.session_feedback"
    ).fetchone() == (0, 3)
    assert erase_from_ours(database, contract, person) == {}


def test_a_truth_that_is_not_ours_is_left_alone(ours, contract):
    database, _ = ours
    database.execute("comment on schema truth is 'of the church'")
    erase_from_ours(database, contract, Person(Role.TUTOR, "T1"))
    assert database.execute("select count(*) from truth.moves").fetchone() == (2,)

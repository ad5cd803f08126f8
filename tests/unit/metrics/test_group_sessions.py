"""Lessons of several students: the tutor's figures from one row per lesson, the students' per
student.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.metrics.conftest import AS_OF, Bench
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.refresh_runs import end_of_day
from tutor_pipeline.metrics.catalogue import metric_columns
from tutor_pipeline.steps.order import MODELS_OF_A_TUTOR, OF_GROUPS

PLATFORM = """
    create schema platform;
    create table platform.sessions (
        id text primary key, tutor_id text not null, student_id text, scheduled_start timestamptz,
        status text, overall_session_score double precision, is_first_session boolean
    );
    create table platform.session_feedback (
        session_id text, student_satisfaction_rating double precision,
        satisfaction_score double precision
    );
    create table platform.session_students (
        session_id text, student_id text, attended boolean,
        student_satisfaction_rating double precision, is_first boolean
    )
"""


@pytest.fixture
def grouped(databases: Any, make_bench: Callable[[Warehouse], Bench]) -> Bench:
    """A platform of a few tables that lists who takes part."""
    bench = make_bench(Warehouse(databases.create()))
    bench.execute(PLATFORM)
    return bench


def lesson(
    bench: Bench, name: str, days_ago: float, status: str = "completed", **more: Any
) -> None:
    start = AS_OF - timedelta(days=days_ago)
    bench.add("sessions", id=name, tutor_id="t1", scheduled_start=start, status=status, **more)


def takes_part(bench: Bench, lesson: str, student: str | None, **more: Any) -> None:
    bench.add("session_students", session_id=lesson, student_id=student, **more)


def test_a_lesson_counts_once_for_its_tutor_and_for_each_student(grouped: Bench) -> None:
    lesson(grouped, "trial", 20, overall_session_score=4.0)
    takes_part(grouped, "trial", "ann", attended=True, is_first=True, student_satisfaction_rating=5)
    takes_part(grouped, "trial", "bob", attended=True, is_first=True, student_satisfaction_rating=2)
    takes_part(grouped, "trial", "cid", attended=False, is_first=True)
    lesson(grouped, "second", 12)
    takes_part(grouped, "second", "ann", attended=True)
    lesson(grouped, "alone", 3, student_id="cid")
    grouped.add("session_feedback", session_id="alone", student_satisfaction_rating=3)
    # What is said of a lesson that names nobody is said of nobody.
    lesson(grouped, "unnamed", 5, is_first_session=True)
    grouped.add("session_feedback", session_id="unnamed", student_satisfaction_rating=1)
    takes_part(grouped, "unnamed", "dan")
    takes_part(grouped, "unnamed", "eve")
    # Who stands on a list twice is one student.
    lesson(grouped, "twice", 4)
    takes_part(grouped, "twice", "ann", attended=False, student_satisfaction_rating=5)
    takes_part(grouped, "twice", "ann", attended=True, student_satisfaction_rating=5)
    takes_part(grouped, "twice", "bob", student_satisfaction_rating=2)
    lesson(grouped, "empty", 2)
    takes_part(grouped, "empty", "ann", attended=False)
    takes_part(grouped, "empty", "bob", attended=False)
    lesson(grouped, "not so", 1, "no_show_student")
    takes_part(grouped, "not so", "bob", attended=True)
    grouped.refresh(AS_OF)

    tutor = grouped.row("select * from {marts}.tutor_aggregates")
    assert (tutor["sessions_30d"], tutor["sessions_completed_30d"]) == (7, 6)
    # The trial is rated 3.5 on average, and counts as one rating. So is the lesson with a double.
    assert (tutor["avg_rating_30d"], tutor["avg_rating_30d_n"]) == (2.75, 4)
    assert tutor["first_session_count_90d"] == 2
    assert (tutor["first_session_avg_rating_90d"], tutor["first_session_avg_rating_90d_n"]) == (
        3.5,
        2,
    )
    assert tutor["poor_first_sessions_60d"] == 2
    assert tutor["poor_first_session_ids"] == ["trial"]
    assert tutor["distinct_students_30d"] == 5
    assert tutor["recent_session_ids"] == ["not so", "alone", "twice", "unnamed", "second"]
    students = {
        row["student_id"]: row for row in grouped.rows("select * from {marts}.student_aggregates")
    }
    assert students.keys() == {"ann", "bob", "cid", "dan", "eve"}
    completed = {name: row["sessions_completed_all"] for name, row in students.items()}
    assert completed == {"ann": 3, "bob": 3, "cid": 1, "dan": 1, "eve": 1}
    # What each said of the first lesson that they came to.
    first = {name: students[name]["first_session_satisfaction"] for name in ("ann", "bob", "cid")}
    assert first == {"ann": 10.0, "bob": 4.0, "cid": 6.0}
    missed = {name: row["reschedules_and_no_shows_90d"] for name, row in students.items()}
    assert missed == {"ann": 1, "bob": 1, "cid": 1, "dan": 0, "eve": 0}
    unnamed = "select own.* from {marts}.fct_session_students as own where session_id = 'unnamed'"
    assert {
        (row["student_satisfaction_rating"], row["is_first_session"])
        for row in grouped.rows(unnamed)
    } == {(None, False)}
    # Nine lessons of students, two of whom came first.
    features = grouped.row("select * from {marts}.tutor_features")
    assert features["avg_student_lifetime_sessions"] == 4.5
    # Of the two who came first, both have come again.
    grouped.refresh(AS_OF + timedelta(days=20))
    tutor = grouped.row("select * from {marts}.tutor_aggregates")
    rate = tutor["first_session_convert_rate_90d"], tutor["first_session_convert_rate_90d_n"]
    assert rate == (1.0, 2)


def test_a_wrong_list_puts_its_lesson_into_quarantine(grouped: Bench) -> None:
    grouped.execute("create table platform.students (user_id text)")
    grouped.add("students", user_id="ann")
    wrong: dict[str, dict[str, Any]] = {
        "student_of_group_missing": {"student": None},
        "rating_of_group_out_of_range": {"student": "ann", "student_satisfaction_rating": 50},
        "unknown_student": {"student": "stranger"},
    }
    for reason, row in wrong.items():
        lesson(grouped, reason, 1)
        takes_part(grouped, reason, **row)
        takes_part(grouped, reason, "ann")
    lesson(grouped, "fine", 2)
    takes_part(grouped, "fine", "ann")
    grouped.refresh(AS_OF)
    reasons = "select session_id, quarantine_reasons as reasons from {staging}.session_rows"
    assert {each["session_id"]: each["reasons"] for each in grouped.rows(reasons)} == {
        "fine": [],
        **{reason: [reason] for reason in wrong},
    }
    counted = grouped.rows("select session_id from {marts}.fct_session_students")
    assert [each["session_id"] for each in counted] == ["fine"]


def random_platform(bench: Bench, rng: random.Random, sizes: Sequence[int]) -> None:
    students = [f"s{number}" for number in range(8)]
    for number in range(150):
        status = rng.choice(["completed"] * 6 + ["cancelled", "no_show_student", "scheduled"])
        who = rng.sample(students, rng.choice(sizes))
        name = f"lesson {number:03}"
        bench.add(
            "sessions",
            id=name,
            tutor_id=rng.choice(["t1", "t2"]),
            student_id=who[0],
            scheduled_start=AS_OF - timedelta(hours=rng.uniform(-50, 24 * 100)),
            status=status,
            overall_session_score=rng.choice([None, 3.0, 6.5, 9.0]),
            is_first_session=rng.random() < 0.2,
        )
        if status == "completed" and rng.random() < 0.6:
            bench.add(
                "session_feedback",
                session_id=name,
                student_satisfaction_rating=rng.choice([1, 2, 3, 4.5, 5]),
                satisfaction_score=rng.choice([None, 7.5]),
            )
        for student in who:
            bench.add("session_students", session_id=name, student_id=student)


MARTS = (
    *("dim_students", "student_aggregates", "student_aggregates_history", "student_evidence"),
    *("student_evidence_history", "tutor_aggregates", "tutor_evidence", "tutor_features"),
    *("tutor_performance_snapshots", "fct_sessions", "fct_session_students"),
)


def marts(bench: Bench) -> dict[str, list[Any]]:
    days = "select tutor_id, session_on, to_jsonb(days) as row from {intermediate}.int_tutor_days"
    found = {"days": bench.rows(f"{days} as days order by 1, 2")}
    for table in MARTS:
        found[table] = bench.rows(
            f"select to_jsonb(made)::text as row from {{marts}}.{table} as made order by 1"
        )
    return found


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_lists_of_one_student_say_what_sessions_say(grouped: Bench, seed: int) -> None:
    """The same platform with a list per lesson, and without: every figure is the same."""
    random_platform(grouped, random.Random(seed), sizes=[1])
    grouped.refresh(AS_OF)
    with_lists = marts(grouped)
    pairs = "select count(*) as rows from {marts}.fct_session_students"
    assert grouped.row(pairs)["rows"] == 150
    grouped.execute("drop table platform.session_students")
    grouped.refresh(AS_OF)
    assert grouped.row(pairs)["rows"] == 0
    without = marts(grouped)
    for table, rows in without.items():
        if table != "fct_session_students":
            assert with_lists[table] == rows, table
    assert len(without["student_aggregates"]) == 8


@pytest.mark.long
def test_a_scoped_refresh_equals_a_full_one(grouped: Bench) -> None:
    rng = random.Random(5)
    random_platform(grouped, rng, sizes=[1, 2, 3, 4])
    grouped.refresh(AS_OF)
    # Whoever came to one of the tutor's lessons is noted, and one joins.
    grouped.execute(
        "update platform.session_students as listed set"
        " attended = listed.student_id in ('s1', 's2', 's5'), student_satisfaction_rating = 4"
        " from platform.sessions as held where held.id = listed.session_id"
        " and held.tutor_id = 't1' and held.status = 'completed';"
        "insert into platform.session_students select min(id), 'newcomer', true from"
        " platform.sessions where tutor_id = 't1' and status = 'completed'"
    )
    grouped.refresh(AS_OF, tutors=["t1"], select=[*MODELS_OF_A_TUTOR, *OF_GROUPS])
    scoped = marts(grouped)
    grouped.refresh(AS_OF)
    for table, rows in marts(grouped).items():
        # Of other tables a refresh of some tutors takes what the full one left, or does not build.
        if table in {*MODELS_OF_A_TUTOR, *OF_GROUPS, "days"}:
            assert scoped[table] == rows, table


@pytest.mark.long
def test_history_is_the_wide_row_of_groups_too(grouped: Bench) -> None:
    random_platform(grouped, random.Random(8), sizes=[1, 2, 3, 4])
    last = AS_OF.date() - timedelta(days=1)
    names = ", ".join(
        name
        for name, column in metric_columns()["tutor_aggregates"].items()
        if not column.type.endswith("[]")
    )
    rows = f"select {names} from {{marts}}.{{}} where as_of_date = %s order by tutor_id"
    expected = {}
    for day in (last - timedelta(days=20), last):
        grouped.refresh(end_of_day(day, "UTC"))
        expected[day] = grouped.rows(rows.replace("{}", "tutor_aggregates"), day)
    first = last - timedelta(days=25)
    history = "tutor_aggregates_history"
    grouped.refresh(end_of_day(last, "UTC"), days=(first, last), select=[history])
    for day, wide in expected.items():
        assert grouped.rows(rows.replace("{}", history), day) == wide, day

"""Platforms with tables of their own: by a mapping they give what the contract's tables give."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

PLATFORMS = Path(__file__).with_name("platforms")
LAST_DAY = datetime(2026, 3, 18)

GIVEN = """
create schema given;
create schema shop;
create table given.tutors (id integer primary key, name text not null, email text not null);
create table given.sessions (
    id integer primary key, tutor_id integer not null, student_id integer not null,
    scheduled_start timestamp not null, scheduled_duration integer not null, status text not null,
    rescheduled_by text, rating integer
);
-- Who takes part: one, or of every third lesson two, of whom one may be absent.
create view given.listed as
select id as session_id, student_id - 1000 as student_id, status = 'completed' as attended
from given.sessions
union all
select id, (student_id - 1000 + 7) % 60, status = 'completed' and id % 2 = 0
from given.sessions where id % 3 = 0;
"""

# What a product cannot say is not given either.
LESS = {
    "moodle_scheduler": "delete from given.sessions where status = 'rescheduled'",
}

PLAIN = """
create table shop.users as select id, name, 'tutor' as role from given.tutors;
create table shop.sessions as
select id, tutor_id, {student} as student_id, scheduled_start at time zone 'UTC' as scheduled_start,
    scheduled_duration, status, rescheduled_by{more}
from given.sessions;
create table shop.session_feedback as
select id as session_id, rating as student_satisfaction_rating from given.sessions
where rating is not null;
"""
LISTED = """
insert into shop.users select id, name, 'tutor' from given.tutors;
alter table shop.users alter column id type text;
insert into shop.users
select 's' || number, 'Student Number' || number, 'student' from generate_series(0, 59) as number;
create table shop.session_students as
select session_id, 's' || student_id as student_id, attended from given.listed;
"""
BOOKED = ", (scheduled_start - interval '3 days') at time zone 'UTC' as created_at"
STUDENT = {
    "cal_com": "'student' || student_id || '@example.org'",
    "teachworks": "null::text",
}
MORE = dict.fromkeys(("cal_com", "easy_appointments", "twenty", "odoo"), BOOKED)
AFTERWARDS = {"teachworks": "truncate shop.users;" + LISTED}
NO_FEEDBACK = {"easy_appointments", "odoo", "teachworks"}

ALERTS = """
select tutor_id, alert_type, severity, title, description, evidence_session_ids from ops.alerts
order by 1, 2
"""
METRICS = """
select tutor_id, md5((to_jsonb(a) - 'as_of')::text) from marts.tutor_aggregates as a order by 1
"""


def given(seed: int) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Twenty-five tutors over eighty days; some stay away, some move their sessions, some fade."""
    draw = random.Random(seed)
    tutors = [(n, f"Tutor Number{n}", f"tutor{n}@example.org") for n in range(1, 26)]
    sessions = []
    for tutor, _, _ in tutors:
        stays_away, moves = draw.choice((0.01, 0.01, 0.2)), draw.choice((0.02, 0.02, 0.5))
        fades = draw.random() < 0.3
        for _ in range(draw.randrange(20, 70)):
            age = draw.uniform(0.1, 80)
            status = draw.choices(
                ("completed", "no_show_tutor", "rescheduled", "no_show_student", "cancelled"),
                (1, stays_away, moves, 0.03, 0.05),
            )[0]
            rating = draw.choice((4, 5, 5)) if not (fades and age < 14) else draw.choice((1, 2))
            sessions.append(
                (
                    len(sessions) + 1,
                    tutor,
                    1000 + draw.randrange(60),
                    (LAST_DAY - timedelta(days=age)).replace(microsecond=0),
                    draw.choice((30, 45, 60)),
                    status,
                    draw.choice(("tutor", "tutor", "student")) if status == "rescheduled" else None,
                    rating if status == "completed" and draw.random() < 0.7 else None,
                )
            )
    return tutors, sessions


def platform(new_project: Any, name: str, *statements: str, **settings: str) -> Any:
    """A project with the given sessions in the product's tables, or in the contract's."""
    project = new_project(TUTOR_PLATFORM_SCHEMA="shop", **settings)
    tutors, sessions = given(5)
    with psycopg.connect(project.url) as connection:
        connection.execute(GIVEN)
        cursor = connection.cursor()
        cursor.executemany("insert into given.tutors values (%s, %s, %s)", tutors)
        cursor.executemany("insert into given.sessions values (%s,%s,%s,%s,%s,%s,%s,%s)", sessions)
        for statement in (LESS.get(name), *statements):
            if statement is not None:
                connection.execute(statement.encode())
    return project


def found(project: Any) -> dict[str, Any]:
    """The alerts and the metrics of the last day."""
    assert project.json("enrich", "--as-of", f"{LAST_DAY:%Y-%m-%d}")["success"]
    return {"alerts": project.query(ALERTS), "metrics": project.query(METRICS)}


@pytest.mark.parametrize(
    "name",
    [
        "cal_com",
        *(
            pytest.param(name, marks=pytest.mark.long)
            for name in ("easy_appointments", "twenty", "moodle_scheduler", "odoo", "teachworks")
        ),
    ],
)
def test_a_product_gives_what_the_contracts_tables_give(new_project: Any, name: str) -> None:
    file = PLATFORMS / f"{name}.yml"
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 40
    mapped = platform(
        new_project,
        name,
        PLATFORMS.joinpath(f"{name}.sql").read_text(encoding="utf-8"),
        TUTOR_SOURCE_MAP=str(file),
    )
    report = mapped.json("check-source")
    assert report["problems"] == []
    assert all(status["known"] for status in report["statuses"])
    plain = platform(
        new_project,
        name,
        PLAIN.format(student=STUDENT.get(name, "student_id"), more=MORE.get(name, "")),
        *(["drop table shop.session_feedback"] if name in NO_FEEDBACK else []),
        AFTERWARDS.get(name),
    )
    by_mapping, by_contract = found(mapped), found(plain)
    assert by_mapping["alerts"], "the data should raise alerts"
    assert by_mapping == by_contract
    facts = mapped.json("status")
    assert facts["database"]["mapping"] == str(file)
    assert any(table.startswith("sessions (") and rows for table, rows in facts["rows"].items())

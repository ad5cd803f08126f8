"""Against a database that another product's migrations made: read, understood, left alone."""

import random
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

PLATFORM = """
create type session_status as enum (
    'scheduled', 'in_progress', 'completed', 'no_show_tutor', 'no_show_student', 'cancelled',
    'rescheduled'
);
create type who as enum ('tutor', 'student');
create table schema_migrations (version text primary key);
create table sessions (
    id uuid primary key default gen_random_uuid(),
    tutor_id uuid not null,
    student_id uuid,
    scheduled_start timestamp not null,
    actual_start timestamp,
    status session_status not null,
    rescheduled_by who,
    session_number integer,
    overall_session_score numeric(4, 2),
    internal_note text
);
create index sessions_by_start on sessions (scheduled_start);
"""

# Written from the definitions, without looking at the models: one plain query per rule.
INDEPENDENT = """
with moment as (
    select
        %(as_of)s::timestamptz as as_of,
        (%(as_of)s::timestamptz at time zone 'UTC')::date as day
),
s as (
    select
        tutor_id::text as tutor_id,
        scheduled_start at time zone 'America/New_York' as starts_at,
        actual_start at time zone 'America/New_York' as started_at,
        ((scheduled_start at time zone 'America/New_York') at time zone 'UTC')::date as day,
        id::text as id,
        status::text as status,
        rescheduled_by::text as rescheduled_by,
        session_number,
        overall_session_score::float8 as score
    from public.sessions
),
past as (
    select s.*, moment.day - s.day as age from s, moment where s.starts_at <= moment.as_of
),
done as (select * from past where status = 'completed'),
ranked as (
    select *, row_number() over (partition by tutor_id order by starts_at desc, id desc) as rank
    from done where score is not null and age < 90
)
select tutor_id, 'no_show_pattern' from past
where age < 30 and status = 'no_show_tutor' group by 1 having count(*) >= 3
union all
select tutor_id, 'high_reschedule_rate' from past
where age < 30 and status = 'rescheduled' and rescheduled_by = 'tutor'
group by 1 having count(*) >= 5
union all
select tutor_id, 'chronic_lateness' from done
where age < 30 and started_at - starts_at > interval '5 minutes' group by 1 having count(*) >= 4
union all
select tutor_id, 'declining_performance' from done where score is not null
group by 1
having count(*) filter (where age < 14) >= 3
    and count(*) filter (where age between 14 and 27) >= 3
    and avg(score) filter (where age < 14) - avg(score) filter (where age between 14 and 27)
        <= -2.5
union all
select tutor_id, 'consistently_poor_scores' from ranked as r
where score < 5 and not exists (
    select from ranked as newer
    where newer.tutor_id = r.tutor_id and newer.rank < r.rank and newer.score >= 5
)
group by 1 having count(*) >= 3
union all
select tutor_id, 'poor_first_session_pattern' from done
where age < 60 and session_number = 1 and score < 6 group by 1 having count(*) >= 3
"""

FINGERPRINT = """
select md5(string_agg(line, E'\\n' order by line)) from (
    select format('%s %s %s', c.relname, c.relkind, c.relfilenode) as line
    from pg_class as c where c.relnamespace = 'public'::regnamespace
    union all
    select format('%s.%s %s', attrelid::regclass, attname, atttypid::regtype)
    from pg_attribute join pg_class as c on c.oid = attrelid
    where c.relnamespace = 'public'::regnamespace and attnum > 0
    union all
    select format('%s %s', tgrelid::regclass, tgname)
    from pg_trigger join pg_class as c on c.oid = tgrelid
    where c.relnamespace = 'public'::regnamespace
    union all
    select t::text from public.sessions as t
) as lines
"""


def sessions(seed: int) -> list[tuple]:
    """Sixty tutors over a hundred days, some unreliable, some fading; a few rows lie ahead."""
    draw = random.Random(seed)
    now = datetime.now(UTC).replace(tzinfo=None)
    rows = []
    for number in range(60):
        tutor = f"00000000-0000-4000-8000-{number:012d}"
        no_show, reschedule, late = (draw.choice((0.01, 0.05, high)) for high in (0.12, 0.4, 0.9))
        level, fading = draw.uniform(4.5, 8.5), draw.choice((0, 0, 3))
        for _ in range(draw.randrange(5, 120)):
            age = draw.uniform(-2, 100)
            start = now - timedelta(days=age)
            status = draw.choices(
                ("completed", "no_show_tutor", "rescheduled", "no_show_student", "cancelled"),
                (1, no_show, reschedule, 0.02, 0.03),
            )[0]
            by = draw.choice(("tutor", "tutor", "student")) if status == "rescheduled" else None
            began = start + timedelta(
                minutes=draw.choice((0, 3, 5, 6 if draw.random() < late else 1))
            )
            score = draw.gauss(level - (fading if age < 14 else 0), 1)
            rows.append(
                (
                    tutor,
                    start,
                    began if status == "completed" and draw.random() < 0.9 else None,
                    status,
                    by,
                    draw.choice((1, 2, 3, 4, None)),
                    round(min(max(score, 0), 10), 2) if draw.random() < 0.9 else None,
                )
            )
    return rows


@pytest.fixture(scope="module")
def live(new_project):
    project = new_project(
        TUTOR_RULE_PROFILE="conservative",
        TUTOR_PLATFORM_SCHEMA="public",
        TUTOR_PLATFORM_TIMEZONE="America/New_York",
    )
    with psycopg.connect(project.url) as connection:
        connection.execute(PLATFORM)
        connection.cursor().executemany(
            "insert into sessions (tutor_id, scheduled_start, actual_start, status,"
            " rescheduled_by, session_number, overall_session_score)"
            " values (%s, %s, %s, %s, %s, %s, %s)",
            sessions(11),
        )
    return project


def test_the_source_is_checked_in_words(live):
    report = live.json("check-source")
    assert report["problems"] == []
    assert any("feedback" in gap["table"] for gap in report["gaps"])
    text = live.run("check-source").stdout
    assert "session_audio_metrics" in text


def test_its_alerts_equal_independent_sql_and_nothing_of_it_is_touched(live):
    before = live.query(FINGERPRINT)
    outcome = live.json("enrich")
    assert outcome["success"]
    assert live.query(FINGERPRINT) == before
    ((as_of,),) = live.query("select distinct as_of from marts.tutor_aggregates")
    with psycopg.connect(live.url) as connection:
        expected = set(connection.execute(INDEPENDENT, {"as_of": as_of}).fetchall())
    found = set(live.query("select tutor_id, alert_type from ops.alerts where resolved_at is null"))
    assert len({rule for _, rule in expected}) == 6, "the data should try every rule"
    assert found == expected
    unknown = live.query(
        "select count(*) from marts.tutor_aggregates"
        " where talk_ratio_last5 is not null or avg_rating_30d is not null"
        " or frustration_sessions_14d is not null"
    )
    assert unknown == [(0,)], "what the platform does not measure is NULL, never 0"


def test_nothing_can_be_loaded_into_it(live):
    before = live.query(FINGERPRINT)
    for arguments in (["generate"], ["demo"]):
        result = live.run(*arguments, status=3)
        assert "platform's own" in result.stderr
    assert live.query(FINGERPRINT) == before


@pytest.mark.long
def test_the_platform_stays_free_to_change(live):
    """Its own migrations go through while our tables stand on it, and the next run copes."""
    live.json("enrich")
    live.execute("alter table sessions alter column overall_session_score type double precision")
    live.execute("alter table sessions alter column status type text")
    live.execute("alter table sessions drop column actual_start")
    live.execute("drop type session_status")
    assert "actual_start" in live.run("enrich", status=3).stderr
    assert live.json("enrich", "--accept-loss")["success"]
    assert live.query("select count(late_count_30d) from marts.tutor_aggregates") == [(0,)]
    assert live.query(
        "select count(*) from ops.alerts where alert_type = 'chronic_lateness' and"
        " resolved_at is not null"
    ) == [(0,)], "no longer measured is not the same as no longer late"

    live.execute("alter table sessions rename column scheduled_start to starts_at")
    alerts = live.query("select alert_id, resolved_at from ops.alerts order by 1")
    said = live.run("enrich", status=3).stderr
    assert "sessions cannot be read (scheduled_start missing)" in said
    assert "tutor-pipeline check-source" in said.splitlines()[-1]
    assert live.query("select alert_id, resolved_at from ops.alerts order by 1") == alerts
    live.execute("alter table sessions rename column starts_at to scheduled_start")
    live.execute("alter table sessions rename to lessons")
    assert "there is no table" in live.run("enrich", status=3).stderr
    live.execute("alter table lessons rename to sessions")
    assert live.json("enrich")["success"]
    live.execute("drop table schema_migrations")

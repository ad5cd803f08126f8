"""Three doors, one truth: a month that is read, imported or posted is the same to the last digit.

Rows come from a live platform's schema, from CSV files, or as events. The events come in any order,
some of them twice, some long after all others.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from psycopg.rows import dict_row

from tests.integration.conftest import Project
from tutor_pipeline.core.warehouse.migrate import upgrade
from tutor_pipeline.sources.contract import load_contract
from tutor_pipeline.sources.events import applying, inbox
from tutor_pipeline.sources.events.bodies import parse
from tutor_pipeline.sources.events.inbox import Incoming
from tutor_pipeline.sources.events.saying import Event, events_of
from tutor_pipeline.sources.synthetic import Parameters, Population, generate
from tutor_pipeline.sources.synthetic.export import export_csv
from tutor_pipeline.sources.synthetic.load import load
from tutor_pipeline.sources.synthetic.rows import rows_of

LAST_DAY = date(2026, 3, 18)
TUTORS, DAYS = 150, 30
SINCE = datetime(2026, 2, 17, tzinfo=UTC)
NOW = datetime(2026, 3, 19, tzinfo=UTC)

TWICE, LATE = 0.10, 0.05
"""Shares of events that come again, and that come days after all others."""

HASHES = """
    select count(*), md5(coalesce(string_agg(each, '' order by each), '')) from (
        select md5(to_jsonb(t)::text) as each from {table} as t
    ) as hashes
"""
OPEN_ALERTS = """
    select to_jsonb(a) from ops.alerts as a where resolved_at is null order by tutor_id, alert_type
"""

# What the CSV format can say of a month.
REDUCED = """
create schema reduced;
create table reduced.users as select id, role from live.users where role = 'tutor';
create table reduced.tutors as
select user_id, months_experience, total_sessions_completed, avg_historical_rating,
    primary_subject, reschedule_rate, no_show_count, reliability_score, certification_level,
    active_status, last_login
from live.tutors;
create table reduced.tutor_subjects as
select tutor_id, subjects.name as subject_id
from live.tutor_subjects inner join live.subjects on subjects.id = tutor_subjects.subject_id;
create table reduced.subjects as
select distinct subject_id as id, subject_id as name from reduced.tutor_subjects;
create table reduced.sessions as
select id, tutor_id, scheduled_start, scheduled_duration, actual_duration, subject, grade_level,
    is_first_session, status, connection_quality, technical_issues,
    status <> 'no_show_student' as student_showed_up, status <> 'no_show_tutor' as tutor_showed_up
from live.sessions
where status in ('completed', 'no_show_tutor', 'no_show_student', 'cancelled');
create table reduced.session_audio_metrics as
select session_id, tutor_talk_ratio, student_engagement_score from live.session_audio_metrics;
create table reduced.session_video_metrics as
select session_id, student_on_screen_attention_pct, tutor_camera_on_pct
from live.session_video_metrics;
create table reduced.session_screen_metrics as
select session_id, screen_share_pct from live.session_screen_metrics;
create table reduced.session_transcript_metrics as table live.session_transcript_metrics;
create table reduced.session_feedback as
select session_id, student_satisfaction_rating, satisfaction_score, would_recommend
from live.session_feedback;
create table reduced.engagement_events as table live.engagement_events;
create table reduced.interventions as table live.interventions;
create table reduced.experiments as table live.experiments;
create table reduced.experiment_assignments as table live.experiment_assignments;
"""


@dataclass(frozen=True)
class Truth:
    """What a project found: table of `marts` → (rows, hash), the open alerts, and itself."""

    marts: Mapping[str, tuple[int, str]]
    alerts: list[dict[str, Any]]
    project: Project

    def columns(self, table: str) -> dict[str, str]:
        """Column of a table → hash of its values, in the order of the keys."""
        names = [
            name
            for (name,) in self.project.query(
                "select column_name::text from information_schema.columns"
                f" where table_schema = 'marts' and table_name = '{table}'"
                " order by ordinal_position"
            )
        ]
        keys = ", ".join(name for name in names if name.endswith(("_id", "_on")))
        hashes = ", ".join(
            f"md5(string_agg(coalesce(to_json({name})::text, ''), ',' order by {keys}))"
            for name in names
        )
        ((*found,),) = self.project.query(f"select {hashes} from marts.{table}")
        return dict(zip(names, found, strict=True))


def found(project: Project) -> Truth:
    """Refreshes a project as of the end of the month."""
    assert project.json("enrich", "--as-of", f"{LAST_DAY}")["success"]
    return shown(project)


def shown(project: Project) -> Truth:
    tables = project.query(
        "select relname::text from pg_class where relnamespace = 'marts'::regnamespace"
        " and relkind in ('r', 'p', 'v', 'm') order by 1"
    )
    hashes = {table: project.query(HASHES.format(table=f"marts.{table}"))[0] for (table,) in tables}
    return Truth(hashes, [alert for (alert,) in project.query(OPEN_ALERTS)], project)


def differences(first: Truth, other: Truth) -> dict[str, list[str]]:
    """Table of `marts` → the columns that differ."""
    assert first.marts.keys() == other.marts.keys()
    different = {}
    for table, hashed in first.marts.items():
        if hashed != other.marts[table]:
            one, two = first.columns(table), other.columns(table)
            different[table] = [name for name in one if one[name] != two[name]]
    return different


def assert_same(*truths: Truth) -> None:
    first, *others = truths
    assert {"fct_sessions", "tutor_aggregates", "tutor_features", "tutor_evidence"} <= {
        table for table, (rows, _) in first.marts.items() if rows > 20
    }
    assert first.alerts, "the month should raise alerts"
    for other in others:
        assert differences(first, other) == {}
        assert first.alerts == other.alerts
    # A difference would be seen.
    others[-1].project.execute(
        "update marts.tutor_aggregates set sessions_30d = sessions_30d + 1 where tutor_id ="
        " (select min(tutor_id) from marts.tutor_aggregates)"
    )
    wanted = {"tutor_aggregates": ["sessions_30d"]}
    assert differences(first, shown(others[-1].project)) == wanted


def read(new_project: Callable[..., Project], population: Population) -> Project:
    """A live platform with tables of its own, which the pipeline only reads."""
    project = new_project(TUTOR_PLATFORM_SCHEMA="live")
    upgrade(project.warehouse)
    with project.warehouse.connect() as database:
        load(database, population)
        database.execute("drop schema {truth} cascade; comment on schema {platform} is null")
    return project


def reduce_to_csv(platform: Project) -> None:
    """Leaves what the CSV format can say. A column that the contract demands is there, and empty;
    any other is missing.
    """
    platform.execute(REDUCED)
    there = set(
        platform.query(
            "select table_name::text, column_name::text from information_schema.columns"
            " where table_schema = 'reduced'"
        )
    )
    for table in load_contract().tables:
        for column in table.columns:
            is_missing = (table.name, column.name) not in there
            if column.required and is_missing and table.name in {name for name, _ in there}:
                platform.execute(
                    f"alter table reduced.{table.name} add column {column.name} {column.type}"
                )
    platform.settings["TUTOR_PLATFORM_SCHEMA"] = "reduced"


def rows(project: Project, schema: str) -> dict[str, list[dict[str, Any]]]:
    """All rows of a platform's schema that are in the contract."""
    with project.warehouse.connect(row_factory=dict_row) as database:
        there = database.execute(
            "select tablename::text as name from pg_tables where schemaname = %s", (schema,)
        ).fetchall()
        names = {each["name"] for each in there} & {table.name for table in load_contract().tables}
        return {
            name: database.execute(f"select * from {schema}.{name}").fetchall() for name in names
        }


def arrivals(events: Iterable[Event], chance: random.Random) -> list[Event]:
    """Events in the order in which they arrive."""
    events = list(events)
    chance.shuffle(events)
    late = round(LATE * len(events))
    early = [*events[late:], *chance.sample(events, round(TWICE * len(events)))]
    chance.shuffle(early)
    return [*early, *events[:late]]


def post(project: Project, events: Iterable[Event], chance: random.Random) -> None:
    """Takes events as the receiver does, in batches of any size, applied in batches of any size."""
    arriving = [
        Incoming("shop", each["id"], parse(json.dumps(each).encode()))
        for each in arrivals(events, chance)
    ]
    with project.warehouse.connect(autocommit=True) as database:
        while arriving:
            size = chance.choice([1, 10, 300, 1_000, 1_000, 1_000])
            with database.transaction():
                inbox.store(database, arriving[:size])
            del arriving[:size]
            if chance.random() < 0.7:
                applying.apply_waiting(database, NOW, chance.choice([10, 500, 1_000, 1_000]))
        while applying.apply_waiting(database, NOW).is_more:
            pass
        queue = inbox.queue(database)
    assert (queue.waiting, queue.quarantined, queue.unknown, queue.dead) == (0, 0, 0, 0)
    assert project.query("select * from ops.quarantine where resolved_at is null") == []


def takes_events(new_project: Callable[..., Project]) -> Project:
    project = new_project()
    project.run("events", "secrets", "add", "shop")
    return project


def month() -> Population:
    return generate(Parameters(end=LAST_DAY, tutors=TUTORS, days=DAYS))


def test_what_is_read_and_what_is_posted_is_one_truth(
    new_project: Callable[..., Project],
) -> None:
    population = month()
    platform = read(new_project, population)
    posted = takes_events(new_project)
    said = {table: rows_of(table, each) for table, each in population.platform.items()}
    post(posted, events_of(said, now=NOW, since=SINCE), random.Random(TUTORS))
    assert_same(found(platform), found(posted))


def test_what_a_csv_can_say_is_one_truth_by_all_three_doors(
    new_project: Callable[..., Project], tmp_path: Path
) -> None:
    population = month()
    platform = read(new_project, population)
    reduce_to_csv(platform)

    imported = new_project()
    export_csv(population, tmp_path)
    files = imported.json("import", str(tmp_path))["files"]
    assert sum(each["quarantined"] for each in files) == 0
    assert all(each["refused"] is None for each in files)

    posted = takes_events(new_project)
    said = events_of(rows(platform, "reduced"), now=NOW, since=SINCE)
    post(posted, said, random.Random(TUTORS))
    assert_same(found(platform), found(imported), found(posted))

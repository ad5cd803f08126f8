"""The schema, the mapping and the rule profile change while a refresh stands by, amid changes of
sessions: it follows or ends, nothing is lost, and in the end all is as a full refresh makes it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.refreshes import Refreshes, differences, tables, until
from tests.integration.test_post_session import calm_zone, teach, waiting
from tutor_pipeline.core.warehouse.standing import stands_by

pytestmark = pytest.mark.long
TUTORS = [f"P{number:02d}" for number in range(12)]
WORDS = (
    "scheduled in_progress completed no_show_tutor no_show_student cancelled rescheduled".split()
)
SAME = """
    id tutor_id scheduled_start actual_start completed_at session_number is_first_session
    tutor_showed_up student_showed_up updated_at
""".split()


@dataclass
class World:
    """A mapped platform with a rule profile of its own, in files that may change."""

    folder: Path
    project: object = None

    def map(self, score: str = "overall_session_score", **words: str) -> None:
        """The mapping. `words`: statuses that have another meaning."""
        meanings = ", ".join(f"{word}: {words.get(word, word)}" for word in WORDS)
        columns = "\n".join(f"      {name}: {name}" for name in SAME)
        (self.folder / "source.yml").write_text(
            "tables:\n  users: {}\n  tutors: {}\n  students: {}\n  session_feedback: {}\n"
            f"  sessions:\n    columns:\n{columns}\n"
            f"      overall_session_score: {score}\n"
            f"      status: {{column: status, values: {{{meanings}}}}}\n",
            encoding="utf-8",
        )

    def rule(self, poor_firsts: int) -> None:
        """The rule profile."""
        (self.folder / "profile.yml").write_text(
            "extends: conservative\nalerts:\n  poor_first_session_pattern:\n    when:\n"
            f"      - {{metric: poor_first_sessions_60d, op: '>=', value: {poor_firsts}}}\n",
            encoding="utf-8",
        )


CHANGES = {
    "a column is wider: it goes on": (
        lambda world: world.project.execute(
            "alter table platform.sessions alter session_number type bigint"
        ),
        False,
    ),
    "a column is text from now on": (
        lambda world: world.project.execute(
            "alter table platform.sessions alter overall_session_score type text"
        ),
        True,
    ),
    "another score, and cancelled means something else": (
        lambda world: world.map(
            "{expression: 'least(overall_session_score::numeric, 6)'}", cancelled="no_show_tutor"
        ),
        True,
    ),
    "a rule is stricter": (lambda world: world.rule(2), True),
}


@pytest.fixture
def world(new_project, tmp_path):
    world = World(tmp_path)
    world.map()
    world.rule(3)
    world.project = project = new_project(
        TUTOR_TIMEZONE=calm_zone(),
        TUTOR_SOURCE_MAP=str(tmp_path / "source.yml"),
        TUTOR_RULE_PROFILE=str(tmp_path / "profile.yml"),
    )
    with_map = project.settings.pop("TUTOR_SOURCE_MAP")
    project.run("generate", "--tutors", "8", "--days", "10")
    project.settings["TUTOR_SOURCE_MAP"] = with_map
    # Bookings come due while the test runs.
    project.execute("delete from platform.sessions where status = 'scheduled'")
    for tutor in TUTORS:
        project.execute(
            f"insert into platform.tutors (user_id, active_status) values ('{tutor}', true)"
        )
        teach(project, tutor, *range(4), ago=timedelta(days=3))
    return world


def live(world, rng, name):
    """Sessions come, also late ones, are corrected, move to another tutor or day, or go."""
    project = world.project
    for number, tutor in enumerate(rng.sample(TUTORS, 3)):
        late = timedelta(hours=rng.choice([2, 2, 40, 24 * 9]))
        poor = rng.random() < 0.5
        names = [f"{name}{number}{each}" for each in range(3)]
        teach(project, tutor, *names, ago=late, score=5.5 if poor else 8.0, first=poor)
    change = rng.choice(
        [
            "update platform.sessions set status = 'cancelled' where id = '{}'",
            "update platform.sessions set scheduled_start = scheduled_start - interval '26 hours'"
            " where id = '{}'",
            f"update platform.sessions set tutor_id = '{rng.choice(TUTORS)}' where id = '{{}}'",
            "delete from platform.sessions where id = '{}'",
            "insert into platform.session_feedback (session_id, student_satisfaction_rating)"
            " values ('{}', 2) on conflict do nothing",
        ]
    )
    ((session,),) = project.query(
        "select id from platform.sessions where tutor_id like 'P%%' order by md5(id || %s) limit 1",
        name,
    )
    project.execute(change.format(session))


def is_ready(project):
    with project.warehouse.connect() as database:
        return stands_by(database)


def test_it_follows_or_ends_and_all_is_as_a_full_refresh_makes_it(world, tmp_path_factory):
    project, rng = world.project, random.Random(5)

    def process() -> Refreshes:
        return Refreshes(tmp_path_factory.mktemp("runs"), project.environment)

    refreshes = process()
    refreshes.run("daily_refresh")
    for number, (what, (change, ends)) in enumerate(CHANGES.items()):
        standing = refreshes.start(linger_seconds=None)
        until(lambda: is_ready(project), f"{what}: one stands by")
        live(world, rng, f"{number} before ")
        passes = project.query("select count(*) from ops.refresh_passes")
        until(
            lambda passes=passes: project.query("select count(*) from ops.refresh_passes") > passes,
            f"{what}: a pass",
        )
        change(world)
        live(world, rng, f"{number} after ")
        if ends:
            assert standing.outcome().success, standing.log
            refreshes.stop()
            refreshes = process()  # which has read the files as they are now
            refreshes.run("daily_refresh")
        else:
            until(lambda: not waiting(project), f"{what}: nothing waits")
            assert "what dbt reads of the database has changed" in standing.log, standing.log
            standing.kill()
        live(world, rng, f"{number} then ")
        refreshes.run()
        assert waiting(project) == set()
    moment = datetime.now(UTC)
    before = tables(project.url, moment)
    assert before["ops.alerts"]
    refreshes.run("daily_refresh")
    assert differences(before, tables(project.url, moment)) == {}
    refreshes.stop()

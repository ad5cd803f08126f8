"""A platform of random sessions to run dbt on, and ways to change it and to look at the tables."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from tests.conftest import undone
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.refresh_runs import RefreshRun, write_header
from tutor_pipeline.metrics import dbt

AS_OF = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)
STATUSES = ["completed"] * 14 + [
    *("scheduled", "in_progress", "cancelled", "rescheduled", "rescheduled"),
    *("no_show_tutor", "no_show_student", "not_held"),
]
EXCUSES = ("absence", "reschedule", "lateness", "quality", "all")
PARTS = {
    "session_audio_metrics": (
        "tutor_talk_ratio student_talk_ratio student_engagement_score tutor_enthusiasm_score"
        " student_initiated_questions student_frustration_count student_confusion_count"
        " tutor_checks_understanding_count tutor_positive_reinforcement_count"
        " open_ended_questions closed_ended_questions created_at"
    ).split(),
    "session_video_metrics": (
        "student_on_screen_attention_pct student_visual_engagement_score"
        " distraction_events_count tutor_uses_visual_aids tutor_camera_on_pct"
    ).split(),
    "session_transcript_metrics": (
        "empathy_score clarity_score overall_sentiment student_sentiment tutor_sentiment"
    ).split(),
    "session_feedback": (
        "student_satisfaction_rating satisfaction_score would_recommend feedback_text submitted_at"
    ).split(),
}


@dataclass(frozen=True)
class Bench:
    """One database with a platform in it, and dbt to run on it."""

    warehouse: Warehouse
    home: Path

    def refresh(
        self,
        as_of: datetime = AS_OF,
        *,
        tutors: Sequence[str] | None = None,
        days: tuple[date, date] | None = None,
        select: Sequence[str] = (),
        command: str = "run",
    ) -> None:
        """Run dbt as a refresh would: a header, then the models."""
        run = RefreshRun(
            uuid4().hex,
            as_of,
            None if tutors is None else tuple(tutors),
            *(days or (None, None)),
        )
        write_header(self.warehouse, run)
        arguments = [command, *(["--select", *select] if select else [])]
        # Nobody reads the files that dbt writes per invocation.
        dbt.invoke(
            ["--no-write-json", *arguments],
            dbt.dbt_environment(self.warehouse, run.run_id, self.home),
        )

    def execute(self, statement: str, *parameters: Any) -> None:
        """Run one statement with {schema} names filled in, and commit."""
        with self.warehouse.connect() as database:
            database.execute(statement, parameters)

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        """The rows of a query with {schema} names filled in."""
        with self.warehouse.connect(row_factory=psycopg.rows.dict_row) as database:
            return database.execute(query, parameters).fetchall()

    def row(self, query: str, *parameters: Any) -> dict[str, Any]:
        """The only row of a query."""
        (found,) = self.rows(query, *parameters)
        return found

    def add(self, table: str, **values: Any) -> None:
        """Insert one row into a platform table."""
        self.insert(table, [values])

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows of the same columns into a platform table."""
        if not rows:
            return
        columns = list(rows[0])
        statement = sql.SQL("insert into {}.{} ({}) values ({})").format(
            sql.Identifier(self.warehouse.schemas.platform),
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join(map(sql.Placeholder, columns)),
        )
        with self.warehouse.connect() as database, database.connection.cursor() as cursor:
            cursor.executemany(statement, rows)

    def fill(self, rng: random.Random, tutors: Sequence[str], sessions: int) -> list[str]:
        """Add random sessions of random completeness; returns their ids."""
        made = [random_session(rng, tutors) for _ in range(sessions)]
        self.insert("sessions", made)
        for table in PARTS:
            self.insert(table, [random_part(rng, table, row) for row in made if rng.random() < 0.8])
        return [row["id"] for row in made]

    def excuse(self, rng: random.Random, session: str, tutor: str, until: datetime) -> None:
        """Excuse a session of something before `until`, and perhaps undo that later."""
        at = until - timedelta(days=rng.randint(0, 60), hours=rng.randint(0, 30))
        undone_at = at + timedelta(days=rng.randint(0, 20), minutes=1)
        if rng.random() < 0.5 or undone_at > until:
            undone_at = None
        self.execute(
            "insert into {ops}.session_excuses (tutor_id, session_id, kind, reason, excused_by,"
            " excused_at, undone_by, undone_at) values (%s, %s, %s, 'outage', 'ada', %s, %s, %s)"
            " on conflict do nothing",
            *(tutor, session, rng.choice(EXCUSES), at),
            *(None if undone_at is None else "ada", undone_at),
        )

    def book(self) -> None:
        """Let sessions be booked up to 25 days before they begin, and change at any time from
        then on; some say neither.
        """
        self.execute(
            """
            update {platform}.sessions as booked
            set
                created_at = case
                    when dice %% 5 > 0 then scheduled_start - make_interval(days => dice %% 25)
                end,
                updated_at = case
                    when dice %% 7 > 0
                        then scheduled_start
                        + make_interval(days => dice / 25 %% 31 - dice %% 25)
                end
            from (
                select id, (hashtextextended(id, 0) %% 1000000 + 1000000)::integer as dice
                from {platform}.sessions
            ) as thrown
            where booked.id = thrown.id
            """
        )


def random_session(rng: random.Random, tutors: Sequence[str]) -> dict[str, Any]:
    """A session within 130 days before and 3 after AS_OF; ages crowd around window edges."""
    age = rng.choice([0, 6, 7, 13, 14, 20, 21, 22, 27, 28, 29, 30, 59, 60, 89, 90]) + rng.choice(
        [-1, 0, 0, 0, 0, 0, 1, rng.randint(0, 40)]
    )
    start = AS_OF.replace(hour=rng.randint(0, 23), minute=rng.choice([0, 29, 30, 31]), second=0)
    start -= timedelta(days=age)
    status = rng.choice(STATUSES)
    done = status == "completed"
    late = rng.choice([None, -2, 0, 5, 5.5, 6, 20]) if done else None
    return {
        "id": f"s{rng.getrandbits(48):012x}",
        "tutor_id": rng.choice(tutors),
        "student_id": rng.choice([None, *(f"p{n}" for n in range(6))]),
        "scheduled_start": start,
        "actual_start": None if late is None else start + timedelta(minutes=late),
        "status": status,
        "session_number": rng.choice([None, 1, 2, 3]),
        "is_first_session": rng.choice([None, True, False]),
        "tutor_showed_up": True if done else rng.choice([None, True, False]),
        "rescheduled_by": rng.choice([None, "tutor", "tutor", "student"])
        if status == "rescheduled"
        else None,
        "technical_issues": rng.choice([None, True, False]),
        "follow_up_booked": rng.choice([None, True, False]),
        "overall_session_score": rng.choice([None, None, 4.99, 5, 6, 6.49, 9.25]),
        "updated_at": start,
    }


def random_part(rng: random.Random, table: str, session: Mapping[str, Any]) -> dict[str, Any]:
    """A row of audio, video, transcript or feedback for the session, with gaps."""
    done = session["status"] == "completed"
    values: dict[str, Callable[[], Any]] = {
        "tutor_talk_ratio": lambda: rng.choice([0.2, 0.35, 0.45, 0.5, 0.65, 0.66, 0.8]),
        "student_satisfaction_rating": lambda: rng.choice([1, 2.5, 3, 4, 5]) if done else None,
        "satisfaction_score": lambda: round(rng.uniform(1, 10), 2) if done else None,
        "tutor_uses_visual_aids": lambda: rng.random() < 0.5,
        "would_recommend": lambda: rng.random() < 0.7,
        "feedback_text": lambda: "fine",
    }
    row: dict[str, Any] = {"session_id": session["id"]}
    for column in PARTS[table]:
        if column.endswith("_at"):
            value: Any = session["scheduled_start"]
        elif column in values:
            value = values[column]()
        elif column.endswith(("_ratio", "_pct", "_sentiment")):
            value = round(rng.random(), 3)
        elif column.endswith("_score"):
            value = round(rng.uniform(1, 10), 2)
        else:
            value = rng.randint(0, 12)
        row[column] = None if rng.random() < 0.15 else value
    return row


@pytest.fixture(scope="session")
def dbt_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """dbt's folders, shared by the session: the project is parsed once."""
    return tmp_path_factory.mktemp("dbt")


@pytest.fixture(scope="module")
def warehouse(databases: Any) -> Warehouse:
    """A fresh database under a worker's one name: dbt parses anew whatever is called otherwise."""
    return Warehouse(databases.create(f"bench_{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}"))


@pytest.fixture(scope="module")
def bench(platform_warehouse: Warehouse, dbt_home: Path) -> Bench:
    """The module's database with an empty platform."""
    return Bench(platform_warehouse, dbt_home)


@pytest.fixture
def as_it_was(bench: Bench, server_url: str) -> Iterator[None]:
    """For a test that changes the module's database: the others find it as it was."""
    with undone(server_url, bench.warehouse.url):
        yield


@pytest.fixture(scope="module")
def make_bench(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Warehouse], Bench]:
    """For databases of another shape: dbt with folders of its own."""
    return lambda warehouse: Bench(warehouse, tmp_path_factory.mktemp("dbt"))


@pytest.fixture(scope="session", name="random_session")
def random_session_fixture() -> Callable[[random.Random, Sequence[str]], dict[str, Any]]:
    """The maker of random sessions, for tests that insert some themselves."""
    return random_session

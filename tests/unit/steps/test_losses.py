"""What is stored of a loss, and when it is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.people.reports.status_queries import missing_rows
from tutor_pipeline.sources.losses import Limits, accept
from tutor_pipeline.steps import losses

NOW = datetime(2026, 3, 18, 12, tzinfo=UTC)
LIMITS = Limits(share=0.02, sessions=20, tutors=3)
EMPTIED = "update {platform}.session_feedback set student_satisfaction_rating = null"
FILLED = "update {platform}.session_feedback set student_satisfaction_rating = 5"


@pytest.fixture
def database(platform_warehouse):
    """30 sessions with a rating each, accepted. Everything is removed again."""
    with platform_warehouse.connect() as database:
        database.execute(
            "insert into {platform}.sessions (id, tutor_id, scheduled_start, status)"
            " select 's' || n, 't1', %s - n * interval '1 day', 'completed'"
            " from generate_series(0, 29) as n",
            (NOW,),
        )
        database.execute(
            "insert into {platform}.session_feedback (session_id, student_satisfaction_rating)"
            " select id, 5 from {platform}.sessions"
        )
        accept(database, NOW, NOW, run_id="r", why="a test", whole=True)
        database.commit()
        yield database
        database.rollback()
        database.execute(
            "truncate {platform}.sessions, {platform}.session_feedback, {ops}.source_states,"
            " {ops}.dq_results"
        )


def objections(database, minutes):
    return losses.objections(database, NOW + timedelta(minutes=minutes), LIMITS, run_id="r2")


def test_what_only_a_full_refresh_compares_stops_passes_once_it_is_known(database):
    database.execute(EMPTIED)
    database.commit()
    assert objections(database, 1) == []
    with pytest.raises(RefusedError, match="satisfaction_rating: 30 of 30 values"):
        losses.take(
            database, NOW, NOW + timedelta(minutes=2), LIMITS,
            run_id="full", whole=True, accepted_by=None, warn=print,
        )  # fmt: skip
    (line,) = objections(database, 3)
    assert missing_rows(database) == line
    database.execute(FILLED)
    assert objections(database, 4) == []
    assert missing_rows(database) is None
    database.execute(EMPTIED)
    assert objections(database, 5) == [], "until the next full refresh looks"


def test_a_loss_that_is_accepted_is_over(database):
    database.execute(EMPTIED)
    told: list[str] = []
    losses.take(
        database, NOW, NOW + timedelta(minutes=2), LIMITS,
        run_id="full", whole=True, accepted_by="ada", warn=told.append,
    )  # fmt: skip
    assert told[0].startswith("ada accepts that session_feedback.student_satisfaction_rating")
    assert missing_rows(database) is None
    assert (
        database.value("select accepted_by from {ops}.source_states order by state_no desc limit 1")
        == "ada"
    )


def remove(database, sessions):
    """All sessions but the oldest ones go, up to a number of them."""
    database.execute(
        "delete from {platform}.sessions where ltrim(id, 's')::integer < %s", (sessions,)
    )


def test_a_loss_accepted_without_a_loss_is_nobodys_and_small_ones_go_on_adding_up(database):
    told: list[str] = []
    remove(database, 12)
    losses.take(
        database, NOW, NOW + timedelta(minutes=1), LIMITS,
        run_id="full", whole=True, accepted_by="ada", warn=told.append,
    )  # fmt: skip
    assert told == []
    newest = "select why, accepted_by from {ops}.source_states order by state_no desc limit 1"
    assert database.execute(newest).fetchone() == ("nothing was missing", None)
    remove(database, 24)
    (line,) = objections(database, 2)
    assert line.startswith("sessions: 24 of 30 rows are gone")

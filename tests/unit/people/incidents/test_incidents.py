"""Incidents: one open row per cause, whoever reports it and however often."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutor_pipeline.people.incidents import MEANING, Kind, close, listed, report

NOW = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)


@pytest.fixture
def connection(warehouse):
    with warehouse.connect() as connection:
        connection.execute(warehouse.sql("truncate {ops}.incidents"))
        connection.commit()
        yield connection
        connection.rollback()


def say(connection, warehouse, subject="daily_refresh", *, run="r1", at=NOW, kind=Kind.RUN_FAILURE):
    """Whether this opened an incident."""
    opened = report(
        connection, warehouse, kind, subject, f"{subject} failed", {"why": run}, run_id=run, now=at
    )
    if opened is not None:
        assert opened in {row["incident_id"] for row in listed(connection, warehouse)}
    return opened is not None


def test_a_storm_is_one_incident(connection, warehouse):
    opened = [
        say(connection, warehouse, run=f"r{number}", at=NOW + timedelta(seconds=number))
        for number in range(50)
    ]
    assert opened == [True] + [False] * 49
    (row,) = listed(connection, warehouse)
    assert row["occurrences"] == 50
    assert (row["opened_at"], row["last_seen_at"]) == (NOW, NOW + timedelta(seconds=49))
    assert (row["run_id"], row["details"]) == ("r49", {"why": "r49"})


def test_one_run_and_one_lasting_state_count_once(connection, warehouse):
    for _ in range(3):
        say(connection, warehouse, run="same")
        say(connection, warehouse, "new sessions", run=None, kind=Kind.STUCK_QUEUE)
    assert {row["occurrences"] for row in listed(connection, warehouse)} == {1}


def test_what_is_over_stays_and_what_comes_again_is_another(connection, warehouse):
    say(connection, warehouse)
    later = NOW + timedelta(hours=1)
    assert close(connection, warehouse, Kind.RUN_FAILURE, ["daily_refresh", "other"], later) == 1
    assert close(connection, warehouse, Kind.RUN_FAILURE, ["daily_refresh"], later) == 0
    assert listed(connection, warehouse) == []
    assert say(connection, warehouse, at=later + timedelta(hours=1))
    again, over = listed(connection, warehouse, include_closed=True)
    assert again["closed_at"] is None
    assert over["closed_at"] == later
    assert again["occurrences"] == over["occurrences"] == 1


def test_another_kind_of_the_same_subject_is_another_incident(connection, warehouse):
    assert say(connection, warehouse, "T1", kind=Kind.RUN_FAILURE)
    assert say(connection, warehouse, "T1", kind=Kind.TUTOR_SET_ASIDE)
    assert close(connection, warehouse, Kind.TUTOR_SET_ASIDE, ["T1"], NOW) == 1
    assert [row["kind"] for row in listed(connection, warehouse)] == ["run_failure"]


def test_reported_by_many_at_once_it_is_one(connection, warehouse):
    def one(number):
        with warehouse.connect() as own:
            return say(own, warehouse, run=f"r{number}")

    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(one, range(24)))
    assert sum(opened) == 1
    (row,) = listed(connection, warehouse)
    assert row["occurrences"] == 24


def test_a_clock_that_goes_back_breaks_nothing(connection, warehouse):
    say(connection, warehouse)
    say(connection, warehouse, run="r2", at=NOW - timedelta(hours=1))
    close(connection, warehouse, Kind.RUN_FAILURE, ["daily_refresh"], NOW - timedelta(hours=1))
    (row,) = listed(connection, warehouse, include_closed=True)
    assert row["last_seen_at"] == row["closed_at"] == NOW


def test_every_kind_the_table_takes_has_a_meaning(connection, warehouse):
    assert set(MEANING) == set(Kind)
    for kind in Kind:
        assert say(connection, warehouse, "any", kind=kind)
    assert len(listed(connection, warehouse, kind=Kind.DRIFT)) == 1


steps = st.lists(
    st.tuples(
        st.sampled_from(["report", "close"]),
        st.sampled_from([Kind.RUN_FAILURE, Kind.DRIFT]),
        st.sampled_from(["a", "b"]),
        st.sampled_from([None, "r1", "r2"]),
    ),
    max_size=25,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps)
def test_the_open_ones_are_those_reported_and_not_closed_since(connection, warehouse, steps):
    connection.execute(warehouse.sql("truncate {ops}.incidents"))
    open_, opened, occurrences, last = set(), 0, 0, {}
    for number, (what, kind, subject, run) in enumerate(steps):
        at, cause = NOW + timedelta(minutes=number), (kind, subject)
        if what == "close":
            assert close(connection, warehouse, kind, [subject], at) == (cause in open_)
            open_.discard(cause)
            continue
        is_new = cause not in open_
        assert say(connection, warehouse, subject, run=run, at=at, kind=kind) == is_new
        opened += is_new
        occurrences += is_new or last[cause] != run
        open_.add(cause)
        last[cause] = run
    everything = listed(connection, warehouse, include_closed=True)
    assert {(row["kind"], row["subject"]) for row in everything if not row["closed_at"]} == open_
    assert len(everything) == opened
    assert sum(row["occurrences"] for row in everything) == occurrences


def test_each_kind_has_its_steps_in_the_runbook():
    page = (Path(__file__).parents[4] / "docs" / "operations.md").read_text(encoding="utf-8")
    for kind in Kind:
        assert MEANING[kind]
        assert f"\n### {kind}\n" in page

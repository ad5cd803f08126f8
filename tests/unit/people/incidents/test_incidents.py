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
def database(warehouse):
    with warehouse.connect() as database:
        database.execute("truncate {ops}.incidents")
        database.commit()
        yield database
        database.connection.rollback()


def say(database, subject="daily_refresh", *, run="r1", at=NOW, kind=Kind.RUN_FAILURE):
    """Whether this opened an incident."""
    opened = report(database, kind, subject, f"{subject} failed", {"why": run}, run_id=run, now=at)
    if opened is not None:
        assert opened in {row["incident_id"] for row in listed(database)}
    return opened is not None


def test_a_storm_is_one_incident(database):
    opened = [
        say(database, run=f"r{number}", at=NOW + timedelta(seconds=number)) for number in range(50)
    ]
    assert opened == [True] + [False] * 49
    (row,) = listed(database)
    assert row["occurrences"] == 50
    assert (row["opened_at"], row["last_seen_at"]) == (NOW, NOW + timedelta(seconds=49))
    assert (row["run_id"], row["details"]) == ("r49", {"why": "r49"})


def test_one_run_and_one_lasting_state_count_once(database):
    for _ in range(3):
        say(database, run="same")
        say(database, "new sessions", run=None, kind=Kind.STUCK_QUEUE)
    assert {row["occurrences"] for row in listed(database)} == {1}


def test_what_is_over_stays_and_what_comes_again_is_another(database):
    say(database)
    later = NOW + timedelta(hours=1)
    assert close(database, Kind.RUN_FAILURE, ["daily_refresh", "other"], later) == 1
    assert close(database, Kind.RUN_FAILURE, ["daily_refresh"], later) == 0
    assert listed(database) == []
    assert say(database, at=later + timedelta(hours=1))
    again, over = listed(database, include_closed=True)
    assert again["closed_at"] is None
    assert over["closed_at"] == later
    assert again["occurrences"] == over["occurrences"] == 1


def test_another_kind_of_the_same_subject_is_another_incident(database):
    assert say(database, "T1", kind=Kind.RUN_FAILURE)
    assert say(database, "T1", kind=Kind.TUTOR_SET_ASIDE)
    assert close(database, Kind.TUTOR_SET_ASIDE, ["T1"], NOW) == 1
    assert [row["kind"] for row in listed(database)] == ["run_failure"]


def test_reported_by_many_at_once_it_is_one(database):
    def one(number):
        with database.warehouse.connect() as own:
            return say(own, run=f"r{number}")

    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(one, range(24)))
    assert sum(opened) == 1
    (row,) = listed(database)
    assert row["occurrences"] == 24


def test_a_clock_that_goes_back_breaks_nothing(database):
    say(database)
    say(database, run="r2", at=NOW - timedelta(hours=1))
    close(database, Kind.RUN_FAILURE, ["daily_refresh"], NOW - timedelta(hours=1))
    (row,) = listed(database, include_closed=True)
    assert row["last_seen_at"] == row["closed_at"] == NOW


def test_open_ones_come_first_each_group_the_newest_first(database):
    for number, subject in enumerate("abcd"):
        say(database, subject, at=NOW + timedelta(hours=number))
    close(database, Kind.RUN_FAILURE, ["b", "d"], NOW + timedelta(days=1))
    found = [row["subject"] for row in listed(database, include_closed=True)]
    assert found == ["c", "a", "d", "b"]
    assert [row["subject"] for row in listed(database, include_closed=True, limit=1)] == ["c"]


def test_every_kind_the_table_takes_has_a_meaning(database):
    assert set(MEANING) == set(Kind)
    for kind in Kind:
        assert say(database, "any", kind=kind)
    assert len(listed(database, kind=Kind.DRIFT)) == 1


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
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps)
def test_the_open_ones_are_those_reported_and_not_closed_since(database, steps):
    database.execute("truncate {ops}.incidents")
    open_, opened, occurrences, last = set(), 0, 0, {}
    for number, (what, kind, subject, run) in enumerate(steps):
        at, cause = NOW + timedelta(minutes=number), (kind, subject)
        if what == "close":
            assert close(database, kind, [subject], at) == (cause in open_)
            open_.discard(cause)
            continue
        is_new = cause not in open_
        assert say(database, subject, run=run, at=at, kind=kind) == is_new
        opened += is_new
        occurrences += is_new or last[cause] != run
        open_.add(cause)
        last[cause] = run
    everything = listed(database, include_closed=True)
    assert {(row["kind"], row["subject"]) for row in everything if not row["closed_at"]} == open_
    assert len(everything) == opened
    assert sum(row["occurrences"] for row in everything) == occurrences


def test_each_kind_has_its_steps_in_the_runbook():
    page = (Path(__file__).parents[4] / "docs" / "operations.md").read_text(encoding="utf-8")
    for kind in Kind:
        assert MEANING[kind]
        assert f"\n### {kind}\n" in page

"""The header of a refresh: as of when, and which of several counts."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.refresh_runs import (
    built_moment,
    end_of_day,
    latest_as_of,
    moment,
    newest_moment,
)

NOW = datetime(2026, 3, 18, 9, tzinfo=UTC)
DAY = timedelta(days=1)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Pacific/Apia"])


@pytest.fixture
def database(warehouse):
    with warehouse.connect() as database:
        yield database
        database.rollback()


@pytest.fixture
def refresh(database):
    def add(run_id, as_of, *, began=NOW, **columns):
        values = {"run_id": run_id, "as_of": as_of, "is_full": True, "started_at": began} | columns
        names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
        database.execute(
            f"insert into {{ops}}.refresh_runs ({names}) values ({marks})", list(values.values())
        )

    return add


def test_snapshots_of_other_days_are_no_newer_moment(database, refresh):
    assert newest_moment(database) is None
    past = {"snapshot_from": date(2026, 1, 1), "snapshot_until": date(2026, 1, 2)}
    refresh("past", NOW - 75 * DAY, began=NOW + DAY, is_full=False, **past)
    assert newest_moment(database) == NOW - 75 * DAY  # there is no other
    refresh("first", NOW - DAY)
    refresh("later", NOW, began=NOW + timedelta(seconds=1), is_full=False)
    assert newest_moment(database) == NOW


def test_of_two_that_began_at_once_the_same_one_counts_as_for_dbt(database, refresh):
    for run_id, as_of in (("a", NOW - DAY), ("c", NOW), ("b", NOW - 2 * DAY)):
        refresh(run_id, as_of)
    assert newest_moment(database) == NOW  # the macro newest_moment has the greatest run id


def test_a_run_has_its_own_moment_and_others_the_newest(database, refresh):
    with pytest.raises(TutorPipelineError, match="nothing is built yet"):
        moment(database, "r1")
    refresh("r1", NOW - DAY)
    refresh("r2", NOW, began=NOW + DAY)
    assert moment(database, "r1") == NOW - DAY
    assert moment(database, "by hand") == NOW


def test_built_is_what_a_full_refresh_has_built_to_the_end(database, refresh):
    with pytest.raises(TutorPipelineError, match="nothing is built yet"):
        built_moment(database)
    refresh("built", NOW - 2 * DAY, built_at=NOW)
    refresh("fails", NOW - DAY, began=NOW + DAY)
    refresh("of some", NOW, began=NOW + DAY, is_full=False, built_at=NOW + DAY)
    assert built_moment(database) == NOW - 2 * DAY


@given(MOMENTS, MOMENTS, ZONES)
def test_the_latest_as_of_is_the_end_of_a_day_and_never_later_than_now(session, now, zone):
    found = latest_as_of(session, now, zone)
    day = session.astimezone(ZoneInfo(zone)).date()
    assert found <= now
    assert found == now or found.astimezone(ZoneInfo(zone)).date() == day
    assert (
        found == now or (found + timedelta(microseconds=1)).astimezone(ZoneInfo(zone)).date() > day
    )


@pytest.mark.parametrize(
    ("day", "hour"),
    [(date(2026, 3, 28), 22), (date(2026, 3, 29), 21), (date(2026, 10, 25), 22)],
)
def test_a_day_ends_where_people_are_also_when_the_clocks_change(day, hour):
    midnight = datetime(day.year, day.month, day.day, hour + 1, tzinfo=UTC)
    assert end_of_day(day, "Europe/Berlin") == midnight - timedelta(microseconds=1)

"""How new the alerts are, which may be older than the metrics, and whether all of it is stale."""

from datetime import UTC, datetime

from psycopg.types.json import Jsonb

from tests.unit.people.reports.conftest import DAY, HOUR, NOW
from tutor_pipeline.core.warehouse.locks import one_writer
from tutor_pipeline.people.reports import status_queries


def test_alerts_are_as_of_the_newest_run_that_evaluated_rules(ops):
    assert status_queries.alerts_as_of(ops.database) is None
    ops.applied(NOW, evaluated=0)
    assert status_queries.alerts_as_of(ops.database) is None
    ops.applied(NOW - DAY, evaluated=10)
    ops.applied(NOW - HOUR, evaluated=10, kind="insight")
    assert status_queries.alerts_as_of(ops.database) == NOW - DAY


def test_status_has_the_moments_of_metrics_and_of_alerts(ops):
    ops.database.execute("create table {marts}.tutor_aggregates (as_of timestamptz)")
    ops.database.execute("insert into {marts}.tutor_aggregates values (%s)", (NOW,))
    ops.applied(NOW - DAY, evaluated=10)
    assert status_queries.status(ops.database)["data"] == {
        "newest_session": None,
        "computed_as_of": "2026-03-10 18:50 UTC",
        "alerts_as_of": "2026-03-09 18:50 UTC",
        "open_alerts": 0,
        "open_quarantine": 0,
        "missing_rows": None,
    }


def test_the_newest_session_is_one_that_took_place(ops):
    ops.database.execute(
        "create table {marts}.fct_sessions (scheduled_start timestamptz, status text)"
    )
    for start, status in (
        (NOW, "completed"),
        (NOW + HOUR, "cancelled"),
        (datetime(9000, 1, 1, tzinfo=UTC), "completed"),
    ):
        ops.database.execute("insert into {marts}.fct_sessions values (%s, %s)", (start, status))
    assert status_queries.status(ops.database)["data"]["newest_session"] == "2026-03-10 18:50 UTC"


def test_the_report_says_as_of_when_the_alerts_are(ops):
    ops.refresh("today", NOW)
    ops.applied(NOW - DAY, evaluated=10)
    freshness = ops.gather().freshness
    assert (freshness.as_of, freshness.alerts_as_of) == (NOW, NOW - DAY)


def test_a_load_makes_it_stale_until_every_table_is_refreshed(ops):
    def is_stale():
        return status_queries.is_stale(ops.database)

    assert not is_stale()
    ops.refresh("full", NOW)
    ops.insert("platform_loads", kind="csv", parameters=Jsonb({}), loaded_at=NOW)
    assert not is_stale()
    ops.insert("platform_loads", kind="csv", parameters=Jsonb({}), loaded_at=NOW + HOUR)
    assert is_stale()
    ops.refresh("by hand", NOW + 2 * HOUR, is_full=False, tables=["marts/tutor_scoreboard"])
    assert is_stale()
    ops.refresh("full again", NOW + 3 * HOUR)
    assert not is_stale()


def test_a_full_refresh_that_made_no_alerts_is_said_unless_it_is_at_work(ops):
    def stopped():
        return status_queries.stopped_refresh(ops.database)

    ops.refresh("first", NOW)
    assert stopped() is None, "before the first alerts there is nothing to be told from"
    ops.applied(NOW, evaluated=10)
    assert stopped() is None
    ops.refresh("second", NOW + HOUR)
    began = ops.database.value("select started_at from {ops}.refresh_runs where run_id = 'second'")
    assert stopped() == began
    with one_writer(ops.database.warehouse, "refresh"):
        assert stopped() is None
    ops.applied(NOW + HOUR, evaluated=10)
    assert stopped() is None

"""Connections: the same whatever a role or a URL likes; and what dbt gets of a URL."""

import time
from datetime import UTC, datetime

import pytest

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Schemas, Warehouse
from tutor_pipeline.metrics.dbt import dbt_environment
from tutor_pipeline.sources.relations import newest_completed_session

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def test_moments_are_read_whatever_form_the_url_asks_for(warehouse):
    odd = Warehouse(
        f"{warehouse.url}?options=-c%20datestyle%3DSQL%2CDMY%20-c%20timezone%3DAsia/Tokyo"
    )
    with odd.connect() as database:
        assert database.execute("select '2026-05-01 00:00+00'::timestamptz").fetchone() == (NOW,)
        database.rollback()
        assert database.execute("show datestyle").fetchone()[0].startswith("ISO")


def test_a_transaction_sees_what_others_commit_whatever_the_url_asks_for(warehouse):
    option = "?options=-c%20default_transaction_isolation%3Drepeatable%5C%20read"
    with Warehouse(warehouse.url + option).connect() as database:
        for _ in range(2):
            isolation = database.execute("show transaction_isolation").fetchone()
            assert isolation == ("read committed",)
            database.rollback()


def test_the_limits_of_a_role_are_not_ours(warehouse):
    """They are defaults: a statement takes what it takes, and so does a pause in between."""
    limits = (
        "statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout",
    )  # fmt: skip
    with warehouse.connect(autocommit=True) as database:
        name = database.info.dbname
        for limit in limits:
            database.execute(f"alter database {name} set {limit} = '1s'")
    try:
        with warehouse.connect() as database:
            database.execute("select pg_sleep(2)")
            time.sleep(2)
            assert database.value("select 1") == 1
            database.commit()
            time.sleep(2)
            assert database.value("select 1") == 1
    finally:
        with warehouse.connect(autocommit=True) as database:
            for limit in limits:
                database.execute(f"alter database {name} reset {limit}")


@pytest.mark.usefixtures("starts_something")
def test_an_unreachable_server_is_a_sentence():
    with pytest.raises(TutorPipelineError, match="TUTOR_DATABASE_URL"):
        Warehouse("postgresql://app:s3cret@127.0.0.1:1/live").connect()


def test_dbt_gets_all_that_the_url_says(warehouse, tmp_path):
    url = f"{warehouse.url}?sslmode=prefer&connect_timeout=7&sslrootcert=/etc/root.pem"
    environment = dbt_environment(Warehouse(url), "run", tmp_path)
    assert environment["PGSSLROOTCERT"] == "/etc/root.pem"
    assert environment["PGCONNECT_TIMEOUT"] == "7"
    assert environment["PGHOST"] == "127.0.0.1"
    assert environment["PGPASSWORD"] in warehouse.url
    assert environment["PGPORT"].isdigit()
    assert environment["TUTOR_RUN_ID"] == "run"


@pytest.mark.parametrize("kind", ["timestamp", "timestamptz"])
def test_the_newest_session_is_found_among_impossible_ones(databases, kind):
    warehouse = Warehouse(
        databases.create(), Schemas(platform="public"), platform_timezone="America/Los_Angeles"
    )
    with warehouse.connect() as database:
        assert newest_completed_session(database, NOW) is None
        database.execute(f"create table sessions (scheduled_start {kind}, status text)")
        assert newest_completed_session(database, NOW) is None
        database.execute(
            "insert into sessions values ('2026-04-01 12:00', 'completed'),"
            " ('2026-04-02 12:00', 'scheduled'), ('2027-01-01', 'completed'),"
            " ('infinity', 'completed'), ('294276-12-31 23:59:59', 'completed'),"
            " ('4713-01-02 BC', 'completed'), (null, 'completed')"
        )
        hour = 12 if kind == "timestamptz" else 19
        found = newest_completed_session(database, NOW)
        assert found == datetime(2026, 4, 1, hour, tzinfo=UTC)

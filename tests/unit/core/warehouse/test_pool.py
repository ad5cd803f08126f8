"""A pool of connections: at most so many, for at most so long, and it finds a server again."""

import time

import psycopg
import pytest

from tutor_pipeline.core.warehouse.pool import NoConnectionError, Pool


@pytest.fixture
def pool(warehouse):
    with Pool(warehouse, size=2, seconds=0.5, longest=1.0) as opened:
        yield opened


def test_who_gets_no_connection_is_told_so(pool):
    with pool.connection() as one, pool.connection() as two:
        assert one.value("select 1") == two.value("select 1") == 1
        with pytest.raises(NoConnectionError), pool.connection():
            pytest.fail("there is a third")
    with pool.connection() as again:
        assert again.value("show datestyle").startswith("ISO")


def test_what_takes_too_long_is_canceled_and_leaves_no_limit_behind(pool):
    began = time.monotonic()
    with pool.connection() as database, pytest.raises(psycopg.errors.QueryCanceled):
        database.execute("select pg_sleep(600)")
    assert time.monotonic() - began < 300
    with pool.connection() as database:
        assert database.value("show statement_timeout") == "0"


def test_a_connection_that_was_lost_is_replaced(pool, warehouse):
    with pool.connection() as database:
        lost = database.value("select pg_backend_pid()")
    with warehouse.connect() as other:
        other.execute("select pg_terminate_backend(%s, 10000)", (lost,))
    deadline = time.monotonic() + 60
    while True:
        try:
            with pool.connection() as database:
                assert database.value("select pg_backend_pid()") != lost
                break
        except NoConnectionError:
            assert time.monotonic() < deadline

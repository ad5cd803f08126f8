"""Who is present, who stands by, and how a place goes from one to the next."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from tests.integration.refreshes import until
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.standing import is_present, present


@pytest.fixture
def observer(warehouse: Warehouse) -> Any:
    with warehouse.connect(autocommit=True) as database:
        yield database


def test_who_is_present_is_seen_until_the_end(warehouse: Warehouse, observer: Any) -> None:
    assert not is_present(observer, "a")
    with present(warehouse, "a"):
        assert is_present(observer, "a")
        assert not is_present(observer, "b")
        with present(warehouse, "b"):
            assert is_present(observer, "b")
    assert not is_present(observer, "a")


def test_a_place_goes_to_the_successor_once_it_is_ready(warehouse: Warehouse) -> None:
    has_place = threading.Event()
    ends = threading.Event()

    def succeed() -> None:
        with present(warehouse, "second") as second:
            second.take_place()
            has_place.set()
            assert not second.is_relieved()
            ends.wait(60)

    with present(warehouse, "first") as first:
        first.take_place()
        assert not first.is_relieved()
        thread = threading.Thread(target=succeed)
        thread.start()
        until(first.is_relieved, "the successor is ready")
        assert not has_place.is_set()
    assert has_place.wait(60)
    ends.set()
    thread.join()


def test_whose_connection_is_lost_is_gone_and_notices(warehouse: Warehouse, observer: Any) -> None:
    with pytest.raises(psycopg.OperationalError), present(warehouse, "a") as lost:
        lost.take_place()
        pid = lost.database.value("select pg_backend_pid()")
        observer.execute("select pg_terminate_backend(%s)", (pid,))
        until(lambda: not is_present(observer, "a"), "it is gone")
        with present(warehouse, "b") as other:
            other.take_place()
        lost.is_relieved()


def test_a_role_that_limits_transactions_and_a_host_that_vanishes_are_thought_of(
    warehouse: Warehouse,
) -> None:
    limits = "where name in ('idle_in_transaction_session_timeout', 'transaction_timeout')"
    with present(warehouse, "a") as presence:
        presence.take_place()
        presence.is_relieved()
        for name, value in presence.database.execute(
            f"select name, setting from pg_settings {limits}"
        ):
            assert value == "0", name
        # Over a socket the system has no say.
        assert presence.database.value("show tcp_user_timeout") in ("60000", "0")
    with present(warehouse, "b") as presence, warehouse.connect() as observer:
        presence.take_place()
        presence.is_relieved()
        pid = presence.database.info.backend_pid
        held = observer.execute(
            "select count(*) from pg_locks where pid = %s and locktype = 'relation'", (pid,)
        )
        assert held.fetchone() == (0,)

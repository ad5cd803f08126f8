"""Locks: who shares one, and what somebody hears who waits."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.core.warehouse import locks
from tutor_pipeline.core.warehouse.database import Schemas, Warehouse
from tutor_pipeline.core.warehouse.locks import is_held, one_writer


def test_two_installations_in_one_database_share_no_lock(warehouse):
    other = Warehouse(warehouse.url, Schemas("other_"))
    with warehouse.connect() as first, warehouse.connect() as second, other.connect() as third:
        assert first.lock("outbox")
        assert not second.lock("outbox", wait=False)
        assert third.lock("outbox", wait=False)
        first.rollback()
        assert second.lock("outbox", wait=False)


def test_two_installations_write_at_once(warehouse):
    other = Warehouse(warehouse.url, Schemas("other_"))
    with locks.one_writer(warehouse, "refresh"), other.connect() as database:
        assert not locks.is_held(database, "refresh")
        with locks.one_writer(other, "refresh", on_wait=lambda _: 1 / 0):
            assert locks.is_held(database, "refresh")


def test_two_databases_of_a_server_share_no_lock(warehouse, databases):
    other = Warehouse(databases.create(), warehouse.schemas)
    with locks.one_writer(warehouse, "refresh"), other.connect() as database:
        assert not locks.is_held(database, "refresh")
        with locks.one_writer(other, "refresh", on_wait=lambda _: 1 / 0):
            assert locks.is_held(database, "refresh")


def test_who_waits_hears_it_once_however_long_it_takes(warehouse, monkeypatch):
    polls, told = [], []
    with ExitStack() as first:
        first.enter_context(locks.one_writer(warehouse, "refresh"))

        def wait(seconds):
            polls.append(seconds)
            if len(polls) == 3:
                first.close()

        monkeypatch.setattr(locks, "time", SimpleNamespace(sleep=wait))
        with locks.one_writer(warehouse, "refresh", told.append):
            assert len(polls) >= 3  # the server lets a lock go a moment after its connection
    assert told == ["another process is writing (refresh); waiting for it to finish"]


def test_a_server_that_ends_idle_transactions_leaves_the_lock_alone(warehouse):
    with warehouse.connect(autocommit=True) as database:
        name = database.info.dbname
        database.execute(f"alter database {name} set idle_in_transaction_session_timeout = '50ms'")
    try:
        with one_writer(warehouse, "refresh") as writer:
            time.sleep(0.5)
            with warehouse.connect() as database:
                assert is_held(database, "refresh")
                writer.prove(database)
    finally:
        with warehouse.connect(autocommit=True) as database:
            database.execute(f"alter database {name} reset idle_in_transaction_session_timeout")


def test_who_lost_the_lock_cannot_prove_it(warehouse):
    with one_writer(warehouse, "refresh") as writer, warehouse.connect() as database:
        writer.prove(database)
        database.rollback()
        database.execute("select pg_terminate_backend(%s)", (writer.pid,))
        with pytest.raises(RefusedError, match="took over"):
            while True:  # the server takes a moment to end it
                writer.prove(database)
                database.rollback()


def test_who_takes_over_waits_for_a_commit_that_was_proved(warehouse):
    with warehouse.connect() as committing, one_writer(warehouse, "refresh") as writer:
        writer.prove(committing)
        committing.execute("select pg_terminate_backend(%s)", (writer.pid,))
        taken = threading.Event()

        def take_over():
            with one_writer(warehouse, "refresh"):
                taken.set()

        other = threading.Thread(target=take_over)
        other.start()
        assert not taken.wait(1)
        committing.commit()
        assert taken.wait(60)
        other.join()


def test_the_limit_of_a_role_does_not_end_the_wait_for_a_lock_of_ours(warehouse):
    taken = threading.Event()

    def second():
        with warehouse.connect(options="-c lock_timeout=1ms") as database:
            taken.set()
            assert database.lock("ours")

    with warehouse.connect() as first, ThreadPoolExecutor(1) as pool:
        assert first.lock("ours")
        waits = pool.submit(second)
        assert taken.wait(60)
        with warehouse.connect(autocommit=True) as looking:
            while not looking.value("select count(*) from pg_locks where not granted"):
                assert not waits.done(), waits.exception()
        first.commit()
        waits.result(60)

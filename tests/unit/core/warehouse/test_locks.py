"""Locks: who shares one, and what somebody hears who waits."""

from contextlib import ExitStack
from types import SimpleNamespace

from tutor_pipeline.core.warehouse import locks
from tutor_pipeline.core.warehouse.database import Schemas, Warehouse


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

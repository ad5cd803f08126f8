"""What becomes of a pass that fails: whose changes wait, and who is set aside."""

import logging
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from tutor_pipeline.core.errors import RefusedError, TutorPipelineError
from tutor_pipeline.core.findings import Kind
from tutor_pipeline.sources.changes.ledger import Batch
from tutor_pipeline.steps.refresh_after_sessions import (
    GIVE_UP_AFTER,
    Pass,
    Refresh,
)
from tutor_pipeline.steps.take import HALF_READ

NOW = datetime(2026, 3, 18, 9, tzinfo=UTC)
REFUSED = RefusedError(HALF_READ)


@pytest.fixture
def refresh(warehouse):
    yield Refresh("r", warehouse, plan=None, log=logging.getLogger(__name__))
    with warehouse.connect() as database:
        database.execute("truncate {ops}.set_aside_tutors")


def batch_of(*tutors):
    return Batch("r/1", NOW, tutors, 1, NOW, is_alone=len(tutors) == 1)


@pytest.mark.parametrize(
    ("tutors", "error", "aside"),
    [
        (["t1"], ValueError("it divides by zero"), [("t1", "it divides by zero")]),
        (["t1"], REFUSED, []),
        (["t1", "t2"], ValueError("it divides by zero"), []),
    ],
    ids=["alone", "refused", "among others"],
)
def test_a_tutor_is_set_aside_whose_rows_fail_alone_and_never_for_what_is_refused(
    refresh, tutors, error, aside
):
    with refresh.warehouse.connect(autocommit=True) as database:
        refresh._failed(database, batch_of(*tutors), error)
        found = database.execute("select tutor_id, reason from {ops}.set_aside_tutors").fetchall()
    assert found == aside


def test_what_is_refused_again_and_again_ends_the_run(refresh):
    with refresh.warehouse.connect(autocommit=True) as database:
        for _ in range(GIVE_UP_AFTER - 1):
            refresh._failed(database, batch_of("t1"), REFUSED)
        with pytest.raises(RefusedError):
            refresh._failed(database, batch_of("t1"), REFUSED)


def test_who_can_t_connect_is_no_fault_of_a_tutor(refresh):
    """A full server: the connection that is kept still works."""
    batch = batch_of("t1")
    with refresh.warehouse.connect(autocommit=True) as database:
        with pytest.raises(TutorPipelineError) as refused:
            replace(refresh.warehouse, url="postgresql://127.0.0.1:1/nowhere").connect()
        assert not refresh._is_of_rows(database, refused.value, batch)
        assert refresh._is_of_rows(database, TutorPipelineError("a rating is NaN"), batch)


DONE = SimpleNamespace(applied=SimpleNamespace(opened=2, resolved=1))


def done(*tutors):
    this = Pass(batch_of(*tutors), seconds={"build": 0.25})
    this.judged = {Kind.ALERT: DONE}
    return this


def test_passes_of_some_seconds_share_a_line(refresh, caplog):
    told = []
    refresh.tell = told.append
    refresh.untold = [done("t1"), done("t1", "t2")]
    with caplog.at_level(logging.INFO):
        refresh._tell()
        refresh._tell()
    (line,) = caplog.messages
    assert line == ("2 passes: 2 changes of 2 tutors (build 0.50 s); alerts: 4 opened, 2 resolved")
    assert [len(passes) for passes in told] == [2]

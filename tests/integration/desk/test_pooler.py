"""The desk behind PgBouncer in transaction mode: each statement may run on another connection."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace

import pytest

from tests.integration.desk.conftest import Desk, serving
from tests.integration.test_poolers import Pooler
from tests.servers import free_port
from tutor_pipeline.people.access.roles import Role

pytestmark = pytest.mark.skipif(
    shutil.which("pgbouncer") is None, reason="PgBouncer is not installed (apt install pgbouncer)"
)


@pytest.fixture
def behind(desk, server_url, tmp_path_factory):
    """The module's desk, through a pooler."""
    pooler = Pooler(server_url, tmp_path_factory.mktemp("pooler"), "transaction")
    warehouse = replace(desk.warehouse, url=pooler.url(desk.project.url))
    try:
        with serving(Desk(warehouse, desk.project, replace(desk.options, port=free_port()))) as it:
            yield it
    finally:
        pooler.stop()


def test_pages_and_acts_behind_a_pooler(behind):
    alert = behind.alert()
    with behind.person(Role.COACH, "ada") as client:
        for verb, fields in (
            ("acknowledge", {"text": "calling"}), ("snooze", {"days": "7"}), ("wake", {}),
            ("note", {"text": "moves house"}), ("resolve", {"reason": "fixed"}), ("reopen", {}),
        ):  # fmt: skip
            data = {"alert": behind.seen(alert), "verb": verb, **fields}
            assert client.post("/alerts/act", data=data).status_code == 303

    failed = []

    def read():
        with behind.person(Role.COACH, "ada") as client:
            for path in ("/", "/alerts?state=all", f"/alerts/{alert}", "/tutors", "/sessions") * 4:
                answer = client.get(path)
                if answer.status_code != 200:
                    failed.append((path, answer.status_code))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    # No limit of the desk's stays on a connection that others get next.
    for _ in range(8):
        assert behind.rows("show statement_timeout") == [{"statement_timeout": "0"}]

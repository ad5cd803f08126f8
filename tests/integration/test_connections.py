"""The connections of `up`: how many there are, and what becomes of them when nobody answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.integration.conftest import Project
from tests.integration.refreshes import until
from tests.integration.ui import Ui
from tests.postgres import PostgresServer, Proxy

pytestmark = [pytest.mark.long, pytest.mark.timeout(2700)]

PROMISED = 25
"""The pipeline takes up to so many connections (docs/databases.md)."""
ALLOWED = 30
"""By the server."""
SESSIONS = 500
SECONDS = 900
"""Whatever is waited for comes sooner."""


@pytest.fixture(scope="module")
def server(starts_something):
    with PostgresServer(max_connections=str(ALLOWED)) as server:
        server.create("busy", "watched", "watched_dagster")
        yield server


@pytest.fixture
def project(server, tmp_path, zygote, request):
    return Project(tmp_path, server.url(request.param), zygote)


@contextmanager
def counted(server: PostgresServer) -> Iterator[list[int]]:
    """How many connections there are, every 0.2 s, but those of this test."""
    counts: list[int] = []
    is_over = threading.Event()

    def count() -> None:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            while not is_over.wait(0.2):
                row = connection.execute(
                    "select count(*) from pg_stat_activity where backend_type = 'client backend'"
                    " and application_name <> 'a test' and pid <> pg_backend_pid()"
                ).fetchone()
                counts.extend(row or ())

    counting = threading.Thread(target=count)
    counting.start()
    try:
        yield counts
    finally:
        is_over.set()
        counting.join()


@pytest.mark.parametrize("project", ["busy"], indirect=True)
def test_up_a_backfill_and_many_sessions_at_once_need_few(server, project):
    project.run("generate", "--tutors", "12", "--days", "380", "--sessions-per-day", "10")
    project.run("enrich")
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    year = [(yesterday - timedelta(days=back)).isoformat() for back in reversed(range(365))]
    ours = f"{project.url}?application_name=a%20test"
    with counted(server) as counts, Ui(project) as ui:
        backfill = ui.backfill(["marts", "tutor_aggregates_history"], year)
        with psycopg.connect(ours, autocommit=True) as connection:
            connection.execute(
                "insert into platform.sessions (id, tutor_id, scheduled_start, status)"
                " select 'at once ' || n, tutors.user_id, now() - n * interval '10 s', 'completed'"
                " from generate_series(1, %s) as n, lateral (select user_id from platform.tutors"
                " order by hashtext(user_id || n) limit 1) as tutors",
                (SESSIONS,),
            )

            def are_processed() -> bool:
                row = connection.execute(
                    "select count(*) from ops.session_ledger"
                    " where session_id like 'at once %' and version is not null"
                ).fetchone()
                return row == (SESSIONS,)

            assert ui.runs_of(backfill) == ["SUCCESS"]
            until(are_processed, "all sessions are processed", SECONDS)
    assert 0 < max(counts) < PROMISED


@pytest.mark.parametrize("project", ["watched"], indirect=True)
def test_dagsters_processes_give_up_a_storage_that_no_longer_answers(server, project):
    """Their waits end while it is frozen still; after the thaw they work on."""
    project.run("status")  # makes the schemas
    proxy = Proxy(server.url("watched_dagster"))
    project.settings |= {
        "TUTOR_DAGSTER_DATABASE_URL": proxy.url,
        "TUTOR_AUTOMATION": "off",
    }

    def connections(process):
        return {
            (process.pid, each.laddr.port)
            for each in process.net_connections("tcp")
            if each.raddr and each.raddr.port == proxy.port and each.status == "ESTABLISHED"
        }

    def heartbeat():
        with psycopg.connect(server.url("watched_dagster")) as connection:
            row = connection.execute("select max(timestamp) from daemon_heartbeats").fetchone()
        return row and row[0]

    try:
        with Ui(project) as ui:
            until(heartbeat, "the daemon works", SECONDS)
            daemon, web = ui.process("dagster._daemon"), ui.process("dagster_webserver")
            asked = threading.Thread(target=runs, args=(ui,))
            with proxy.frozen():
                asked.start()
                until(lambda: connections(web), "the web server asks", SECONDS)
                before = connections(daemon) | connections(web)
                assert {pid for pid, _ in before} == {daemon.pid, web.pid}
                until(
                    lambda: not before & (connections(daemon) | connections(web)),
                    "the connections are given up",
                    SECONDS,
                )
                asked.join(SECONDS)
                assert not asked.is_alive()
                stopped = heartbeat()
            until(lambda: heartbeat() > stopped, "the daemon works again", SECONDS)
            until(lambda: runs(ui) is not None, "the UI answers again", SECONDS)
    finally:
        proxy.stop()


def runs(ui):
    """What the web server reads of Dagster's storage; None = it could not."""
    with suppress(OSError):
        return ui.ask("{ runsOrError(limit: 1) { __typename } }", SECONDS)

"""Behind PgBouncer, the packaged one: locks, statements, and the way from rows to an alert."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import threading
from contextlib import suppress
from datetime import date
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.integration.refreshes import Refreshes, until
from tests.integration.test_post_session import disappoint
from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.core.warehouse.locks import is_held, one_writer
from tutor_pipeline.core.warehouse.poolers import pools_transactions
from tutor_pipeline.steps import take

pytestmark = pytest.mark.skipif(
    shutil.which("pgbouncer") is None, reason="PgBouncer is not installed (apt install pgbouncer)"
)


class Pooler:
    """PgBouncer in front of the run's server, for every database of it."""

    def __init__(self, server_url, folder, mode):
        self.mode = mode
        server = urlsplit(server_url)
        self.user = server.username
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        settings = folder / "pgbouncer.ini"
        settings.write_text(
            "[databases]\n"
            f"* = host={server.hostname} port={server.port} user={server.username}"
            f" password={server.password}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = any\npool_mode = {mode}\ndefault_pool_size = 4\n"
            # Who is root may not run it.
            f"user = {'nobody' if os.geteuid() == 0 else getpass.getuser()}\n"
        )
        for each in (folder, *folder.parents[:2]):
            each.chmod(0o755)
        self.process = subprocess.Popen(["pgbouncer", "-q", str(settings)])
        until(self.answers, "PgBouncer answers")

    def answers(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def url(self, direct):
        return f"postgresql://{self.user}@127.0.0.1:{self.port}{urlsplit(direct).path}"

    def stop(self):
        self.process.terminate()
        self.process.wait()


@pytest.fixture(
    scope="module", params=["transaction", pytest.param("session", marks=pytest.mark.long)]
)
def pooler(request, server_url, tmp_path_factory):
    pooler = Pooler(server_url, tmp_path_factory.mktemp("pooler"), request.param)
    yield pooler
    pooler.stop()


def test_one_writer_at_a_time(pooler, databases):
    warehouse = Warehouse(pooler.url(databases.create()))
    waits, order = [], []

    def second():
        with one_writer(warehouse, "refresh", waits.append):
            order.append("second")

    other = threading.Thread(target=second)
    with one_writer(warehouse, "refresh"):
        other.start()
        until(lambda: waits, "the second one waits")
        # The server's connections go round meanwhile.
        for _ in range(20):
            with warehouse.connect() as database:
                assert is_held(database, "refresh")
        order.append("first")
    other.join()
    assert order == ["first", "second"]


def test_a_long_transaction_has_no_limits_of_the_role_on_whatever_connection(pooler, databases):
    direct = databases.create()
    name = urlsplit(direct).path.lstrip("/")
    with psycopg.connect(direct, autocommit=True) as owner:
        owner.execute(f"alter database {name} set statement_timeout = '200ms'")
    warehouse = Warehouse(pooler.url(direct))
    with warehouse.connect(autocommit=True) as database, warehouse.connect() as other:
        other.execute("select 1")  # holds the connection on which the limits were lifted
        with database.long_transaction():
            assert database.value("show statement_timeout") == "0"
            assert database.value("show idle_in_transaction_session_timeout") == "0"
            database.execute("select pg_sleep(0.5)")


def test_a_lost_connection_frees_the_lock(pooler, databases):
    direct = databases.create()
    warehouse = Warehouse(pooler.url(direct))
    held, go_on, refused = threading.Event(), threading.Event(), []

    def first():
        with suppress(psycopg.OperationalError), one_writer(warehouse, "refresh") as writer:
            with warehouse.connect() as database:
                writer.prove(database)
            held.set()
            go_on.wait(60)
            with warehouse.connect() as database:
                try:
                    writer.prove(database)
                except RefusedError as error:
                    refused.append(str(error))

    holder = threading.Thread(target=first)
    holder.start()
    assert held.wait(60)
    with psycopg.connect(direct, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'"
            " and database = (select oid from pg_database where datname = current_database())"
        )
    with one_writer(warehouse, "refresh"):
        go_on.set()
        holder.join()
    assert refused == ["another process took over writing (refresh): this one writes nothing more"]


def test_statements_repeat_on_any_connection_of_the_server(pooler, databases):
    warehouse = Warehouse(pooler.url(databases.create()))
    for _ in range(3):
        with warehouse.connect() as one, warehouse.connect() as other:
            for number in range(12):
                assert one.value("select %s::int", (number,)) == number
                assert other.value("select %s::int", (number,)) == number
                one.commit()
                other.commit()


def test_work_with_temporary_tables_is_refused_in_transaction_mode_only(pooler, databases):
    direct = Warehouse(databases.create())
    assert not pools_transactions(direct)
    pooled = Warehouse(pooler.url(direct.url))
    for _ in range(3):
        assert pools_transactions(pooled) is (pooler.mode == "transaction")
    if pooler.mode == "transaction":
        days = take.days(pooled, "run", date(2026, 3, 1), date(2026, 3, 2), print)
        with pytest.raises(RefusedError, match="direct TUTOR_DATABASE_URL"), days:
            pass


def test_from_rows_to_an_alert_through_it(pooler, new_project, tmp_path):
    project = new_project(TUTOR_RULE_PROFILE="conservative")
    direct = project.url
    project.settings["TUTOR_DAGSTER_DATABASE_URL"] = pooler.url(f"{direct}_dagster")
    with psycopg.connect(direct, autocommit=True) as connection:
        name = urlsplit(direct).path.removeprefix("/")
        connection.execute(f"create database {name}_dagster")
    project.settings["TUTOR_DATABASE_URL"] = pooler.url(direct)
    project.run("generate", "--tutors", "12", "--days", "20")
    project.execute("insert into platform.tutors (user_id, active_status) values ('N1', true)")
    project.run("enrich")
    disappoint(project, "N1")
    refreshes = Refreshes(tmp_path, project.environment)
    try:
        assert refreshes.run().materializations
    finally:
        refreshes.stop()
    # What more such sessions are depends on the others of the day.
    alert, *_ = [each for each in project.json("alerts", "list") if each["tutor_id"] == "N1"]
    project.run("alerts", "ack", alert["alert_id"], "--by", "ada")
    assert project.json("enrich")["alerts"]["opened"] == 0

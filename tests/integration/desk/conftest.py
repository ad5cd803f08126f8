"""A desk on a computed platform: a real server in this process, a real browser before it.

The platform is generated and computed once for a whole run; each module has a copy.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import uvicorn
from filelock import FileLock
from psycopg import sql

from tests.conftest import Databases, undone
from tests.integration.conftest import Project
from tests.integration.moved_sessions import tutors_reschedule
from tests.servers import free_port
from tutor_pipeline.core.findings import (
    Evaluation,
    Finding,
    Kind,
    Reading,
    Severity,
    Subject,
    SubjectKind,
)
from tutor_pipeline.core.warehouse.database import Warehouse
from tutor_pipeline.desk.app import create_app
from tutor_pipeline.desk.options import Options
from tutor_pipeline.judgement.lifecycle.store import apply
from tutor_pipeline.people.access import accounts, sign_ins
from tutor_pipeline.people.access.roles import Role

PATIENCE_SECONDS = 60
SOURCE = "desk_source"


@pytest.fixture(scope="session")
def source(server_url: str, zygote: Any) -> str:
    """The name of a database with a computed platform, made by whichever worker comes first."""
    home = Path(os.environ["TUTOR_TEST_HOME"])
    made = home / "desk_source.made"
    with FileLock(home / "desk_source.lock"):
        if not made.exists():
            url = Databases(server_url).create(SOURCE, migrated=False)
            project = Project(home / "desk source", url, zygote)
            project.settings["TUTOR_RULE_PROFILE"] = "conservative"
            project.run("generate", "--seed", "7", "--tutors", "40", "--days", "60")
            project.execute(tutors_reschedule(3))
            project.run("enrich")
            with Warehouse(url).connect() as database:
                of_others(database)
            made.touch()
    return SOURCE


def of_others(database: Any) -> None:
    """Alerts about a student of a tutor's, a student of nobody's and a subject taught."""
    now = database.value("select now()")
    tutor, student = database.execute(
        "select tutor_id, student_id from marts.fct_sessions where student_id is not null"
        " order by tutor_id, session_id limit 1"
    ).fetchone()
    about = [
        Subject(tutor, SubjectKind.STUDENT, student),
        Subject("", SubjectKind.STUDENT, student),
        Subject("", SubjectKind.SUBJECT, "Math"),
    ]
    findings = tuple(
        Finding(
            each, "losing_interest",
            Severity.CRITICAL if each.kind is SubjectKind.SUBJECT else Severity.WARNING,
            {"title": "Losing Interest Detected", "description": "comes seldom",
             "recommended_action": "Call the parents"},
            (Reading("sessions_30d", 1, 2, 4),), (), 0.1, "v1",
        )
        for each in about
    )  # fmt: skip
    apply(
        database,
        Evaluation(
            Kind.ALERT, now, "conservative", True, 40, findings,
            {"losing_interest": frozenset(about)},
            about=frozenset({SubjectKind.STUDENT, SubjectKind.SUBJECT}),
        ),
        run_id="by hand",
        active_tutors=[row[0] for row in database.execute("select tutor_id from marts.dim_tutors")],
    )  # fmt: skip


def some_events(database: Any) -> None:
    """Events of each state but those that wait, and requests that were not accepted."""
    states = {
        "applied": [[]] * 3,
        "quarantined": [["unknown_session"], ["unknown_session", "hourly_rate_out_of_range"],
                        ["x" * 70]],
        "unknown": [[]] * 2,
        "dead": [[]],
    }  # fmt: skip
    for state, each in states.items():
        for number, reasons in enumerate(each):
            database.execute(
                "insert into {ops}.event_inbox (source, event_id, received_at, state_at, type,"
                " body, digest, state, reasons, error) values ('shop', %s, now(), now(), %s,"
                " '{{\"secret\": 1}}', '', %s, %s, %s)",
                (f"{state} {number}", f"session.<b>{'o' * 45}" if state == "unknown" else "t",
                 state, reasons, "secret" if state == "dead" else None),
            )  # fmt: skip
    for source, reason in (("shop", "webhook-id is missing"), ("(unknown)", "n" * 90)):
        database.execute(
            "insert into {ops}.event_rejections (hour, source, reason, requests, last_at, last_id)"
            " values (date_trunc('hour', now()), %s, %s, 1200, now(), 'secret')",
            (source, reason),
        )


@dataclass
class Desk:
    """A desk that serves a database, and people who are signed in at it."""

    warehouse: Warehouse
    project: Project
    options: Options
    late: timedelta = field(default_factory=timedelta)

    def clock(self) -> datetime:
        return datetime.now(UTC) + self.late

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.options.port}"

    def secret(self, role: Role, name: str | None = None) -> str:
        """The cookie of somebody who is signed in."""
        name = name or role.value
        with self.warehouse.connect() as database:
            if name not in {row["name"] for row in accounts.listed(database)}:
                accounts.add(database, name, role, self.clock())
            return sign_ins.begin(database, name, self.clock())

    def person(self, role: Role | None, name: str | None = None, **options: Any) -> httpx.Client:
        """A client that is signed in, and sends forms as a page of the desk does."""
        cookies = {} if role is None else {self.options.cookie: self.secret(role, name)}
        return httpx.Client(
            base_url=self.url, cookies=cookies, headers={"Origin": self.url}, timeout=60, **options
        )

    def rows(self, text: str, *parameters: Any) -> list[dict[str, Any]]:
        with self.warehouse.connect() as database:
            return database.rows(text, parameters)

    def alert(self, where: str = "subject_kind = 'tutor' and resolved_at is null") -> str:
        """The id of an alert."""
        return str(self.rows(f"select alert_id from ops.alerts where {where} order by 1")[0][
            "alert_id"])  # fmt: skip

    def seen(self, alert_id: str) -> str:
        """An alert as a form names it, as somebody sees it who looks now."""
        number = self.rows(
            "select max(event_no) as n from ops.alert_events where alert_id = %s", alert_id
        )[0]["n"]
        return f"{alert_id}:{number}"

    def events(self, alert_id: str) -> list[tuple[str, str]]:
        return [
            (row["event"], row["actor"])
            for row in self.rows(
                "select event, actor from ops.alert_events where alert_id = %s order by event_no",
                alert_id,
            )
        ]


@contextmanager
def serving(desk: Desk) -> Iterator[Desk]:
    """Serves a desk from a thread."""
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(desk.warehouse, desk.options, desk.clock), host="127.0.0.1",
            port=desk.options.port, log_level="error", access_log=False, server_header=False,
        )
    )  # fmt: skip
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not server.started:
        assert thread.is_alive(), "the desk did not start"
        assert time.monotonic() < deadline, "the desk does not start"
        time.sleep(0.05)
    try:
        yield desk
    finally:
        server.should_exit = True
        thread.join(PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def computed(
    source: str, server_url: str, tmp_path_factory: pytest.TempPathFactory, zygote: Any
) -> Iterator[Project]:
    """A project with a copy of the computed platform."""
    name = f"desk_{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}_{os.urandom(4).hex()}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        with FileLock(Path(os.environ["TUTOR_TEST_HOME"]) / "desk_source.lock"):
            connection.execute(
                sql.SQL("create database {} template {} strategy file_copy").format(
                    sql.Identifier(name), sql.Identifier(source)
                )
            )
        url = server_url.removesuffix("/postgres") + f"/{name}"
        settings = {"TUTOR_RULE_PROFILE": "conservative"}
        yield Project(tmp_path_factory.mktemp("desk"), url, zygote, settings)
        for each in (name, f"{name}_dagster"):
            connection.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(each))
            )


@pytest.fixture(scope="module")
def desk(computed: Project) -> Iterator[Desk]:
    """The module's desk."""
    with serving(Desk(computed.warehouse, computed, Options("127.0.0.1", free_port()))) as served:
        yield served


@pytest.fixture
def as_before(desk: Desk, server_url: str) -> Iterator[None]:
    """What a test does to the database is undone."""

    def let_go() -> None:
        # A database that somebody uses can't be copied. The desk connects again.
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = %s",
                (desk.project.url.rsplit("/", 1)[1],),
            )

    let_go()
    with undone(server_url, desk.project.url):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while httpx.get(f"{desk.url}/readyz", timeout=PATIENCE_SECONDS).status_code != 200:
            assert time.monotonic() < deadline, "the desk finds its database no more"
            time.sleep(0.05)
        yield
    desk.late = timedelta()


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture
def ada(desk: Desk, as_before: None) -> Iterator[httpx.Client]:
    """A coach who is signed in."""
    with desk.person(Role.COACH, "ada") as client:
        yield client


@pytest.fixture(scope="session")
def chromium(starts_something: None) -> Iterator[Any]:
    """The system's Chromium. Skips where there is none."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"] if os.getuid() == 0 else []
        )
        yield browser
        browser.close()


@pytest.fixture
def browse(chromium: Any, desk: Desk) -> Iterator[Callable[..., Any]]:
    """`browse(role, …)` opens a page of a browser that is signed in. What a page says on the
    console fails the test.
    """
    contexts, said = [], []

    def open_page(role: Role | None = Role.COACH, name: str | None = None, **options: Any) -> Any:
        context = chromium.new_context(
            base_url=desk.url, **({"viewport": {"width": 1280, "height": 900}} | options)
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE_SECONDS * 1000)
        if role is not None:
            context.add_cookies(
                [{"name": desk.options.cookie, "value": desk.secret(role, name), "url": desk.url}]
            )
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        return page

    open_page.said = said  # type: ignore[attr-defined]
    yield open_page
    for context in contexts:
        context.close()
    assert said == []

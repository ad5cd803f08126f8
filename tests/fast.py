"""Tests that start nothing (`make test-fast`), and a guard that they don't.

Who starts PostgreSQL, dbt, Dagster, a server or a process asks for the fixture `starts_something`,
itself or through another fixture. With `--no-database` only the other tests run; one of them that
starts something after all fails, and says what.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import psycopg
import pytest

FIXTURE = "starts_something"
OPTION = "--no-database"
HARMLESS_PROGRAMS = {"file", "git", "ldconfig", "lint-imports", "lscpu", "sh", "sysctl", "uname"}
"""They read, and end at once; libraries ask some of them what machine this is."""

_REFUSED_EVENTS = {
    "os.fork": "a process",
    "os.posix_spawn": "a process",
    "socket.connect": "a connection",
    "sqlite3.connect": "an instance of Dagster, or another database",
}
"""What Python says through its audit hooks → what was started."""
_DBT = "dbt.cli.main"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        OPTION, action="store_true", help="run what starts no PostgreSQL, dbt, Dagster or server"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption(OPTION):
        config.pluginmanager.register(_Guard())


@pytest.fixture(scope="session")
def starts_something(request: pytest.FixtureRequest) -> None:
    """Asked for by whatever starts PostgreSQL, dbt, Dagster, a server or a process."""
    if request.config.getoption(OPTION):
        pytest.fail(f"{FIXTURE} was asked for while the test ran: name the fixture as a parameter")


class _Guard:
    """Leaves out who asks to start something, and fails who starts it without."""

    def __init__(self) -> None:
        self._is_watching = False
        self._started: list[str] = []
        # These no audit hook hears. (To bind is no sign: a library does it to look for IPv6.)
        psycopg.connect = psycopg.Connection.connect = self._connect  # type: ignore[method-assign]
        socket.socket.listen = self._listen  # type: ignore[method-assign]
        sys.addaudithook(self._audit)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        starting = [item for item in items if FIXTURE in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=starting)
        items[:] = [item for item in items if item not in starting]

    def pytest_collection_finish(self) -> None:
        if module := sys.modules.get(_DBT):  # a module of tests imported it, which runs nothing
            module.dbtRunner.invoke = self._invoke

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Iterator[None]:
        self._is_watching = True
        try:
            return (yield)
        finally:
            self._is_watching = False

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Iterator[None]:
        """What was refused is a failure also where somebody caught it."""
        try:
            return (yield)
        finally:
            started, self._started = self._started, []
            if started:
                pytest.fail(_said(", ".join(started)), pytrace=False)

    def _connect(self, *_: object, **__: object) -> NoReturn:
        self._refuse("a connection to PostgreSQL")

    def _listen(self, *_: object) -> NoReturn:
        self._refuse("a server")

    def _invoke(self, *_: object, **__: object) -> NoReturn:
        self._refuse("dbt")

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_watching:
            return
        if event == "subprocess.Popen":
            program = Path(arguments[0]).name
            if program not in HARMLESS_PROGRAMS:
                self._refuse(f"the program {program}")
        elif event == "import" and arguments[0] == _DBT:
            self._refuse("dbt")
        elif event in _REFUSED_EVENTS:
            self._refuse(_REFUSED_EVENTS[event])

    def _refuse(self, what: str) -> NoReturn:
        self._started.append(what)
        pytest.fail(_said(what))


def _said(what: str) -> str:
    return f"it started {what}: who starts something asks for the fixture {FIXTURE} (tests/fast.py)"

"""The command line as users run it: a process of its own, a real database, a home of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import undone
from tutor_pipeline.core.warehouse.database import Schemas, Warehouse

COMMAND = [sys.executable, "-c", "from tutor_pipeline.cli import main; main()"]
ZYGOTE = Path(__file__).with_name("zygote.py")


class Zygote:
    """Runs commands one after the other, each in a fork of a process that imported its modules."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, str(ZYGOTE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(
        self,
        arguments: list[str],
        environment: dict[str, str],
        *,
        program: str = "tutor-pipeline",
        folder: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run `tutor-pipeline` or `dbt` in a folder (None = that of the tests)."""
        paths = {name: self._folder / name for name in ("stdout", "stderr")}
        for path in paths.values():
            path.write_text("", encoding="utf-8")
        request = {
            "program": program,
            "arguments": arguments,
            "env": environment,
            "folder": str(folder or Path.cwd()),
        }
        request |= {name: str(path) for name, path in paths.items()}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        out, err = (path.read_text(encoding="utf-8") for path in paths.values())
        return subprocess.CompletedProcess(arguments, status, out, err)

    def stop(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory, starts_something: None) -> Iterator[Zygote]:
    zygote = Zygote(tmp_path_factory.mktemp("zygote"))
    yield zygote
    zygote.stop()


@dataclass
class Project:
    """One user's project: environment, database, and the command run in it."""

    home: Path
    url: str
    zygote: Zygote
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "COLUMNS": "200",
            "TUTOR_HOME": str(self.home),
            "TUTOR_DATABASE_URL": self.url,
            **self.settings,
        }

    @property
    def warehouse(self) -> Warehouse:
        return Warehouse(
            self.url,
            Schemas(
                self.settings.get("TUTOR_SCHEMA_PREFIX", ""),
                self.settings.get("TUTOR_PLATFORM_SCHEMA", "platform"),
            ),
        )

    def run(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run the command, expecting an exit status."""
        result = self.zygote.run(list(arguments), self.environment)
        assert result.returncode == status, (
            f"{arguments} exited {result.returncode}, not {status}\n{result.stdout}{result.stderr}"
        )
        return result

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self.environment,
        )

    def json(self, *arguments: str, status: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", status=status).stdout)

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(sql, parameters or None).fetchall()

    def execute(self, sql: str) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(sql)


@pytest.fixture(scope="module")
def new_project(
    databases: Any, tmp_path_factory: pytest.TempPathFactory, zygote: Zygote
) -> Iterator[Callable[..., Project]]:
    """Make projects, each with an empty database beside which Dagster makes its own.

    The first of a module has the name of the first of any other, and so on: what dbt parsed holds
    for one name of a database, and is there for the next module.
    """
    made: list[Project] = []
    worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
    parsed = Path(os.environ["TUTOR_TEST_HOME"]) / "parsed"

    def make(**settings: str) -> Project:
        name = f"project_{worker}_{len(made)}"
        url = databases.create(name, migrated=False)
        project = Project(tmp_path_factory.mktemp("a home "), url, zygote, settings)
        made.append(project)
        if (parsed / name).exists():
            shutil.copytree(parsed / name, project.home / "dbt" / "target")
        return project

    yield make
    for project in made:
        databases.adopt(f"{project.url}_dagster")
        target, name = project.home / "dbt" / "target", project.url.rsplit("/", 1)[1]
        if (target / "manifest.stamp").exists() and not (parsed / name).exists():
            shutil.copytree(target, parsed / name)


@pytest.fixture
def as_it_was(project: Project, server_url: str) -> Iterator[None]:
    """What a test does to the module's project is undone: its order among the others is free."""
    with undone(server_url, project.url):
        yield


@pytest.fixture(scope="module")
def project(new_project: Callable[..., Project]) -> Project:
    """The module's project."""
    return new_project()

"""One embedded PostgreSQL server per test run; a fresh database per test module.

All workers of a parallel run share the server: the first one starts it, the run's controller
stops it and removes its folder. A module's database is cloned from a migrated template.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from filelock import FileLock
from hypothesis import HealthCheck, settings
from psycopg import sql
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from tutor_pipeline.core.warehouse import marked_schemas, migrate
from tutor_pipeline.core.warehouse.database import Database, Schemas, Warehouse
from tutor_pipeline.core.warehouse.embedded import EmbeddedServer
from tutor_pipeline.core.warehouse.platform import ensure_platform

pytest_plugins = ["tests.fast", "tests.parts"]

# Nothing fails because the machine is busy, and what failed can be run again from what it prints.
# On a CI server the examples are the same each time: there only a change makes a test fail.
settings.register_profile(
    "tutor_pipeline",
    deadline=None,
    print_blob=True,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tutor_pipeline")

_HOME = "TUTOR_TEST_HOME"
_TEMPLATE = "template_migrated"


def pytest_configure(config: pytest.Config) -> None:
    for name in [key for key in os.environ if key.startswith("TUTOR_") and key != _HOME]:
        del os.environ[name]  # a developer's own settings must not reach the tests
    if not hasattr(config, "workerinput"):
        # Everyone may enter: as root, the server runs as another user.
        home = Path(tempfile.mkdtemp(prefix="tutor-test-"))
        home.chmod(0o755)
        os.environ[_HOME] = str(home)
    # What a test loads in this process must not use the developer's own home either.
    os.environ["TUTOR_HOME"] = os.environ[_HOME]


def pytest_unconfigure(config: pytest.Config) -> None:
    # It is not set when an option was refused.
    if not hasattr(config, "workerinput") and _HOME in os.environ:
        home = Path(os.environ.pop(_HOME))
        EmbeddedServer(home).stop()
        shutil.rmtree(home, ignore_errors=True)


def _same_environment() -> Iterator[None]:
    before = dict(os.environ)
    yield
    # Only what differs: other threads may read the environment meanwhile. pytest keeps its own.
    for name in {*before, *os.environ} - {"PYTEST_CURRENT_TEST"}:
        if name not in before:
            del os.environ[name]
        elif os.environ.get(name) != before[name]:
            os.environ[name] = before[name]


# A command that runs in this process sets variables; no other test may see them.
each_module_leaves_the_environment = pytest.fixture(scope="module", autouse=True)(_same_environment)
each_test_leaves_the_environment = pytest.fixture(autouse=True)(_same_environment)


@pytest.fixture(scope="session")
def server_url(starts_something: None) -> str:
    """URL of the run's server, on its maintenance database."""
    home = Path(os.environ[_HOME])
    server = EmbeddedServer(home)
    server.ensure_running()
    with FileLock(home / "template.lock"):
        url = server.url(_TEMPLATE)
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            if not connection.execute(
                "select 1 from pg_database where datname = %s", (_TEMPLATE,)
            ).fetchone():
                # The server goes with the run: nothing of it has to outlive a power cut.
                for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                    connection.execute(f"alter system set {setting} = off")
                connection.execute("select pg_reload_conf()")
                connection.execute(f"create database {_TEMPLATE}")
                migrate.upgrade(Warehouse(url))
    return server.url("postgres")


class Databases:
    """Makes databases on the run's server and drops them at the end of the module."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._names: list[str] = []

    def create(self, name: str | None = None, *, migrated: bool = True) -> str:
        """URL of a new database: a clone of the migrated template, or an empty one."""
        name = name or f"test_{uuid4().hex[:12]}"
        template = _TEMPLATE if migrated else "template1"
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("create database {} template {} strategy file_copy").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
        self._names.append(name)
        return self._server_url.removesuffix("/postgres") + f"/{name}"

    def adopt(self, url: str) -> None:
        """Drop this database too, which somebody else made."""
        self._names.append(url.rsplit("/", 1)[1])

    def drop_all(self) -> None:
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            for name in self._names:
                connection.execute(
                    sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
                )


@contextmanager
def undone(server_url: str, url: str) -> Iterator[None]:
    """What happens to the database `url` of this server meanwhile is undone."""
    name = url.rsplit("/", 1)[1]

    def administer(*statements: str) -> None:
        with psycopg.connect(server_url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    administer(
        f"drop database if exists {name}_kept with (force)",
        f"create database {name}_kept template {name} strategy file_copy",
    )
    try:
        yield
    finally:
        administer(
            f"drop database {name} with (force)", f"alter database {name}_kept rename to {name}"
        )


@pytest.fixture(scope="module")
def databases(server_url: str) -> Iterator[Databases]:
    databases = Databases(server_url)
    yield databases
    databases.drop_all()


@pytest.fixture(scope="module")
def warehouse(databases: Databases) -> Warehouse:
    """A fresh database with our schemas, of this module alone."""
    return Warehouse(databases.create(), Schemas())


@pytest.fixture(scope="module")
def platform_warehouse(warehouse: Warehouse) -> Warehouse:
    """The module's database with an empty platform schema in it."""
    with warehouse.connect() as connection:
        ensure_platform(connection)
    return warehouse


@pytest.fixture(scope="session")
def move() -> Callable[[Warehouse, str], None]:
    """`move(warehouse, revision)` brings a database to any revision, up or down."""

    def move(warehouse: Warehouse, revision: str) -> None:
        engine = create_engine(
            "postgresql+psycopg://",
            creator=lambda: warehouse.connect().connection,
            poolclass=NullPool,
        )
        configuration = Config()
        configuration.set_main_option("script_location", str(migrate.MIGRATIONS))
        with engine.begin() as connection:
            raw = connection.connection.dbapi_connection
            for schema in warehouse.schemas.ours:
                marked_schemas.ensure_marked_schema(raw, schema)
            is_back = revision < (migrate.current(Database(raw, warehouse)) or "")
            configuration.attributes.update(connection=connection, schemas=warehouse.schemas)
            (command.downgrade if is_back else command.upgrade)(configuration, revision)

    return move

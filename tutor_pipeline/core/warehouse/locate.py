"""Finds PostgreSQL: the user's server, or the embedded one, which it starts if needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Schemas, Warehouse
from tutor_pipeline.core.warehouse.embedded import DAGSTER_DATABASE, EmbeddedServer

MINIMUM_VERSION = 14


@dataclass(frozen=True, slots=True)
class Located:
    """The pipeline's database and the URL of Dagster's own."""

    warehouse: Warehouse
    dagster_url: str = field(repr=False)
    is_embedded: bool


def locate(
    home: Path,
    database_url: str | None,
    dagster_url: str | None,
    schemas: Schemas,
    timezone: str,
    platform_timezone: str,
    progress: Callable[[str], None] = lambda _: None,
) -> Located:
    """Finds the databases, and starts the embedded server when none is configured.

    Raises TutorPipelineError: the server is unreachable or too old, or Dagster's database cannot be
    created.
    """
    embedded = EmbeddedServer(home, progress)
    url = database_url or embedded.ensure_running()
    warehouse = Warehouse(url, schemas, timezone, platform_timezone)
    if database_url is None:
        dagster_url = dagster_url or embedded.url(DAGSTER_DATABASE)
        return Located(warehouse, _for_sqlalchemy(dagster_url), True)
    _check_version(warehouse)
    if dagster_url is None:
        dagster_url = _beside(url)
        _ensure_database(warehouse, dagster_url)
    return Located(warehouse, _for_sqlalchemy(dagster_url), _is_embedded(embedded, url))


def _is_embedded(embedded: EmbeddedServer, url: str) -> bool:
    # After `eval "$(tutor-pipeline env)"`, TUTOR_DATABASE_URL names the embedded server.
    status = embedded.status()
    return status.running and conninfo_to_dict(url).get("port") == str(status.port)


def _check_version(warehouse: Warehouse) -> None:
    with warehouse.connect() as database:
        version = database.info.server_version // 10_000
    if version < MINIMUM_VERSION:
        raise TutorPipelineError(
            f"{warehouse.masked_url} is PostgreSQL {version}; {MINIMUM_VERSION} or newer is needed."
        )


def _beside(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path}_dagster"))


def _for_sqlalchemy(url: str) -> str:
    """Returns a URL that SQLAlchemy, which Dagster uses, and libpq read alike.

    SQLAlchemy takes one host and one port, and the database's name as it is written. All of that
    may stand in the query instead.
    """
    parts = urlsplit(url)
    if "," not in parts.netloc and "%" not in parts.path:
        return url
    return f"postgresql:///?{urlencode(conninfo_to_dict(url), quote_via=quote)}"


def _ensure_database(warehouse: Warehouse, url: str) -> None:
    """Creates Dagster's database if it is missing. Two processes may do this at once."""
    name = str(conninfo_to_dict(url)["dbname"])
    with warehouse.connect(autocommit=True) as database:
        if database.value("select 1 from pg_database where datname = %s", (name,)):
            return
        try:
            database.execute(database.sql("create database {name}", name=sql.Identifier(name)))
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            return
        except psycopg.errors.InsufficientPrivilege as error:
            raise TutorPipelineError(
                f'Dagster keeps its runs in a database of its own, "{name}", which this user may'
                f" not create.\nHave it created (create database {name}) or set"
                " TUTOR_DAGSTER_DATABASE_URL to one that is there."
            ) from error

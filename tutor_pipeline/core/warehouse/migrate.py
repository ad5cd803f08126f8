"""Brings our schemas up to date: creates and marks them, then runs the migrations.

A schema that we made has a mark in its comment. A schema of the same name without the mark belongs
to somebody else, and is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import psycopg
from psycopg import sql

from tutor_pipeline.core.errors import RefusedError, TutorPipelineError
from tutor_pipeline.core.warehouse import reporting
from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.core.warehouse.marked_schemas import (
    ensure_marked_schema,
    refuse_foreign_schema,
    schema_mark,
)

MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 7_455_370_001
"""Advisory lock: two processes never migrate the same database at once."""


def head() -> str:
    """Returns the newest migration's revision, from file names, without importing Alembic."""
    return max(path.name for path in (MIGRATIONS / "versions").glob("[0-9]*.py")).split("_")[0]


def current(database: Database) -> str | None:
    """Returns the revision of this database, None before the first migration."""
    name = f"{sql.Identifier(database.schemas.ops, 'alembic_version').as_string(None)}"
    if database.value("select to_regclass(%s)", (name,)) is None:
        return None
    revision: str | None = database.value("select version_num from {ops}.alembic_version")
    return revision


def upgrade(warehouse: Warehouse) -> bool:
    """Migrates to the newest revision. Returns True when something changed.

    Raises RefusedError: the name of one of our schemas is taken, or the database is newer than this
    program. Raises TutorPipelineError if this role may not migrate.
    """
    with warehouse.connect() as database:
        connection = database.connection
        for schema in warehouse.schemas.ours:
            refuse_foreign_schema(connection, schema)
        before = current(database)
        # dbt would create a missing schema without our mark.
        missing = [
            schema for schema in warehouse.schemas.ours if schema_mark(connection, schema) is None
        ] or reporting.is_due(database)
    if before == head() and not missing:
        return False
    if before is not None and before > head():
        raise RefusedError(
            f"the database {warehouse.masked_url} is at migration {before}, this program knows"
            f" only up to {head()}.\nUpdate the program; an older one must not write there."
        )
    try:
        _migrate(warehouse)
    except Exception as error:
        # SQLAlchemy wraps the errors of Alembic's connection.
        cause = getattr(error, "orig", error)
        if not isinstance(cause, psycopg.errors.InsufficientPrivilege):
            raise
        said = str(cause).strip().splitlines()[0]
        if before is None:
            raise TutorPipelineError(
                f"this role may not make the pipeline's schemas in {warehouse.masked_url}: {said}\n"
                "Have `deploy/roles.sql` run, which makes them, or the right granted: grant create"
                " on database … to …"
            ) from None
        raise TutorPipelineError(
            f"the schemas in {warehouse.masked_url} are not up to date, and this role may not"
            f" change them: {said}\n"
            "Run `tutor-pipeline status` once as the pipeline's own role."
        ) from None
    return True


def _migrate(warehouse: Warehouse) -> None:
    # Importing Alembic takes half a second, and it is rarely needed.
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: warehouse.connect().connection, poolclass=NullPool
    )
    configuration = Config()
    configuration.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"select pg_advisory_xact_lock({_LOCK})")
        raw = cast("psycopg.Connection[Any]", connection.connection.dbapi_connection)
        for schema in warehouse.schemas.ours:
            ensure_marked_schema(raw, schema)
        configuration.attributes.update(connection=connection, schemas=warehouse.schemas)
        command.upgrade(configuration, "head")

"""Schemas that we made: each has a mark in its comment, so that nobody else's is written to."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from tutor_pipeline.core.errors import RefusedError

MARK = "Made by tutor-pipeline"
"""How the comment of a schema begins that we made."""


def ensure_marked_schema(
    connection: psycopg.Connection[Any], schema: str, *, what: str = MARK
) -> bool:
    """Creates the schema with our mark. Returns True when it did not exist.

    Raises RefusedError when a schema of that name exists without our mark.
    """
    owner = schema_mark(connection, schema)
    if owner is None:
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))
        connection.execute(
            sql.SQL("comment on schema {} is {}").format(sql.Identifier(schema), sql.Literal(what))
        )
        return True
    refuse_foreign_schema(connection, schema)
    return False


def refuse_foreign_schema(connection: psycopg.Connection[Any], schema: str) -> None:
    """Raises RefusedError when a schema of that name exists without our mark."""
    owner = schema_mark(connection, schema)
    if owner is not None and not owner.startswith(MARK):
        raise RefusedError(
            f'the schema "{schema}" in this database was not made by tutor-pipeline, so nothing is'
            " written to it.\nSet TUTOR_SCHEMA_PREFIX (for instance TUTOR_SCHEMA_PREFIX=tutor_) to"
            " give ours other names, or use another database."
        )


def schema_mark(connection: psycopg.Connection[Any], schema: str) -> str | None:
    """Returns the schema's comment ('' without one), None if there is no such schema."""
    row = connection.execute(
        "select coalesce(obj_description(oid, 'pg_namespace'), '')"
        " from pg_namespace where nspname = %s",
        (schema,),
    ).fetchone()
    return None if row is None else str(row[0])

"""The schema `reporting`: a view per mart and per table of findings, for the readers of others.

Its views keep their names and the order of their columns, whatever happens to the tables behind
them; so what others build on them survives refreshes and upgrades. dbt's materializations show the
marts, a migration shows the findings. Where a schema of that name belongs to somebody else, there
are no views.
"""

from __future__ import annotations

from psycopg import sql

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.marked_schemas import (
    MARK,
    ensure_marked_schema,
    schema_mark,
)
from tutor_pipeline.core.warehouse.statements import statement

_SINCE = "0018"
_FUNCTIONS = (
    "show_in_reporting(regclass, text)",
    "columns_of_both(regclass, regclass)",
    "lock_at_once(regclass, text)",
    "view_in_reporting(regclass, text)",
    "copy_grants(regclass, regclass)",
    "has_columns_of(regclass, regclass)",
    "built_by_others(regclass, text)",
    "reporting_of_ours(text)",
)
FINDINGS = (
    "alerts",
    "alert_events",
    "alert_history",
    "tutors_needing_attention",
    "tutor_insights",
    "achievements",
    "current_tutor_risk",
    "tutor_student_churn",
    "tutor_scores",
    "tutor_health",
    "student_scores",
    "student_health",
)
"""Tables and views of `ops` that have a view in `reporting`."""


def take_back(database: Database) -> None:
    """Makes the views of the findings independent of their tables, so that a migration may change
    these. What others built on the views stays.
    """
    if not is_ours(database):
        return
    for view in database.rows(
        statement(__file__, "views_without_tables"),
        {"schema": _quoted(database), "names": list(FINDINGS)},
    ):
        database.execute(
            sql.SQL("create or replace view {}.{} as select {} where false").format(
                sql.Identifier(database.schemas.reporting),
                sql.Identifier(view["relname"]),
                sql.SQL(view["columns"]),
            )
        )


def show(database: Database, revision: str | None) -> None:
    """Makes the schema, brings the functions in `ops` up to date and points the views at the
    findings. A revision before all that has none of it.
    """
    if revision is None or revision < _SINCE:
        _remove(database)
        return
    if may_be_made(database):
        ensure_marked_schema(database.connection, database.schemas.reporting)
    database.execute(statement(__file__, "readers"))
    for name in FINDINGS:
        database.execute(
            "select {ops}.show_in_reporting(%s::regclass, %s)",
            (
                sql.Identifier(database.schemas.ops, name).as_string(None),
                database.schemas.reporting,
            ),
        )


def _remove(database: Database) -> None:
    if is_ours(database):
        database.execute(
            sql.SQL("drop schema {} cascade").format(sql.Identifier(database.schemas.reporting))
        )
    for function in _FUNCTIONS:
        database.execute(f"drop function if exists {{ops}}.{function}")


def may_be_made(database: Database) -> bool:
    """Returns whether the schema is missing and this role may make it. Where it may not, or the
    schema is somebody else's, there are no views, and everything else works.
    """
    return bool(
        database.value(
            "select to_regnamespace(%s) is null"
            " and has_database_privilege(current_database(), 'create')",
            (_quoted(database),),
        )
    )


def is_due(database: Database) -> bool:
    """Returns whether views are missing that this role may make: a restore left them out."""
    if may_be_made(database):
        return True
    found = database.one(
        "select pg_has_role(nspowner, 'usage') as is_owner, (select count(*) from pg_class"
        " where relnamespace = pg_namespace.oid and relname = any(%s)) as views"
        " from pg_namespace where nspname = %s",
        (list(FINDINGS), database.schemas.reporting),
    )
    return (
        found is not None
        and found["is_owner"]
        and found["views"] < len(FINDINGS)
        and is_ours(database)
    )


def described(database: Database) -> str:
    """Returns the name of the schema, or why there are no views for readers."""
    name = database.schemas.reporting
    if is_ours(database):
        return name
    if schema_mark(database.connection, name) is None:
        return f"none: this role may not make the schema {name} (deploy/roles.sql makes it)"
    return f"none: a schema {name} of somebody else is there (set TUTOR_REPORTING_SCHEMA)"


def is_ours(database: Database) -> bool:
    """Returns whether the schema is there and was made by us."""
    mark = schema_mark(database.connection, database.schemas.reporting)
    return (mark or "").startswith(MARK)


def _quoted(database: Database) -> str:
    return sql.Identifier(database.schemas.reporting).as_string(None)

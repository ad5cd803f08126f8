"""Counts the platform's rows that name a person, and erases them where we made the platform.

The contract says which columns hold ids of people: `tutor_id` and `student_id` in any table, and
the keys of users, tutors and students. Other columns are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import psycopg
from psycopg import sql

from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.marked_schemas import MARK, schema_mark
from tutor_pipeline.core.warehouse.personal_data import Person, Role
from tutor_pipeline.core.warehouse.platform import has_session_students
from tutor_pipeline.sources.contract import Contract
from tutor_pipeline.sources.relations import read_columns, shown

_COLUMNS = """
    select c.relname, a.attname, has_column_privilege(a.attrelid, a.attnum, 'select')
    from pg_class as c
    join pg_attribute as a on a.attrelid = c.oid
    join pg_namespace as n on n.oid = c.relnamespace
    where n.nspname = %s and c.relkind in ('r', 'p', 'v', 'm', 'f')
        and a.attnum > 0 and not a.attisdropped
"""


def named_in(database: Database, contract: Contract, person: Person) -> dict[str, int]:
    """Returns {table: rows} of the platform that name the person. Only reads.

    Raises RefusedError if it may not read a column that may name them.
    """
    wanted = list(_columns_of(contract, person.role))
    there = read_columns(database, dict.fromkeys(table for table, _ in wanted))
    found = {}
    for table, column in wanted:
        if column not in there.get(table, {}):
            continue
        # Compare as text, as staging does: the platform's ids may be uuids or numbers.
        query = database.sql(
            "select count(*) from {rows} as r where {column}::text = %s",
            rows=database.warehouse.platform_table(table),
            column=sql.Identifier(column),
        )
        try:
            with database.transaction():
                rows = database.value(query, (person.id,))
        except psycopg.errors.InsufficientPrivilege as error:
            raise RefusedError(
                f"{shown(database.warehouse, table)}.{column} may not be read, so nobody knows"
                f" whether the platform still names that {person.role}: ask its owner to grant"
                " select on it"
            ) from error
        if rows:
            found[shown(database.warehouse, table)] = int(rows)
    return found


def _columns_of(contract: Contract, role: Role) -> Iterator[tuple[str, str]]:
    keys = {("users", "id"), (f"{role}s", "user_id")}
    for table in contract.tables:
        for column in table.columns:
            if column.name == f"{role}_id" or (table.name, column.name) in keys:
                yield table.name, column.name


def with_sessions_of_ours(database: Database, person: Person) -> Person:
    """Returns the person with the sessions that a platform schema says are theirs, which we made:
    no refresh may have read them yet. Those that another tutor has by now are not a tutor's.
    """
    if person.role is Role.STUDENT:
        found = database.execute(
            "select id from {platform}.sessions where student_id = %s", (person.id,)
        ).fetchall()
        if has_session_students(database):
            found += database.execute(
                "select session_id from {platform}.session_students where student_id = %s",
                (person.id,),
            ).fetchall()
        return replace(person, lessons=person.lessons | {session for (session,) in found})
    owners = dict(
        database.execute(
            "select id, tutor_id from {platform}.sessions where tutor_id = %s or id = any(%s)",
            (person.id, list(person.sessions)),
        ).fetchall()
    )
    theirs = {session for session, tutor in owners.items() if tutor == person.id}
    return replace(person, sessions=(person.sessions - owners.keys()) | theirs)


def erase_from_ours(database: Database, contract: Contract, person: Person) -> dict[str, int]:
    """Erases the person from a platform schema that we made, and from the truth of a synthetic one,
    in the open transaction. Returns {table: rows deleted or changed}.

    Deletes a tutor's sessions with all their measurements. A student's sessions also belong to
    their tutors: they stay, without the student's id, words and texts.
    """
    schema = database.schemas.platform
    # A schema from an earlier version may lack tables.
    there = {table for table, *_ in database.execute(_COLUMNS, (schema,))}
    erased: dict[str, int] = {}

    def run(table: str, statement: str, times: int = 1) -> None:
        if table not in there:
            return
        rows = database.execute(
            database.sql(
                statement,
                table=sql.Identifier(schema, table),
                whose=sql.Identifier(f"{person.role}_id"),
            ),
            (person.id,) * times,
        ).rowcount
        if rows:
            erased[f"{schema}.{table}"] = erased.get(f"{schema}.{table}", 0) + rows

    theirs = "session_id in (select id from {platform}.sessions where {whose} = %s)"
    # Before the sessions are deleted: `theirs` reads them.
    if person.role is Role.TUTOR:
        for table in contract.tables:
            if any(column.name == "session_id" for column in table.columns):
                run(table.name, f"delete from {{table}} where {theirs}")
    else:
        run("session_transcript_highlights", f"delete from {{table}} where {theirs}")
        run(
            "session_feedback",
            "update {table} set feedback_text = null"
            f" where feedback_text is not null and {theirs}",
        )
        if "session_students" in there:
            listed = (
                "session_id in (select session_id from {platform}.session_students"
                " where student_id = %s)"
            )
            run(
                "session_feedback",
                "update {table} set feedback_text = null"
                f" where feedback_text is not null and {listed}",
            )
            # Else the lesson of who came alone would be one to which nobody came.
            run(
                "session_students",
                f"delete from {{table}} as listed where {listed} and not exists (select 1 from"
                " {table} as other where other.session_id = listed.session_id"
                " and other.student_id <> %s and other.attended is distinct from false)",
                times=2,
            )
        run(
            "sessions",
            "update {table} set student_id = null, reschedule_reason = null where {whose} = %s",
        )
    for name, column in _columns_of(contract, person.role):
        run(name, f"delete from {{table}} where {column} = %s")
    return erased | _erase_from_truth(database, person)


def _erase_from_truth(database: Database, person: Person) -> dict[str, int]:
    schema = database.schemas.truth
    if not (schema_mark(database.connection, schema) or "").startswith(MARK):
        return {}
    erased: dict[str, int] = {}
    for table, column, _ in database.execute(_COLUMNS, (schema,)).fetchall():
        if column.endswith(f"{person.role}_id"):  # also from_tutor_id
            rows = database.execute(
                database.sql(
                    "delete from {truth}.{table} where {column} = %s",
                    table=sql.Identifier(table),
                    column=sql.Identifier(column),
                ),
                (person.id,),
            ).rowcount
            if rows:
                erased[f"{schema}.{table}"] = erased.get(f"{schema}.{table}", 0) + rows
    return erased

"""The platform schema that we make ourselves, for `generate` and `import`.

The schema of a live platform is only read: writing to a schema without our mark is refused.
"""

from __future__ import annotations

from collections.abc import Callable

from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.core.formatting import moment
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.marked_schemas import MARK, ensure_marked_schema, schema_mark
from tutor_pipeline.core.warehouse.statements import statement

_TABLES = statement(__file__, "platform")
_SESSION_STUDENTS = statement(__file__, "session_students")
_LOCK = "platform"
# What other roles do is not shown to everybody.
_HOLDER = """
    select
        coalesce(nullif(activity.application_name, ''), 'another process') as name,
        host(activity.client_addr) as client,
        activity.xact_start as since
    from pg_locks as locks
    inner join pg_stat_activity as activity on locks.pid = activity.pid
    where
        locks.locktype = 'advisory' and locks.granted and locks.objsubid = 1
        and locks.classid::bigint << 32 | locks.objid::bigint = hashtextextended(%s, 0)
        and locks.database = (select oid from pg_database where datname = current_database())
        and activity.xact_start is not null
"""


def is_ours(database: Database) -> bool:
    """Whether we made the platform schema."""
    return (schema_mark(database.connection, database.schemas.platform) or "").startswith(MARK)


def ensure_platform(database: Database, on_wait: Callable[[str], None] = lambda _: None) -> None:
    """Creates the platform's schema and tables in the open transaction, unless they exist.

    Until that ends nobody else writes to the platform. Calls `on_wait` once, with a sentence that
    names the other, when another process does. Raises RefusedError when a schema of that name
    exists and is not ours.
    """
    refuse_mapping(database)
    schema = database.schemas.platform
    mark = schema_mark(database.connection, schema)
    if mark is not None and not mark.startswith(MARK):
        raise RefusedError(
            f'the schema "{schema}" of {database.warehouse.masked_url} is a platform\'s own:'
            " nothing is ever written to it.\nTo load data here, unset TUTOR_PLATFORM_SCHEMA or"
            " name a schema that does not exist yet."
        )
    # Two processes may do this at once: the second waits here, then finds the tables.
    if not database.lock(_LOCK, schema=schema, wait=False):
        on_wait(_waits_for(database))
        database.lock(_LOCK, schema=schema)
    if ensure_marked_schema(database.connection, schema):
        database.execute(_TABLES)


def reserve(database: Database) -> bool:
    """Keeps everybody else from writing to the platform until the transaction ends. Returns False
    while another process writes to it.
    """
    return database.lock(_LOCK, schema=database.schemas.platform, wait=False)


def who_writes(database: Database) -> str | None:
    """Returns who writes to the platform, and since when, as the beginning of a sentence; None:
    nobody.
    """
    holder = database.one(_HOLDER, (f"{database.schemas.platform}.{_LOCK}",))
    if holder is None:
        return None
    where = f" from {holder['client']}" if holder["client"] else ""
    return (
        f"{holder['name']}{where} has been writing to the platform since {moment(holder['since'])}"
    )


def has_session_students(database: Database) -> bool:
    """Whether the platform says who takes part in a session."""
    found = "select to_regclass(quote_ident(%s) || '.session_students') is not null"
    return bool(database.value(found, (database.schemas.platform,)))


def ensure_session_students(database: Database) -> None:
    """Creates the table of who takes part in a session in the platform that is ours."""
    database.execute(_SESSION_STUDENTS)


def refuse_mapping(database: Database) -> None:
    """Raises RefusedError where a mapping reads the tables of a platform of its own: what is
    written under the contract's names would not be read.
    """
    if database.warehouse.source is not None:
        raise RefusedError(
            "TUTOR_SOURCE_MAP names the tables of a platform of its own: nothing is ever written"
            " to it.\nTo load data here, unset TUTOR_SOURCE_MAP."
        )


def _waits_for(database: Database) -> str:
    who = who_writes(database) or "Another process is writing to the platform"
    return f"{who}; waiting for it to finish"

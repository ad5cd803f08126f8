"""Masks a person in Dagster's own database: events, samples of checks, run configs, sensor ticks.

Events are masked and not deleted with their runs: the UI reads the materialized tables and days
from them, and a run names many people. Dagster has no API to change what it has written, so this is
SQL on its tables; Dagster's version is pinned.
"""

from __future__ import annotations

import json
from typing import Any

import psycopg
from psycopg import sql

from tutor_pipeline.core.warehouse.personal_data import Person

_TEXTS = {
    "event_logs": "event",
    "asset_check_executions": "evaluation_event",
    "asset_keys": "last_materialization",
    "runs": "run_body",
    "run_tags": "value",
    "bulk_actions": "body",
    "job_ticks": "tick_body",
}
"""Table → column that may hold an id of a person. Each table has a column `id`."""

_BATCH = 500


def mask_history(
    connection: psycopg.Connection[Any], person: Person, *, write: bool = True
) -> dict[str, int]:
    """Masks a person in Dagster's own database. Returns {table: rows}; `write` False only counts.

    `connection` is to that database; each table is one transaction. Skips rows that Dagster changes
    meanwhile; the next call finds them.
    """
    masked = {}
    for table, column in _TEXTS.items():
        if rows := _mask(connection, table, column, person, write):
            masked[table] = rows
    return masked


def runs_in_progress(connection: psycopg.Connection[Any]) -> int:
    """Returns how many runs may still write data from before an erasure."""
    if not _exists(connection, "runs"):
        return 0
    (runs,) = connection.execute(
        "select count(*) from runs where status in ('STARTED', 'STARTING', 'CANCELING')"
    )
    return int(runs[0])


def _exists(connection: psycopg.Connection[Any], table: str) -> bool:
    """Whether the table exists; before Dagster's first run it does not."""
    ((found,),) = connection.execute("select to_regclass(%s) is not null", (table,))
    return bool(found)


def _mask(
    connection: psycopg.Connection[Any], table: str, column: str, person: Person, write: bool
) -> int:
    if not _exists(connection, table):
        return 0
    names = {"table": sql.Identifier(table), "column": sql.Identifier(column)}
    change = sql.SQL("update {table} set {column} = %s where id = %s and {column} = %s")
    changed = 0
    with connection.transaction(), connection.cursor("masking") as cursor:
        cursor.itersize = _BATCH
        cursor.execute(
            sql.SQL(
                "select id, {column} from {table} where exists ("
                "select 1 from unnest(%s::text[]) as form where position(form in {column}) > 0)"
            ).format(**names),
            (list(person.forms),),
        )
        for id_, text in cursor:
            masked = _masked(text, person)
            if masked == text:
                continue
            if write:
                connection.execute(change.format(**names), (masked, id_, text))
            changed += 1
    return changed


def _masked(text: str, person: Person) -> str:
    """Returns the text with the person masked. JSON stays valid JSON."""
    try:
        value = json.loads(text)
    except ValueError:
        return str(person.masked(text))
    masked = person.masked(value)
    return text if masked == value else json.dumps(masked)

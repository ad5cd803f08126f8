"""A person in what Dagster remembers of runs: what changed, samples of checks, what a run was asked
to do, what a sensor said.

Events are masked in place and not deleted with their runs: the UI reads from them which tables and
days were made, and a run names many people. Dagster offers no way to change what it has written, so
this is SQL on its tables, as `housekeeping` has some; its version is pinned.
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
"""Where an id may stand: table and column. Each has a column `id`."""

_BATCH = 500


def mask_history(
    connection: psycopg.Connection[Any], person: Person, *, write: bool = True
) -> dict[str, int]:
    """Mask a person in Dagster's own database; {table: rows}. `write` False: only count them.

    `connection` is to that database; a transaction per table. A row that Dagster has written anew
    meanwhile is left alone, to be found the next time.
    """
    masked = {}
    for table, column in _TEXTS.items():
        if rows := _mask(connection, table, column, person, write):
            masked[table] = rows
    return masked


def runs_in_progress(connection: psycopg.Connection[Any]) -> int:
    """How many runs may yet write what they found before a person was erased."""
    there = connection.execute("select to_regclass('runs')").fetchone()
    if there is None or there[0] is None:
        return 0
    row = connection.execute(
        "select count(*) from runs where status in ('STARTED', 'STARTING', 'CANCELING')"
    ).fetchone()
    assert row is not None
    return int(row[0])


def _mask(
    connection: psycopg.Connection[Any], table: str, column: str, person: Person, write: bool
) -> int:
    there = connection.execute("select to_regclass(%s)", (table,)).fetchone()
    if there is None or there[0] is None:
        return 0  # before Dagster has run
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
    """JSON stays JSON: its texts are masked one by one."""
    try:
        value = json.loads(text)
    except ValueError:
        return str(person.masked(text))
    masked = person.masked(value)
    return text if masked == value else json.dumps(masked)

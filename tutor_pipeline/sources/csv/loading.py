"""Writes the good rows of a staged file to the platform's tables.

Belongs here: inserting, updating and removing rows of the platform.
Does not belong here: which rows are good (staged_files.py), what a row becomes (format.yml).
"""

from __future__ import annotations

from psycopg import sql

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.event_versions import forget_all
from tutor_pipeline.sources.csv.existing import keeps_all
from tutor_pipeline.sources.csv.format import Target
from tutor_pipeline.sources.csv.staged_files import StagedFile

_REMOVE_STALE = """
    delete from {platform}.{table} as kept using {incoming} as incoming
    where incoming._reasons = '{{}}' and kept.{owner} = incoming.{key}
        and not exists (select 1 from ({rows}) as made where {same})
"""


def clear_platform(database: Database) -> None:
    """Removes all rows of the platform, and what is known of them by events."""
    tables = database.execute(
        "select tablename from pg_tables where schemaname = %s order by tablename",
        (database.schemas.platform,),
    )
    names = [sql.Identifier(database.schemas.platform, name) for (name,) in tables]
    database.execute(sql.SQL("truncate {}").format(sql.SQL(", ").join(names)))
    forget_all(database)


def load_rows(database: Database, staged: StagedFile, target: Target) -> int:
    """Writes a file's rows of one target. Returns how many rows of the platform changed.

    A target of which the file says nothing stays as it is, if the file's rows were `filled`.
    """
    if staged.filled is not None and keeps_all(staged, target):
        return 0
    rows = _rows_of(staged, target)
    changed = 0
    if target.owner is not None:
        changed += _remove_stale(database, staged, target, target.owner, rows)
    changed += _upsert(database, target, rows)
    database.execute(database.sql("analyze {platform}.{table}", table=sql.Identifier(target.table)))
    return changed


def _upsert(database: Database, target: Target, rows: sql.Composable) -> int:
    table = sql.Identifier(target.table)
    is_empty = (
        database.value(database.sql("select 1 from {platform}.{table} limit 1", table=table))
        is None
    )
    return database.execute(
        database.sql(
            "insert into {platform}.{table} as kept ({columns}) {rows} {on_conflict}",
            table=table,
            columns=sql.SQL(", ").join(map(sql.Identifier, target.columns)),
            rows=rows,
            # An empty table has no conflicts, and an insert without the clause is twice as fast.
            on_conflict=sql.SQL("") if is_empty else _on_conflict(target),
        )
    ).rowcount


def _remove_stale(
    database: Database, staged: StagedFile, target: Target, owner: str, rows: sql.Composable
) -> int:
    """Removes rows of this file's owners that the file no longer gives."""
    (key,) = staged.file.key
    return database.execute(
        database.sql(
            _REMOVE_STALE,
            table=sql.Identifier(target.table),
            incoming=staged.table,
            owner=sql.Identifier(owner),
            key=sql.Identifier(key),
            rows=rows,
            same=sql.SQL(" and ").join(
                sql.SQL("made.{0} = kept.{0}").format(sql.Identifier(c)) for c in target.key
            ),
        )
    ).rowcount


def _on_conflict(target: Target) -> sql.Composable:
    """Returns the ON CONFLICT clause: existing rows take the new values where any differs."""
    key = sql.SQL(", ").join(map(sql.Identifier, target.key))
    others = [column for column in target.columns if column not in target.key]
    if not others:
        return sql.SQL("on conflict ({}) do nothing").format(key)
    return sql.SQL(
        "on conflict ({key}) do update set {changes} where ({before}) is distinct from ({after})"
    ).format(
        key=key,
        changes=sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column)) for column in others
        ),
        before=sql.SQL(", ").join(sql.Identifier("kept", column) for column in others),
        after=sql.SQL(", ").join(sql.Identifier("excluded", column) for column in others),
    )


def _rows_of(staged: StagedFile, target: Target) -> sql.Composable:
    """Returns a query of the rows of a target, made from the file's good rows."""
    return sql.SQL(
        "select {distinct} {columns} from {content} {each} where _reasons = '{{}}' {where}"
    ).format(
        # Only where a field holds a list can two rows of a file give the same row.
        distinct=sql.SQL("distinct" if target.each else ""),
        columns=sql.SQL(", ").join(
            sql.SQL("{} as {}").format(sql.SQL(expression), sql.Identifier(column))
            for column, expression in target.columns.items()
        ),
        content=sql.SQL("{} as incoming").format(staged.content),
        each=sql.SQL(" ").join(
            sql.SQL("cross join lateral unnest({}) as {}").format(
                sql.SQL(array), sql.Identifier(name)
            )
            for name, array in target.each.items()
        ),
        where=sql.SQL(f"and ({target.where})" if target.where else ""),
    )

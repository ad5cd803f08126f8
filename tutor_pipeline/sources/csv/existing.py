"""Values that the platform has, for columns that a file lacks: what is not in a file is not erased.

A column of the file is known from the platform where a target has a column that is nothing but it.

Belongs here: reading rows of a staged file with what existing rows have.
Does not belong here: writing (loading.py).
"""

from __future__ import annotations

from psycopg import sql

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.sources.csv.format import Target
from tutor_pipeline.sources.csv.staged_files import StagedFile


def keeps_all(staged: StagedFile, target: Target) -> bool:
    """Whether the file says nothing about a target beside whose it is: its rows stay as they are.

    Only such targets whose rows a file could remove: a row of the others has an identity.
    """
    own = target.reads() & {column.name for column in staged.file.columns}
    own -= set(staged.file.key)
    return bool(target.owner or target.each) and bool(own) and own <= set(staged.missing_columns)


def filled_rows(database: Database, staged: StagedFile) -> sql.Composable:
    """Returns a relation with the columns of the staged file and `_row`, its ctid. Columns that
    the file lacks have the values of the existing rows.
    """
    missing = set(staged.missing_columns)
    values: dict[str, sql.Composable] = {}
    joins: list[sql.Composable] = []
    for number, target in enumerate(staged.file.targets):
        given = {} if target.each else _plain(target)
        wanted = {name: column for name, column in given.items() if name in missing - values.keys()}
        if not wanted:
            continue
        kept = f"kept{number}"
        values |= {name: sql.Identifier(kept, column) for name, column in wanted.items()}
        joins.append(
            database.sql(
                "left join {platform}.{table} as {kept} on {same}",
                table=sql.Identifier(target.table),
                kept=sql.Identifier(kept),
                same=sql.SQL(" and ").join(
                    sql.SQL("{} = incoming.{}").format(
                        sql.Identifier(kept, key), sql.Identifier(target.columns[key])
                    )
                    for key in target.key
                ),
            )
        )
    columns = [
        sql.SQL("{} as {}").format(
            values.get(column.name, sql.Identifier("incoming", column.name)),
            sql.Identifier(column.name),
        )
        for column in staged.file.columns
    ]
    return sql.SQL(
        "(select incoming.ctid as _row, incoming._reasons, {columns} from {table} {joined})"
    ).format(
        columns=sql.SQL(", ").join(columns),
        table=staged.table,
        joined=sql.SQL(" ").join([sql.SQL("as incoming"), *joins]),
    )


def kept_columns(database: Database, staged: StagedFile) -> tuple[str, ...]:
    """Returns the columns that the file lacks and of which the platform has a value."""
    kept = set()
    for target in staged.file.targets:
        if target.each and target.owner:
            given = dict.fromkeys(target.each.values(), target.owner)
        else:
            given = _plain(target)
        for name, column in given.items():
            if name in staged.missing_columns and database.value(
                database.sql(
                    "select 1 from {platform}.{table} where {column} is not null limit 1",
                    table=sql.Identifier(target.table),
                    column=sql.Identifier(column),
                )
            ):
                kept.add(name)
    return tuple(name for name in staged.missing_columns if name in kept)


def _plain(target: Target) -> dict[str, str]:
    """Returns column of the file → column of the target that is nothing but it."""
    return {
        expression.strip('"'): column
        for column, expression in target.columns.items()
        if column not in target.key
    }

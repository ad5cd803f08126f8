"""Rows of the platform's tables as events know them: what is there, what an event writes.

Belongs here: SQL over the platform and over `ops.event_versions`.
Does not belong here: what is to be written (merging.py, applying.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.platform import ensure_session_students, has_session_students
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.sources.contract import load_contract
from tutor_pipeline.sources.events.catalogue import load_types
from tutor_pipeline.sources.events.merging import NEVER, Row, Step, Version, packed, unpacked

Key = tuple[str, ...]
Values = Mapping[str, Any]

REFERENCES: Mapping[str, str] = {"tutor_id": "tutors", "session_id": "sessions"}
"""Columns of any table whose value must be a row of another one, by its only key."""

_NEEDED = statement(__file__, "needed_columns")
_WAITING_FOR = statement(__file__, "rows_waiting_for")
_VERSIONS = statement(__file__, "versions_of_rows")
_WRITE_VERSIONS = statement(__file__, "write_versions")


@dataclass(frozen=True, slots=True)
class Table:
    """A table that events write: its key, the columns in which a row must have a value, and which
    of its columns name rows of other tables.
    """

    name: str
    key: Key
    needed: tuple[str, ...]
    references: Mapping[str, str]
    columns: frozenset[str]


def name_of(table: str, key: Sequence[str]) -> str:
    """Returns the name of a row, as `waits_on` has it."""
    return "/".join([table, *(part.replace("%", "%25").replace("/", "%2F") for part in key)])


def read_tables(database: Database) -> dict[str, Table]:
    """Returns the tables that events write, by name, those before others that refer to them."""
    needed: dict[str, list[str]] = defaultdict(list)
    for table, column in database.execute(_NEEDED, {"schema": database.schemas.platform}):
        needed[table].append(column)
    keys = load_types().keys
    return {
        table.name: Table(
            table.name,
            keys[table.name],
            tuple(column for column in needed[table.name] if column not in keys[table.name]),
            {
                column.name: REFERENCES[column.name]
                for column in table.columns
                if column.name in REFERENCES
            },
            frozenset(column.name for column in table.columns),
        )
        for table in load_contract().tables
        if table.name in keys
    }


def existing(database: Database, table: Table, keys: Collection[Key]) -> set[Key]:
    """Returns which of these rows their table has."""
    if not keys or (table.name == "session_students" and not has_session_students(database)):
        return set()
    return {tuple(map(_text, row)) for row in _select(database, table, table.key, keys)}


def current(database: Database, table: Table, keys: Collection[Key]) -> dict[Key, dict[str, Any]]:
    """Returns the values that rows have in their table, as JSON has them."""
    if not keys:
        return {}
    query = database.sql(
        "select {key}, to_jsonb(kept) from {platform}.{table} as kept where {among}",
        key=_columns(table.key),
        table=sql.Identifier(table.name),
        among=_among(table),
    )
    found = {}
    for *key, values in database.execute(query, _arrays(keys, len(table.key))):
        rest = {name: each for name, each in values.items() if name not in table.key}
        found[tuple(map(_text, key))] = rest
    return found


def known(database: Database, table: Table, keys: Collection[Key]) -> dict[Key, Row]:
    """Returns what is known of these rows, of each one something."""
    rows = {key: Row() for key in keys}
    there = existing(database, table, keys)
    for key in there:
        rows[key].is_there = True
    found = database.execute(_VERSIONS, {"names": [name_of(table.name, key) for key in keys]})
    for key, versions, deleted, kept, is_ours in found:
        row = rows[tuple(key)]
        row.versions = unpacked(versions)
        row.deleted = row.was_deleted = Version(*deleted) if deleted else NEVER
        row.kept, row.is_ours = kept or {}, is_ours
    return rows


def waiting_for(database: Database, table: str, names: Collection[str]) -> set[Key]:
    """Returns the rows of a table that wait for one of these."""
    if not names:
        return set()
    return {
        tuple(key)
        for (key,) in database.execute(_WAITING_FOR, {"table": table, "names": list(names)})
    }


def parts_of(database: Database, table: Table, sessions: Collection[str]) -> set[Key]:
    """Returns the rows of a table that belong to these sessions, there or not."""
    if not sessions or "session_id" not in table.columns:
        return set()
    found = database.execute(
        "select row_key from {ops}.event_versions where table_name = %s and session_id = any(%s)",
        (table.name, list(sessions)),
    )
    keys = {tuple(key) for (key,) in found}
    if table.name != "session_students" or has_session_students(database):
        rows = database.execute(
            database.sql(
                "select {key} from {platform}.{table} where session_id = any(%s)",
                key=_columns(table.key),
                table=sql.Identifier(table.name),
            ),
            (list(sessions),),
        )
        keys |= {tuple(map(_text, row)) for row in rows}
    return keys


def write(database: Database, table: Table, steps: Mapping[Key, Step]) -> None:
    """Writes rows to their table."""
    if (
        table.name == "session_students"
        and any(step.inserts for step in steps.values())
        # Whoever may only write rows asks for nothing where it is there.
        and not has_session_students(database)
    ):
        ensure_session_students(database)
    _delete(database, table, [key for key, step in steps.items() if step.deletes])
    for put, chosen in (
        (_insert, [(key, step.values) for key, step in steps.items() if step.inserts]),
        (_update, [(key, step.values) for key, step in steps.items() if step.updates]),
    ):
        for columns, rows in _by_columns(table, chosen).items():
            put(database, table, columns, rows)


def remember(
    database: Database,
    table: Table,
    rows: Mapping[Key, Row],
    waits: Mapping[Key, Sequence[str]],
    owners: Mapping[Key, Mapping[str, str | None]],
) -> None:
    """Writes what is known of rows. `waits`: what those that cannot be written wait for. `owners`:
    whose they are, by the columns that name others.
    """
    if rows:
        written = [
            {
                "name": name_of(table.name, key),
                "key": key,
                "versions": packed(row.versions),
                "deleted": row.deleted if row.deleted != NEVER else None,
                "kept": row.kept if row.kept or key in waits else None,
                "waits_on": waits.get(key, ()),
                "is_ours": row.is_ours,
                **owners[key],
            }
            for key, row in rows.items()
        ]
        database.execute(_WRITE_VERSIONS, {"table": table.name, "rows": Jsonb(written)})


def forget(database: Database, events: Collection[str]) -> dict[str, set[str]]:
    """Forgets what these events said (`merging.Version.event_id`). Returns name of a row → columns
    of which nothing is known any more.
    """
    columns: dict[str, set[str]] = defaultdict(set)
    left = []
    with database.connection.cursor(name="versions") as rows:
        rows.itersize = 5_000
        rows.execute(
            database.sql("select row_name, versions, deleted, kept from {ops}.event_versions")
        )
        for name, groups, deleted, kept in rows:
            versions = unpacked(groups)
            gone = {each for each, version in versions.items() if version.event_id in events}
            is_undone = deleted is not None and deleted[2] in events
            if gone or is_undone:
                columns[name] |= gone
                rest = {each: value for each, value in (kept or {}).items() if each not in gone}
                left.append((
                    Jsonb(packed({c: each for c, each in versions.items() if c not in gone})),
                    None if is_undone or deleted is None else Jsonb(deleted),
                    None if kept is None else Jsonb(rest),
                    name,
                ))  # fmt: skip
    database.execute_many(
        "update {ops}.event_versions set versions = %s, deleted = %s, kept = %s"
        " where row_name = %s",
        left,
    )
    return columns


def empty(database: Database, said: Mapping[str, Collection[str]]) -> None:
    """Empties columns that an event said before and that no event says now, and deletes rows that
    events made and of which none says anything now.
    """
    here = read_tables(database)
    found = database.execute(
        "select row_name, table_name, row_key, versions, is_ours from {ops}.event_versions"
        " where row_name = any(%s)",
        (list(said),),
    ).fetchall()
    for name, table_name, key, groups, is_ours in found:
        table = here[table_name]
        if is_ours and not groups:
            _delete(database, table, [tuple(key)])
            database.execute(
                "update {ops}.event_versions set is_ours = false where row_name = %s", (name,)
            )
            continue
        gone = set(said[name]) - unpacked(groups).keys() - set(table.needed)
        if columns := sorted(gone & table.columns):
            _update(database, table, columns,
                    [dict.fromkeys(columns) | dict(zip(table.key, key, strict=True))])  # fmt: skip


def owners_of(table: Table, key: Key, row: Row) -> dict[str, str | None]:
    """Returns column → whose the row is, None where that is not said now."""
    own = {"sessions": ("session_id", "id"), "tutors": ("tutor_id", "user_id")}
    found: dict[str, str | None] = dict.fromkeys(REFERENCES)
    if table.name in own:
        found[own[table.name][0]] = key[0]
    for column in table.references:
        value = key[table.key.index(column)] if column in table.key else row.said(column)
        found[column] = None if value is None else str(value)
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


def _columns(names: Iterable[str], alias: str | None = None) -> sql.Composed:
    parts = (sql.Identifier(*([alias] if alias else []), name) for name in names)
    return sql.SQL(", ").join(parts)


def _arrays(keys: Collection[Key], width: int) -> list[list[str]]:
    return [[key[at] for key in keys] for at in range(width)]


def _among(table: Table) -> sql.Composed:
    """Returns a condition: the row has one of the keys in arrays, one for each column."""
    if len(table.key) == 1:
        return sql.SQL("{} = any(%s)").format(sql.Identifier(table.key[0]))
    casts = {"week_start": "date", "measured_on": "date"}
    return sql.SQL("({}) in (select * from unnest({}))").format(
        _columns(table.key),
        sql.SQL(", ").join(sql.SQL(f"%s::{casts.get(name, 'text')}[]") for name in table.key),
    )


def _select(
    database: Database, table: Table, columns: Sequence[str], keys: Collection[Key]
) -> Iterable[Sequence[Any]]:
    query = database.sql(
        "select {columns} from {platform}.{table} where {among}",
        columns=_columns(columns),
        table=sql.Identifier(table.name),
        among=_among(table),
    )
    return database.execute(query, _arrays(keys, len(table.key)))


def _delete(database: Database, table: Table, keys: Collection[Key]) -> None:
    if keys:
        database.execute(
            database.sql(
                "delete from {platform}.{table} where {among}",
                table=sql.Identifier(table.name),
                among=_among(table),
            ),
            _arrays(keys, len(table.key)),
        )


def _by_columns(
    table: Table, rows: Iterable[tuple[Key, Values]]
) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    """Returns rows by the columns that they have a value for: one statement each."""
    found: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for key, values in rows:
        found[tuple(sorted(values))].append({**values, **dict(zip(table.key, key, strict=True))})
    return found


def _insert(
    database: Database, table: Table, columns: Sequence[str], rows: Sequence[Values]
) -> None:
    database.execute(
        database.sql(
            "insert into {platform}.{table} ({columns}) select {columns}"
            " from jsonb_populate_recordset(null::{platform}.{table}, %s)",
            table=sql.Identifier(table.name),
            columns=_columns([*table.key, *columns]),
        ),
        (Jsonb(list(rows)),),
    )


def _update(
    database: Database, table: Table, columns: Sequence[str], rows: Sequence[Values]
) -> None:
    database.execute(
        database.sql(
            "update {platform}.{table} as kept set {changes}"
            " from jsonb_populate_recordset(null::{platform}.{table}, %s) as new"
            " where {same} and ({before}) is distinct from ({after})",
            table=sql.Identifier(table.name),
            changes=sql.SQL(", ").join(
                sql.SQL("{0} = new.{0}").format(sql.Identifier(column)) for column in columns
            ),
            same=sql.SQL(" and ").join(
                sql.SQL("kept.{0} = new.{0}").format(sql.Identifier(column)) for column in table.key
            ),
            before=_columns(columns, "kept"),
            after=_columns(columns, "new"),
        ),
        (Jsonb(list(rows)),),
    )

"""Queries for the versions of the platform's sessions: hashes of the columns that staging reads.

A version covers the columns of the contract, and of what people excused the session; changes of
other columns do not matter. A missing column or table counts as NULL, as in staging, so a new
column without values changes no version.

The queries leave out rows without a session id or a tutor id, with ids too long for an index, or
without a valid start. Such rows stay in quarantine, where the daily refresh puts them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache

from psycopg import sql

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.sources import relations
from tutor_pipeline.sources.contract import load_contract
from tutor_pipeline.sources.relations import MOMENT, MOMENTS, Column, Columns

PARTS = (
    "session_audio_metrics",
    "session_video_metrics",
    "session_screen_metrics",
    "session_transcript_metrics",
    "session_feedback",
    "session_billing",
    "session_students",
)
"""The tables that staging joins to sessions (macros session_parts and groups_of_sessions)."""

NEEDED = ("id", "tutor_id", "scheduled_start")
"""The columns of sessions without which there are no versions."""

MAX_ID_BYTES = 1020
"""Two longer ids do not fit an index. Staging takes 255 characters: 1,020 bytes at most."""

BEGINNING = datetime(1900, 1, 1, tzinfo=UTC)
"""No session starts earlier. Timestamps far out of range cannot be shifted between zones."""

_TEXTS = ("text", "character varying", "character")
_INTEGERS = ("smallint", "integer", "bigint")
_HASHED = {"boolean", "real", "double precision", "numeric", "uuid", "jsonb", *MOMENTS, *_INTEGERS}
"""Types that are hashed directly; others are hashed as text, byte by byte."""

_TOGETHER = statement(__file__, "one_version")

_ROWS = """
    select
        {tutor_id} as tutor_id,
        {session_id} as session_id,
        s.id,
        {start} as scheduled_start,
        {version} as session_version
    from {sessions} as s
    where {is_named} and {is_near} and {start} > %(since)s and {start} <= %(until)s and {is_asked}
"""

_SUM = "case when count(*) = 1 then min({each}) else hash_numeric_extended(sum({each}), 0) end"

# OFFSET 0 keeps the planner from computing a session's hash at every use of its version.
_WHOLE = """
    with chosen as (
        {rows}
        offset 0
    )
    select
        chosen.tutor_id,
        chosen.session_id,
        chosen.scheduled_start,
        chosen.session_version,
        hash_record_extended(row(chosen.session_version, {versions}), 0) as version
    from chosen
    {joins}
"""

_EXCUSES = """
    left join (
        select
            tutor_id,
            session_id,
            sum(hashtextextended(kind, 0)) as version
        from {excuses}
        where undone_at is null
        group by tutor_id, session_id
    ) as excuses on chosen.tutor_id = excuses.tutor_id and chosen.session_id = excuses.session_id
"""

_ONE_PART = "left join {part} as {alias} on {key} = chosen.{id}"

_PART_ROWS = """
    left join (
        select
            {key} as id,
            {together} as version
        from {part} as {alias}
        where {key} in (select chosen.{id} from chosen)
        group by {key}
    ) as {alias} on {alias}.id = chosen.{id}
"""


@cache
def contract() -> Mapping[str, tuple[str, ...]]:
    """Returns the contract's columns of `sessions` and of its parts, by table."""
    tables = load_contract()
    return {
        name: tuple(column.name for column in tables.table(name).columns)
        for name in ("sessions", *PARTS)
    }


def read_columns(database: Database, *, others: Iterable[str] = ()) -> Columns:
    """Reads the columns of the sessions, of their parts and of `others`, as far as they are there.

    Raises TutorPipelineError if staging cannot read the sessions.
    """
    found = relations.read_columns(database, [*contract(), *others])
    sessions = found.get("sessions", {})
    if not sessions:
        raise TutorPipelineError(_no_sessions(database))
    missing = [name for name in NEEDED if name not in sessions]
    if missing or sessions["scheduled_start"].type not in MOMENTS:
        what = f"{', '.join(missing)} missing" if missing else "scheduled_start is not a timestamp"
        raise TutorPipelineError(
            f"{relations.shown(database.warehouse, 'sessions')} cannot be read ({what})."
            "\nSee what it needs: tutor-pipeline check-source"
        )
    return found


def _no_sessions(database: Database) -> str:
    schema = database.schemas.platform
    if database.warehouse.source is not None:
        return (
            f"there is no table of {relations.shown(database.warehouse, 'sessions')}\n"
            "What is wrong in the mapping: tutor-pipeline check-source"
        )
    if database.value("select count(*) from pg_namespace where nspname = %s", (schema,)):
        return (
            f"there is no table {schema}.sessions\n"
            "Set TUTOR_PLATFORM_SCHEMA to the schema of the platform's tables, or see what is"
            " needed: tutor-pipeline check-source"
        )
    return (
        f'there is no schema "{schema}" in this database\n'
        "Set TUTOR_PLATFORM_SCHEMA to the schema of the platform's tables, or fill it with"
        " tutor-pipeline generate or import"
    )


def shape(warehouse: Warehouse, columns: Columns) -> str:
    """Returns a hash of how versions are made: of which columns and types, and by which code.

    Versions of different shapes cannot be compared.
    """
    query = session_versions(warehouse, columns, whole=True)
    return hashlib.md5(query.as_string(None).encode(), usedforsecurity=False).hexdigest()


def session_versions(
    warehouse: Warehouse, columns: Columns, *, whole: bool = False, by_id: bool = False
) -> sql.Composed:
    """Returns a query of the sessions that started in (since, until], a row per tutor and session.

    Its columns: tutor_id, session_id, scheduled_start, session_version (bigint, of the session's
    own columns) and, if `whole`, version (bigint, with its parts and excuses). Its parameters:
    since, until, recent (the start of the window of changes) and, if `by_id`, session_ids: only
    these sessions (see `ids_of_their_type`).
    """
    sessions = columns["sessions"]
    is_unique = sessions["id"].is_unique
    rows = sql.SQL(_ROWS).format(
        tutor_id=_as_text("tutor_id"),
        session_id=_as_text("id"),
        version=_hash(columns, "sessions", "s"),
        sessions=warehouse.platform_table("sessions"),
        is_named=sql.SQL(" and ").join(
            _is_usable(name, sessions[name]) for name in ("tutor_id", "id")
        ),
        is_asked=_is_asked(sessions["id"]) if by_id else sql.SQL("true"),
        **_start(sessions["scheduled_start"], warehouse),
    )
    if not is_unique:
        together = sql.SQL(_SUM).format(each=sql.SQL("session_version"))
        rows = sql.SQL(_TOGETHER).format(rows=rows, version=together)
    return _with_parts(warehouse, columns, rows) if whole else rows


def started(warehouse: Warehouse, columns: Columns) -> sql.Composed:
    """Returns a query of all rows of `sessions` that started in (since, until], good or bad, with
    these columns and `started_at`.

    Its parameters: since, until.
    """
    return sql.SQL(
        "select {start} as started_at, {names} from {sessions} as s"
        " where {is_near} and {start} > %(since)s and {start} <= %(until)s"
    ).format(
        names=sql.SQL(", ").join(sql.Identifier("s", name) for name in columns["sessions"]),
        sessions=warehouse.platform_table("sessions"),
        **_start(columns["sessions"]["scheduled_start"], warehouse),
    )


def with_ids(warehouse: Warehouse, columns: Columns) -> sql.Composed:
    """Returns a query of the tutor and the id of each session with one of these ids, whenever it
    starts.

    Its parameter: session_ids (see `ids_of_their_type`).
    """
    return sql.SQL("select {tutor_id}, {session_id} from {sessions} as s where {is_asked}").format(
        tutor_id=_as_text("tutor_id"),
        session_id=_as_text("id"),
        sessions=warehouse.platform_table("sessions"),
        is_asked=_is_asked(columns["sessions"]["id"]),
    )


def _with_parts(warehouse: Warehouse, columns: Columns, rows: sql.Composed) -> sql.Composed:
    joins: list[sql.Composable] = []
    versions: list[sql.Composable] = []
    identity = columns["sessions"]["id"]
    for number, table in enumerate(PARTS):
        key = columns.get(table, {}).get("session_id")
        if key is None:
            versions.append(sql.SQL("null::bigint"))
            continue
        alias = f"p{number}"
        # Columns of the same type are compared without casts, so that an index can serve.
        is_native = identity.is_unique and _family(identity) == _family(key) is not None
        version = _hash(columns, table, alias)
        names = {
            "part": warehouse.platform_table(table),
            "alias": sql.Identifier(alias),
            "key": sql.SQL(f"{alias}.session_id") if is_native else _as_text("session_id", alias),
            "id": sql.SQL("id" if is_native else "session_id"),
            "version": version,
            "together": sql.SQL(_SUM).format(each=version),
        }
        joins.append(sql.SQL(_ONE_PART if key.is_unique else _PART_ROWS).format(**names))
        versions.append(
            sql.SQL("case when {alias}.session_id is not null then {version} end").format(**names)
            if key.is_unique
            else sql.SQL("{alias}.version").format(**names)
        )
    excuses = sql.Identifier(warehouse.schemas.ops, "session_excuses")
    joins.append(sql.SQL(_EXCUSES).format(excuses=excuses))
    versions.append(sql.SQL("excuses.version"))
    return sql.SQL(_WHOLE).format(
        rows=rows, joins=sql.SQL("\n").join(joins), versions=sql.SQL(", ").join(versions)
    )


def ids_of_their_type(columns: Columns, session_ids: Iterable[str]) -> list[str]:
    """Returns the ids that the platform's column can hold. Its type may have changed."""
    patterns = {"uuid": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "integer": r"-?\d{1,18}"}
    family = _family(columns["sessions"]["id"])
    matches = re.compile(patterns[family] if family else r"(?s).*").fullmatch
    return [each for each in session_ids if matches(each)]


def _family(column: Column) -> str | None:
    """Returns the type to compare values as, None for text."""
    return "integer" if column.type in _INTEGERS else "uuid" if column.type == "uuid" else None


def _is_asked(identity: Column) -> sql.Composable:
    family = _family(identity)
    if family is None:
        return sql.SQL("{} = any(%(session_ids)s::text[])").format(_as_text("id"))
    kind = {"integer": "bigint", "uuid": "uuid"}[family]
    return sql.SQL("s.id = any(%(session_ids)s::text[]::{}[])").format(sql.SQL(kind))


def _is_usable(name: str, column: Column) -> sql.Composable:
    if _family(column):
        return sql.SQL("s.{} is not null").format(sql.Identifier(name))
    # The planner estimates that <> holds for nearly all rows, but <= for a third of them.
    return sql.SQL("least(octet_length({}), {longest}) <> {longest}").format(
        _as_text(name), longest=sql.Literal(MAX_ID_BYTES + 1)
    )


def _as_text(name: str, alias: str = "s") -> sql.Composable:
    # Columns of different collations cannot be compared. The default one is the usual.
    return sql.SQL('{}::text collate "default"').format(sql.Identifier(alias, name))


def _start(column: Column, warehouse: Warehouse) -> dict[str, sql.Composable]:
    """Returns the start as timestamptz, and a condition that an index on the column can serve."""
    if column.type == MOMENT:
        return {"start": sql.SQL("s.scheduled_start"), "is_near": sql.SQL("true")}
    zone = sql.Literal(warehouse.timezone_of("sessions", "scheduled_start"))
    is_near = sql.SQL(
        "s.scheduled_start > (%(since)s::timestamptz at time zone {zone}) - interval '2 days'"
        " and s.scheduled_start < (%(until)s::timestamptz at time zone {zone}) + interval '2 days'"
    ).format(zone=zone)
    start = sql.SQL(
        "case when {is_near} then s.scheduled_start::timestamp at time zone {zone} end"
    ).format(is_near=is_near, zone=zone)
    return {"start": start, "is_near": is_near}


def _hash(columns: Columns, table: str, alias: str) -> sql.Composable:
    found = columns[table]
    values = sql.SQL(", ").join(_value(alias, name, found.get(name)) for name in contract()[table])
    return sql.SQL("hash_record_extended(row({}), 0)").format(values)


def _value(alias: str, name: str, column: Column | None) -> sql.Composable:
    if column is None:
        return sql.SQL("null::text")
    value = sql.Identifier(alias, name)
    if column.type in _HASHED:
        return value
    return sql.SQL('{}::text collate "C"').format(value)

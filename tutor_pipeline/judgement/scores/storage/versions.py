"""What scorers have learned: references (what is usual on the platform) and model versions.

Belongs here: reading and writing versions, in the caller's transaction. A version is never changed.
Does not belong here: learning one; the scores themselves (`score_tables`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.statements import statement


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of something learned, as JSON."""

    version: int
    as_of: datetime
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The result of accepting a version. `now` is the version that is in force because of it; None
    where it was not accepted, and `why_not` says why.
    """

    now: int | None
    is_new: bool = False
    why_not: str | None = None


@dataclass(frozen=True, slots=True)
class _Learned:
    """The version learned last. `accepted_as`: the version by which it was accepted, if it was."""

    version: int
    is_promoted: bool
    accepted_as: int | None


# A version without a model takes those before it out of force.
_LAST_EMPTIED = """coalesce(
        (
            select max(version) from {ops}.model_versions
            where scorer = %(scorer)s and model = '{{}}'
        ),
        0
    )"""


def newest_reference(database: Database, scorer: str, as_of: datetime) -> Stored | None:
    """Returns a scorer's newest reference as of a moment; None before the first."""
    row = database.one(
        "select version, as_of, reference as content from {ops}.score_references"
        " where as_of <= %(as_of)s and scorer = %(scorer)s"
        " order by as_of desc, version desc limit 1",
        {"scorer": scorer, "as_of": as_of},
    )
    return None if row is None else Stored(**row)


def newest_model(database: Database, scorer: str, as_of: datetime) -> Stored | None:
    """Returns the version of a scorer that is in force as of a moment: the newest that was not
    refused. None before the first, after a `forget_learned`, and where the newest is held back.
    """
    row = database.one(statement(__file__, "newest_model"), {"scorer": scorer, "as_of": as_of})
    return None if row is None else Stored(**row)


def held_back(database: Database, scorer: str) -> int | None:
    """Returns the version that waits for somebody to accept it: learned last, neither promoted nor
    accepted. None where there is none.
    """
    newest = _newest_learned(database, scorer)
    if newest is None or newest.is_promoted or newest.accepted_as:
        return None
    return newest.version


def _newest_learned(database: Database, scorer: str) -> _Learned | None:
    """Returns the version learned last; None where nothing was learned since a
    `forget_learned`.
    """
    row = database.one(_since_emptied(database, "newest_learned"), {"scorer": scorer})
    return None if row is None else _Learned(**row)


def _since_emptied(database: Database, name: str) -> sql.Composed:
    return database.sql(statement(__file__, name), last_emptied=database.sql(_LAST_EMPTIED))


def present_only(database: Database, scorer: str) -> set[str]:
    """Returns the columns that the version learned last left out because they hold only their
    present value.
    """
    columns = database.value(
        "select metrics #> '{{leakage,present_only}}' from {ops}.model_versions"
        " where scorer = %(scorer)s and metrics ? 'leakage' order by version desc limit 1",
        {"scorer": scorer},
    )
    return set(columns or ())


def scorer_of(database: Database, version: int) -> str | None:
    """Returns the scorer that a version belongs to; None where there is no such version."""
    scorer: str | None = database.value(
        "select scorer from {ops}.model_versions where version = %(version)s", {"version": version}
    )
    return scorer


def accept(
    database: Database, scorer: str, version: int, *, by: str, why: str, at: datetime
) -> Acceptance:
    """Put a version in force that is held back, by writing it again as the newest version. Does
    nothing the second time.
    """
    number = next_version(database, "model_versions")
    found = database.one(
        "select is_promoted, accepts, model = '{{}}' as is_empty,"
        " metrics ? 'leakage' as can_wait from {ops}.model_versions"
        " where version = %(version)s and scorer = %(scorer)s",
        {"version": version, "scorer": scorer},
    )
    newest = _newest_learned(database, scorer)
    if (why_not := _why_not(scorer, version, found, newest)) is not None:
        return Acceptance(None, why_not=why_not)
    assert newest is not None
    if newest.accepted_as is not None:
        return Acceptance(newest.accepted_as)
    database.execute(
        statement(__file__, "accept_version"),
        {
            "number": number,
            "version": version,
            "at": at,
            "by": by,
            "why": why,
            "decision": f"Version {version}, accepted by {by}: {why}",
        },
    )
    return Acceptance(number, is_new=True)


def _why_not(
    scorer: str, version: int, found: Mapping[str, Any] | None, newest: _Learned | None
) -> str | None:
    """Returns why a version cannot be accepted; None where it can."""
    if found is None:
        return f"there is no version {version} of {scorer}"
    if found["is_empty"]:
        return f"version {version} holds nothing: {scorer} began anew"
    if found["is_promoted"]:
        accepts = found["accepts"]
        said = "" if accepts is None else f", it is version {accepts}, accepted"
        return f"version {version} is not held back{said}"
    if not found["can_wait"]:
        return f"version {version} was refused: it is of no use"
    if newest is None or newest.version != version:
        later = "" if newest is None else f": version {newest.version} was learned after it"
        return f"version {version} is no longer of use{later}"
    return None


def accepted_upper(database: Database, scorer: str) -> float | None:
    """Returns the upper end of the AUC of the version accepted last; None where none was accepted
    since a `forget_learned`.
    """
    upper: float | None = database.value(
        _since_emptied(database, "accepted_upper"), {"scorer": scorer}
    )
    return upper


def forget_learned(database: Database, scorer: str, why: str, at: datetime) -> None:
    """Let a scorer begin anew. Versions are never deleted: an empty one after them takes them out
    of force.
    """
    with database.transaction():
        database.execute(
            "delete from {ops}.score_references where scorer = %(scorer)s", {"scorer": scorer}
        )
        newest = database.one(
            "select target, horizon_days, model <> '{{}}' as has_model from {ops}.model_versions"
            " where scorer = %(scorer)s order by version desc limit 1",
            {"scorer": scorer},
        )
        if newest is None or not newest["has_model"]:
            return
        add(
            database,
            "model_versions",
            {
                "version": next_version(database, "model_versions"),
                "scorer": scorer,
                "target": newest["target"],
                "horizon_days": newest["horizon_days"],
                "as_of": datetime.fromtimestamp(0, UTC),  # before any moment that is asked about
                "trained_at": at,
                "rows": 0,
                "leavers": 0,
                "model": {},
                "metrics": {},
                "is_promoted": False,
                "decision": why,
            },
        )


def next_version(database: Database, table: str) -> int:
    """Returns the version of the next row of `score_references` or `model_versions`, and locks the
    table's numbers until the transaction ends.
    """
    database.lock(table)
    version: int = database.value(f"select coalesce(max(version), 0) + 1 from {{ops}}.{table}")
    return version


def add(database: Database, table: str, columns: Mapping[str, Any]) -> None:
    """Insert one row into a table of `ops`; mappings become JSON."""
    database.execute(
        database.sql(
            "insert into {table} ({columns}) values ({values})",
            table=sql.Identifier(database.schemas.ops, table),
            columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
            values=sql.SQL(", ").join(map(sql.Placeholder, columns)),
        ),
        {
            name: Jsonb(dict(value)) if isinstance(value, Mapping) else value
            for name, value in columns.items()
        },
    )

"""Scores, health and what scorers have learned, in the database.

Belongs here: reading and writing, in the caller's transaction. Does not belong here: computing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import sql
from psycopg.types.json import Jsonb

from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.judgement.scores.score import Reason, Score, Target

Scope = Sequence[str] | None
"""The tutors or students that a run covers; None = all."""


class Subject(StrEnum):
    """Whom scores are about."""

    TUTOR = "tutor"
    STUDENT = "student"

    @property
    def key(self) -> str:
        """The column that names one."""
        return f"{self}_id"


_SCORE_COLUMNS = (
    *("as_of", "as_of_on", "reasons", "scorer", "version", "target", "horizon_days", "score"),
    *("is_probability", "level", "status", "input_hash"),
    *("lower", "upper", "base_rate", "known_share", "not_known"),
)
"""Beside the subject, in the order in which they are written."""


def lock(database: Database, subject: Subject) -> None:
    """One writer of these scores at a time, until the transaction ends."""
    database.lock(f"{subject}_scores")


def day_of(warehouse: Warehouse, as_of: datetime) -> date:
    """The day of a moment in the pipeline's time zone."""
    return as_of.astimezone(ZoneInfo(warehouse.timezone)).date()


def save(
    database: Database, subject: Subject, scores: Sequence[Score], as_of: datetime, scope: Scope
) -> int:
    """Write scores as of a moment; the number written. Of each day the newest are kept: those of
    the day that this run covers, and those as of later, go.
    """
    table = sql.Identifier(database.schemas.ops, f"{subject}_scores")
    key = sql.Identifier(subject.key)
    day = day_of(database.warehouse, as_of)
    database.execute(
        sql.SQL(
            "delete from {} where as_of_on >= %(day)s"
            " and (%(scope)s::text[] is null or {} = any(%(scope)s::text[]))"
        ).format(table, key),
        {"day": day, "scope": _list(scope)},
    )
    columns = sql.SQL(", ").join(map(sql.Identifier, (subject.key, *_SCORE_COLUMNS)))
    written = 0
    with (
        database.copy(sql.SQL("copy {} ({}) from stdin").format(table, columns)) as copy,
    ):
        for score in scores:
            copy.write_row(
                (
                    score.subject_id,
                    as_of,
                    day,
                    _reasons_json(score.reasons),
                    score.scorer,
                    score.version,
                    str(score.target),
                    score.horizon_days,
                    score.score,
                    score.is_probability,
                    None if score.level is None else str(score.level),
                    str(score.status),
                    score.input_hash,
                    score.lower,
                    score.upper,
                    score.base_rate,
                    score.known_share,
                    _ENCODER.encode(score.not_known),
                )
            )
            written += 1
    return written


def _reasons_json(reasons: Iterable[Reason]) -> str:
    return _ENCODER.encode(
        [
            # `dataclasses.asdict` copies deeply, and takes longer than all the scoring.
            {
                "code": reason.code,
                "label": reason.label,
                "value": reason.value,
                "reference": reason.reference,
                "n": reason.n,
                "contribution": reason.contribution,
            }
            for reason in reasons
        ]
    )


# One for all: `json.dumps` would make one per call.
_ENCODER = json.JSONEncoder(ensure_ascii=False)


def publish_risk(
    database: Database, champion: tuple[str, Target, int], as_of: datetime, scope: Scope
) -> None:
    """Make the champion's scores (scorer, target, horizon), just saved, the risk of the tutors
    covered: `ops.current_tutor_risk`, a row per tutor.
    """
    scorer, target, horizon_days = champion
    parameters = {
        "as_of": as_of,
        "scope": _list(scope),
        "scorer": scorer,
        "target": str(target),
        "horizon_days": horizon_days,
    }
    covered = "%(scope)s::text[] is null or tutor_id = any(%(scope)s::text[])"
    database.execute(f"delete from {{ops}}.current_tutor_risk where {covered}", parameters)
    database.execute(
        "insert into {ops}.current_tutor_risk (tutor_id, as_of, scorer, version, score,"
        " is_probability, level, reasons, status, lower, upper, base_rate, known_share,"
        " not_known)"
        " select tutor_id, as_of, scorer, version, score, is_probability, level, reasons,"
        " status, lower, upper, base_rate, known_share, not_known from {ops}.tutor_scores"
        " where as_of = %(as_of)s and scorer = %(scorer)s"
        f" and target = %(target)s and horizon_days = %(horizon_days)s and ({covered})",
        parameters,
    )


def replace(
    database: Database,
    table: str,
    subject: Subject,
    rows: Sequence[Mapping[str, Any]],
    scope: Scope,
) -> None:
    """Make `rows`, all of the same columns, the rows of the subjects covered in a table of `ops`
    with a row per subject.
    """
    name = sql.Identifier(database.schemas.ops, table)
    database.execute(
        sql.SQL(
            "delete from {} where %(scope)s::text[] is null or {} = any(%(scope)s::text[])"
        ).format(name, sql.Identifier(subject.key)),
        {"scope": _list(scope)},
    )
    if not rows:
        return
    columns = list(rows[0])
    statement = sql.SQL("copy {} ({}) from stdin").format(
        name, sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with database.copy(statement) as copy:
        for row in rows:
            copy.write_row([row[column] for column in columns])


@dataclass(frozen=True, slots=True)
class Held:
    """The segment somebody is in, and since when."""

    segment: str
    since: datetime


def segments(database: Database, subject: Subject, scope: Scope) -> dict[str, Held]:
    """The segment of each subject as it is stored."""
    rows = database.execute(
        sql.SQL(
            "select {key}, segment, segment_since from {table} where segment is not null"
            " and (%(scope)s::text[] is null or {key} = any(%(scope)s::text[]))"
        ).format(
            key=sql.Identifier(subject.key),
            table=sql.Identifier(database.schemas.ops, f"{subject}_health"),
        ),
        {"scope": _list(scope)},
    ).fetchall()
    return {identity: Held(segment, since) for identity, segment, since in rows}


def clear(database: Database) -> int:
    """Delete all scores and health, in one transaction; the number of rows. What was learned
    (references, versions, weights) stays: every later score names its version.
    """
    removed = 0
    with database.transaction():
        for subject in Subject:
            lock(database, subject)
        for table in (
            "tutor_scores",
            "student_scores",
            "current_tutor_risk",
            "tutor_student_churn",
            "tutor_health",
            "student_health",
        ):
            removed += database.execute(
                database.sql("delete from {ops}.") + sql.Identifier(table)
            ).rowcount
    return removed


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of something learned, as JSON."""

    version: int
    as_of: datetime
    content: Mapping[str, Any]


def newest_reference(database: Database, scorer: str, as_of: datetime) -> Stored | None:
    """The newest reference of a scorer that was fitted on what was known at a moment; None before
    the first.
    """
    own = sql.SQL("scorer = {}").format(sql.Literal(scorer))
    return _newest(database, "score_references", "reference", as_of, own)


def newest_model(database: Database, scorer: str, as_of: datetime) -> Stored | None:
    """The version of a scorer in force: the newest of what was known at a moment, but for those
    that were refused. None before the first, where what was learned is forgotten since, and where
    the newest is held back: then nothing that was learned is in force.
    """
    newest = sql.SQL(
        "version = (select max(version) from {} where scorer = {} and as_of <= {}"
        " and (is_promoted or model = '{{}}' or metrics ? 'leakage'))"
    ).format(
        sql.Identifier(database.schemas.ops, "model_versions"),
        sql.Literal(scorer),
        sql.Literal(as_of),
    )
    return _newest(database, "model_versions", "model", as_of, newest + sql.SQL(" and is_promoted"))


def _newest(
    database: Database, table: str, column: str, as_of: datetime, which: sql.Composable
) -> Stored | None:
    row = database.execute(
        sql.SQL(
            "select version, as_of, {column} from {table} where as_of <= %s and {which}"
            " order by as_of desc, version desc limit 1"
        ).format(
            column=sql.Identifier(column),
            which=which,
            table=sql.Identifier(database.schemas.ops, table),
        ),
        (as_of,),
    ).fetchone()
    return None if row is None else Stored(*row)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What became of accepting a version. `now`: the version that is in force of it; None: it was
    not accepted, and `why_not` says why.
    """

    now: int | None
    is_new: bool = False
    why_not: str | None = None


# An empty version says that those before it are not believed any more.
_BELIEVED = """version > coalesce(
                    (
                        select max(version) from {ops}.model_versions
                        where scorer = %(scorer)s and model = '{{}}'
                    ),
                    0
                )"""


def held_back(database: Database, scorer: str) -> int | None:
    """The version that waits for somebody to accept it: learned last, not promoted, not accepted;
    None where there is none.
    """
    newest = _newest_learned(database, scorer)
    return None if newest is None or newest[1] or newest[2] else newest[0]


def _newest_learned(database: Database, scorer: str) -> tuple[int, bool, int | None] | None:
    """Of the version learned last: its number, whether it is promoted, as which it was accepted;
    None where nothing was learned, or all was forgotten since.
    """
    row = database.execute(
        f"""
            select
                learned.version,
                learned.is_promoted,
                (select max(version) from {{ops}}.model_versions where accepts = learned.version)
            from {{ops}}.model_versions as learned
            where
                scorer = %(scorer)s
                and leavers > 0
                and accepts is null
                and (is_promoted or metrics ? 'leakage')
                and {_BELIEVED}
            order by version desc
            limit 1
            """,
        {"scorer": scorer},
    ).fetchone()
    return None if row is None else (row[0], row[1], row[2])


def present_only(database: Database, scorer: str) -> set[str]:
    """The columns that were no evidence in the version learned last, as they hold only their
    present value.
    """
    row = database.execute(
        "select metrics #> '{{leakage,present_only}}' from {ops}.model_versions"
        " where scorer = %s and metrics ? 'leakage' order by version desc limit 1",
        (scorer,),
    ).fetchone()
    return set() if row is None or row[0] is None else set(row[0])


def scorer_of(database: Database, version: int) -> str | None:
    """Whose version it is; None where there is no such version."""
    row = database.execute(
        "select scorer from {ops}.model_versions where version = %s", (version,)
    ).fetchone()
    return None if row is None else row[0]


def accept(
    database: Database, scorer: str, version: int, *, by: str, why: str, at: datetime
) -> Acceptance:
    """Let a version pass that was held back: it becomes a version anew, the newest, in force from
    then on. A second time nothing changes.
    """
    number = next_version(database, "model_versions")
    found = database.execute(
        "select is_promoted, accepts, model = '{{}}', metrics ? 'leakage'"
        " from {ops}.model_versions"
        " where version = %s and scorer = %s",
        (version, scorer),
    ).fetchone()
    newest = _newest_learned(database, scorer)
    if (why_not := _why_not(scorer, version, found, newest)) is not None:
        return Acceptance(None, why_not=why_not)
    assert newest is not None
    if newest[2] is not None:
        return Acceptance(newest[2])
    database.execute(
        "insert into {ops}.model_versions (version, scorer, target, horizon_days, as_of,"
        " trained_at, rows, leavers, model, metrics, is_promoted, decision, accepts,"
        " accepted_by, accepted_why)"
        " select %(number)s, scorer, target, horizon_days, as_of, %(at)s, rows, leavers, model,"
        " metrics, true, %(decision)s, version, %(by)s, %(why)s from {ops}.model_versions"
        " where version = %(version)s",
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
    scorer: str,
    version: int,
    found: tuple[bool, int | None, bool, bool] | None,
    newest: tuple[int, bool, int | None] | None,
) -> str | None:
    """Why a version can't be accepted; None where it can."""
    if found is None:
        return f"there is no version {version} of {scorer}"
    is_promoted, accepts, is_empty, waits = found
    if is_empty:
        return f"version {version} holds nothing: {scorer} began anew"
    if is_promoted:
        said = "" if accepts is None else f", it is version {accepts}, accepted"
        return f"version {version} is not held back{said}"
    if not waits:
        return f"version {version} was refused: it is of no use"
    if newest is None or newest[0] != version:
        later = "" if newest is None else f": version {newest[0]} was learned after it"
        return f"version {version} is no longer of use{later}"
    return None


def accepted_upper(database: Database, scorer: str) -> float | None:
    """How well the version that was accepted last tells departures, at most: an AUC; None before
    any was accepted, or where all was forgotten since.
    """
    row = database.execute(
        f"""
            select (metrics #>> '{{{{leakage,auc,upper}}}}')::float8 from {{ops}}.model_versions
            where
                scorer = %(scorer)s
                and accepts is not null
                and {_BELIEVED}
            order by version desc
            limit 1
            """,
        {"scorer": scorer},
    ).fetchone()
    return None if row is None else row[0]


def forget_learned(database: Database, scorer: str, why: str, at: datetime) -> None:
    """Let a scorer begin anew: versions stay, as they are never changed, and the newest says that
    those before it are not believed any more.
    """
    with database.transaction():
        database.execute("delete from {ops}.score_references where scorer = %s", (scorer,))
        known = database.execute(
            "select target, horizon_days, model <> '{{}}' from {ops}.model_versions"
            " where scorer = %s order by version desc limit 1",
            (scorer,),
        ).fetchone()
        if known is None or not known[2]:
            return
        add(
            database,
            "model_versions",
            {
                "version": next_version(database, "model_versions"),
                "scorer": scorer,
                "target": known[0],
                "horizon_days": known[1],
                "as_of": datetime.fromtimestamp(0, UTC),  # whatever moment is asked about
                "trained_at": at,
                "rows": 0,
                "leavers": 0,
                "model": {},
                "metrics": {},
                "is_promoted": False,
                "decision": why,
            },
        )


def held_levels(
    database: Database, subject: Subject, scorer: str, as_of: datetime, scope: Scope
) -> dict[str, str]:
    """The level that a scorer last gave each subject up to a moment, where it is above Low; of a
    fortnight.
    """
    rows = database.execute(
        sql.SQL(
            "select distinct on ({key}) {key}, level from {table}"
            " where scorer = %(scorer)s and as_of <= %(as_of)s and as_of_on > %(since)s"
            " and (%(scope)s::text[] is null or {key} = any(%(scope)s::text[]))"
            " order by {key}, as_of desc"
        ).format(
            key=sql.Identifier(subject.key),
            table=sql.Identifier(database.schemas.ops, f"{subject}_scores"),
        ),
        {
            "scorer": scorer,
            "as_of": as_of,
            "since": day_of(database.warehouse, as_of) - timedelta(days=14),
            "scope": _list(scope),
        },
    ).fetchall()
    return {identity: level for identity, level in rows if level in ("Medium", "High")}


def next_version(database: Database, table: str) -> int:
    """The version that the next row of `score_references` or `model_versions` gets; nobody else
    gets one until the transaction ends.
    """
    database.lock(table)
    row = database.execute(
        sql.SQL("select coalesce(max(version), 0) + 1 from {}").format(
            sql.Identifier(database.schemas.ops, table)
        )
    ).fetchone()
    assert row is not None
    version: int = row[0]
    return version


def add(database: Database, table: str, columns: Mapping[str, Any]) -> None:
    """Insert one row; mappings become JSON."""
    database.execute(
        sql.SQL("insert into {} ({}) values ({})").format(
            sql.Identifier(database.schemas.ops, table),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join(map(sql.Placeholder, columns)),
        ),
        {
            name: Jsonb(dict(value)) if isinstance(value, Mapping) else value
            for name, value in columns.items()
        },
    )


def _list(scope: Scope) -> list[str] | None:
    return None if scope is None else list(scope)

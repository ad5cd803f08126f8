"""Rows that vanish: what the platform's tables hold now, beside what they held lately.

A half-copied replica, an overwriting sync or row-level security shows fewer rows, and every figure
follows. So before anything is derived, the rows are counted and compared with the states that were
accepted in the last 24 hours (`ops.source_states`): losses of many passes add up. A loss over the
limits stops everything until the rows are back or somebody accepts it.

Belongs here: counting, comparing, accepting. Only `ops.source_states` is written.
Does not belong here: what stops, and who is told (`steps.losses`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.sources import relations
from tutor_pipeline.sources.changes import versions
from tutor_pipeline.sources.contract import load_contract
from tutor_pipeline.sources.relations import Columns, UnreadableError, is_filled, refuse_hidden

LOOKBACK = timedelta(days=90)
"""Sessions count that started so long before the moment of a state, or later up to it."""
MEMORY = timedelta(hours=24)
"""Losses add up over so long."""
EVERY = timedelta(hours=1)
"""How often a refresh of some tutors adds a state."""

SESSIONS, TUTORS = "sessions", "tutors"

ASSET, CHECK = "platform/sessions", "rows_are_still_there"
"""The check that says whether rows are missing, by its table and name."""

Counts = Mapping[str, int]
"""Rows by table, and values by `table.column`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """A loss of one kind is too large if it is over the `share` (0 to 1) and over so many rows."""

    share: float
    sessions: int
    tutors: int

    def allow(self, kind: str, had: int, has: int) -> bool:
        """Whether the loss is an ordinary one."""
        lost = had - has
        rows = self.tutors if kind.split(".", maxsplit=1)[0] == TUTORS else self.sessions
        return lost <= rows or lost <= self.share * had


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss over the limits. `kind`: a table, or `table.column` of which values are gone."""

    kind: str
    had: int
    has: int
    since: datetime

    def __str__(self) -> str:
        of = "values" if "." in self.kind else "rows"
        lost = self.had - self.has
        return (
            f"{self.kind}: {lost:,} of {self.had:,} {of} are gone"
            f" ({lost / self.had:.0%}, there at {self.since:%Y-%m-%d %H:%M} UTC)"
        )


@dataclass(frozen=True, slots=True)
class _State:
    accepted_at: datetime
    as_of: datetime
    counts: Counts


def headline(observed: str) -> str:
    """Returns the outcome of the check as a sentence: what is gone, or what may not be read."""
    return f"rows of the platform are missing: {observed}" if " are gone" in observed else observed


def find(database: Database, now: datetime, limits: Limits, *, whole: bool) -> list[Loss]:
    """Returns the losses over the limits: of sessions, of tutors, then the largest share first.

    What belongs to lost rows is not named again. Compares sessions, tutors, and whether other
    tables became empty; with `whole` the rows and values of every table of the contract.
    Raises UnreadableError, or TutorPipelineError: there are no sessions to be read.
    """
    found: dict[str, Loss] = {}
    _readable(database)
    states = [state for state in _states(database, now) if state.counts]
    counts = _count_each(database, [state.as_of for state in states], whole=whole)
    for state, has in zip(states, counts, strict=True):
        for kind, had in state.counts.items():
            here = has.get(kind, 0) if whole or kind in (SESSIONS, TUTORS) else None
            if here is None:
                # A table that is not counted: at least it is not empty.
                here = had if "." in kind or is_filled(database, kind) else 0
            if limits.allow(kind, had, here):
                continue
            if kind not in found or had > found[kind].had:
                found[kind] = Loss(kind, had, here, state.accepted_at)
    return sorted(
        _causes(found),
        key=lambda loss: (
            loss.kind != SESSIONS,
            loss.kind != TUTORS,
            loss.has / loss.had,
            loss.kind,
        ),
    )


def count(database: Database, as_of: datetime, *, whole: bool) -> dict[str, int]:
    """Returns the rows and values of now, of sessions of the 90 days up to `as_of`.

    Without `whole` only those of sessions and tutors. Raises TutorPipelineError: the sessions
    cannot be read.
    """
    (found,) = _count_each(database, [as_of], whole=whole)
    return found


def _count_each(
    database: Database, moments: Sequence[datetime], *, whole: bool
) -> list[dict[str, int]]:
    """Returns the counts for the 90 days up to each moment."""
    if not moments:
        return []
    columns = _readable(database)
    if whole:
        return [_count_all(database, columns, as_of) for as_of in moments]
    sessions = _count_sessions(database, columns, moments)
    tutors: dict[str, int] = {}
    if TUTORS in columns:
        tutors = _values(database, columns, TUTORS, {}, whole=False)
    return [{SESSIONS: found, **tutors} for found in sessions]


def _count_all(database: Database, columns: Columns, as_of: datetime) -> dict[str, int]:
    window = {"since": as_of - LOOKBACK, "until": as_of}
    found: dict[str, int] = {}
    for table in columns:
        found |= _values(database, columns, table, window, whole=True)
    return found


def _count_sessions(database: Database, columns: Columns, moments: Sequence[datetime]) -> list[int]:
    """Returns the sessions of the 90 days up to each moment, in one scan."""
    window = {"since": min(moments) - LOOKBACK, "until": max(moments)}
    counts = sql.SQL(", ").join(
        sql.SQL("count(*) filter (where started_at > {} and started_at <= {})").format(
            sql.Literal(as_of - LOOKBACK), sql.Literal(as_of)
        )
        for as_of in moments
    )
    query = database.sql(
        "select {counts} from ({started}) as started",
        counts=counts,
        started=versions.started(database.warehouse, columns),
    )
    return _one(database, SESSIONS, query, window)


def accept(
    database: Database,
    as_of: datetime,
    now: datetime,
    *,
    run_id: str,
    why: str,
    by: str | None = None,
    whole: bool,
) -> None:
    """Takes what the tables hold now as true. `by`: who accepts a loss, None = there is none."""
    newest = _newest(database)
    counts: dict[str, int] = {}
    if not whole and newest is not None:
        counts |= newest.counts  # what was not counted stays as it was
    counts |= count(database, as_of, whole=whole)
    _add(database, as_of, now, counts, run_id=run_id, why=why, by=by)


def accept_next(database: Database, now: datetime, *, why: str) -> None:
    """Takes whatever the next refresh finds as true: another platform is about to be there."""
    _add(database, now, now, {}, run_id=None, why=why, by=None)


def has_states(database: Database) -> bool:
    """Whether anything was ever accepted."""
    return _newest(database) is not None


def is_due(database: Database, now: datetime) -> bool:
    """Whether a refresh of some tutors adds a state."""
    newest = _newest(database)
    return newest is None or now - newest.accepted_at >= EVERY


def read_whole(database: Database, tutors: Sequence[str] | None) -> bool:
    """Whether a refresh of these tutors (None = all) read every session that is known of them.

    False: sessions were missing while it read and are there again, as while a table is emptied and
    filled. What it built is of no moment at which the platform was whole.
    """
    missing = set(
        database.execute(
            statement(__file__, "not_read"),
            {"tutors": None if tutors is None else list(tutors)},
        )
    )
    if not missing:
        return True
    columns = versions.read_columns(database)
    there = database.execute(
        versions.with_ids(database.warehouse, columns),
        {
            "session_ids": versions.ids_of_their_type(
                columns, sorted({session for _, session in missing})
            )
        },
    )
    return missing.isdisjoint(there)


def _states(database: Database, now: datetime) -> list[_State]:
    """The oldest state of the last 24 hours and the newest of all, after the newest acceptance."""
    rows = database.rows(
        statement(__file__, "states_in_force"),
        {"since": now - MEMORY, "source_map": _mapping(database)},
    )
    return [_State(row["accepted_at"], row["as_of"], row["counts"]) for row in rows]


def _newest(database: Database) -> _State | None:
    row = database.one(
        "select accepted_at, as_of, counts from {ops}.source_states where source_map = %s"
        " order by state_no desc limit 1",
        (_mapping(database),),
    )
    return None if row is None else _State(row["accepted_at"], row["as_of"], row["counts"])


def _add(
    database: Database,
    as_of: datetime,
    now: datetime,
    counts: Counts,
    *,
    run_id: str | None,
    why: str,
    by: str | None,
) -> None:
    database.execute(
        "insert into {ops}.source_states"
        " (accepted_at, as_of, run_id, accepted_by, why, counts, source_map)"
        " values (%s, %s, %s, %s, %s, %s, %s)",
        (now, as_of, run_id, by, why, Jsonb(dict(counts)), _mapping(database)),
    )


def _mapping(database: Database) -> str:
    # States of another mapping say nothing of what is there: a changed one accepts what it finds.
    source = database.warehouse.source
    return "" if source is None else source.fingerprint


def _causes(found: Mapping[str, Loss]) -> list[Loss]:
    """Leaves out columns of a table whose rows are gone, and what is about sessions that are."""
    of_sessions = {
        table.name
        for table in load_contract().tables
        if any(column.name == "session_id" for column in table.columns)
    }
    causes = []
    for kind, loss in found.items():
        table, _, column = kind.partition(".")
        if (column and table in found) or (SESSIONS in found and table in of_sessions):
            continue
        causes.append(loss)
    return causes


def _readable(database: Database) -> Columns:
    """Returns the tables and columns of the contract that are there.

    Raises UnreadableError: a privilege is missing, or rows are hidden, which looks like a smaller
    platform. Raises TutorPipelineError: there are no sessions to be read.
    """
    others = [table.name for table in load_contract().tables]
    columns = versions.read_columns(database, others=others)
    refuse_hidden(database, columns)
    return columns


def _values(
    database: Database,
    columns: Columns,
    table: str,
    window: Mapping[str, datetime],
    *,
    whole: bool,
) -> dict[str, int]:
    """Returns the rows of a table and, if `whole`, its values by column of the contract.

    Rows about sessions count if these started in the window.
    """
    started = versions.started(database.warehouse, columns)
    names = [each.name for each in load_contract().table(table).columns]
    counted = [name for name in names if whole and name in columns[table]]
    rows = database.warehouse.platform_table(table)
    of_sessions: sql.Composable = sql.SQL("")
    if table == SESSIONS:
        rows = sql.SQL("({})").format(started)
    elif "session_id" in columns[table]:
        of_sessions = sql.SQL(
            "where s.session_id::text in (select started.id::text from ({}) as started)"
        ).format(started)
    query = database.sql(
        "select {counts} from {rows} as s {of_sessions}",
        counts=sql.SQL(", ").join(
            [
                sql.SQL("count(*)"),
                *(sql.SQL("count({})").format(sql.Identifier("s", name)) for name in counted),
            ]
        ),
        rows=rows,
        of_sessions=of_sessions,
    )
    found = _one(database, table, query, window)
    return dict(zip([table, *(f"{table}.{name}" for name in counted)], found, strict=True))


def _one(
    database: Database, table: str, query: sql.Composed, window: Mapping[str, datetime]
) -> list[int]:
    """Returns the only row of a query that reads a platform table.

    Raises UnreadableError: the table is a view that fails, or a foreign one whose server is gone.
    """
    try:
        row = database.execute(query, window).fetchone()
    except psycopg.Error as error:
        if database.connection.broken:
            raise
        said = str(error).strip().splitlines()[0]
        raise UnreadableError(
            f"{relations.shown(database.warehouse, table)} cannot be read: {said}"
        ) from error
    assert row is not None
    return list(row)

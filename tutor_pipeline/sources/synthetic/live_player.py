"""Commits simulated transactions to the platform in real time, and reads the tutors it has.

Belongs here: connections, waiting, transactions that stay open, an unreachable database.
Does not belong here: which transactions there are (live_simulation.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heappop, heappush
from itertools import count

import psycopg
from psycopg import sql

from tutor_pipeline.core.errors import RefusedError, TutorPipelineError
from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.core.warehouse.marked_schemas import schema_mark
from tutor_pipeline.core.warehouse.platform import is_ours, refuse_mapping
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.sources.synthetic.casting import (
    BARGAIN,
    KNOWN_FOR,
    Teacher,
    cast_of,
    everybody,
)
from tutor_pipeline.sources.synthetic.live_events import Cast, Event, Pair, Verb, Write
from tutor_pipeline.sources.synthetic.live_simulation import MOST_PAIRS
from tutor_pipeline.sources.synthetic.parameters import Parameters

_MOST_HELD = 8  # open transactions; before another one opens, the first to end is committed early
_RETRY_SECONDS = 1.0

_ACTIVE_TUTORS = """
    select
        tutors.user_id,
        coalesce(tutors.hourly_rate, 30)::float8,
        array(
            select array[subjects.id, subjects.name]
            from {platform}.tutor_subjects
            join {platform}.subjects on subjects.id = tutor_subjects.subject_id
            where tutor_subjects.tutor_id = tutors.user_id
            order by subjects.name = tutors.primary_subject desc, subjects.id
        )
    from {platform}.tutors
    where tutors.active_status is not false
    order by tutors.user_id
"""
_KNOWN_PAIRS = statement(__file__, "known_pairs")


def refuse_others(database: Database) -> None:
    """Raises RefusedError unless we made the platform's schema."""
    refuse_mapping(database)
    if schema_mark(database.connection, database.schemas.platform) is None:
        raise RefusedError("there is no platform yet. Run first: tutor-pipeline generate")
    if not is_ours(database):
        raise RefusedError(
            f'the schema "{database.schemas.platform}" of {database.warehouse.masked_url} is a'
            " platform's own: nothing is ever written to it.\nUnset TUTOR_PLATFORM_SCHEMA, and run"
            " first: tutor-pipeline generate"
        )


def read_cast(database: Database, parameters: Parameters, now: datetime) -> Cast:
    """Returns the active tutors of the synthetic platform made with `parameters`, with students.

    Raises RefusedError for a platform that is not ours or that has none of these tutors.
    """
    refuse_others(database)
    here = everybody(parameters)
    found = [row for row in database.execute(_ACTIVE_TUTORS) if row[0] in here]
    if not found:
        raise RefusedError(
            "the platform has no tutors to simulate. Run first: tutor-pipeline generate"
        )
    teachers = [
        Teacher(tutor_id, rate, tuple((key, name) for key, name in taught))
        for tutor_id, rate, taught in found
    ]
    known = {"since": now - KNOWN_FOR, "most": MOST_PAIRS, "bargain": BARGAIN}
    pairs = database.execute(_KNOWN_PAIRS, known)
    return cast_of(parameters, teachers, ((tutor_id, Pair(*pair)) for tutor_id, *pair in pairs))


@dataclass(slots=True)
class Summary:
    """What was committed.

    `away_seconds`: how long the database was unreachable. `most_behind`: the longest delay of a
    transaction, in seconds. `given_up`: transactions that were not committed before the stop.
    """

    transactions: int = 0
    given_up: int = 0
    outages: int = 0
    away_seconds: float = 0.0
    most_behind: float = 0.0


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def play(
    warehouse: Warehouse,
    events: Iterator[Event],
    *,
    until: float | None = None,
    committed: Callable[[Event], None] = lambda _: None,
    tell: Callable[[str], None] = lambda _: None,
    wait: Callable[[float], bool] = _sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Summary:
    """Commits each event in a transaction of its own at its time, counted from now.

    Ends after the last event, before the first one that begins `until` seconds or more after the
    start, or when `wait` returns True; `wait` takes the seconds to wait (0 or more). Transactions
    that are open at the end are committed. `committed` is called right after each COMMIT. While
    the database is unreachable, it waits and tries again. All statements can be repeated, so
    nothing is lost and nothing is written twice.
    """
    with _Player(warehouse, committed, tell, wait, clock) as player:
        return player.play(events, until)


@dataclass(slots=True)
class _Player:
    warehouse: Warehouse
    committed: Callable[[Event], None]
    tell: Callable[[str], None]
    wait: Callable[[float], bool]
    clock: Callable[[], float]
    summary: Summary = field(default_factory=Summary)
    stopped: bool = False
    began: float = 0.0
    # When to commit (seconds after the start), a tie-breaker, the event and its connection.
    held: list[tuple[float, int, Event, Database]] = field(default_factory=list)
    database: Database | None = None
    number: Iterator[int] = field(default_factory=count)

    def __enter__(self) -> _Player:
        return self

    def __exit__(self, *_: object) -> None:
        for *_ignored, database in self.held:
            database.close()
        self._close()

    def play(self, events: Iterator[Event], until: float | None) -> Summary:
        self.began = self.clock()
        upcoming = next(events, None)
        while True:
            if upcoming is not None and until is not None and upcoming.at >= until:
                upcoming = None
            due = [entry[0] for entry in self.held[:1]] + ([upcoming.at] if upcoming else [])
            if not due or self._wait(min(due) - self._now()):
                break
            if self.held and self.held[0][0] <= min(due):
                self._release()
            elif upcoming is not None:
                if upcoming.held_for:
                    self._hold(upcoming)
                else:
                    self._write(upcoming)
                upcoming = next(events, None)
        while self.held:
            self._release()
        return self.summary

    def _now(self) -> float:
        return self.clock() - self.began

    def _wait(self, seconds: float) -> bool:
        self.stopped = self.wait(max(seconds, 0.0)) or self.stopped
        return self.stopped

    def _hold(self, event: Event) -> None:
        """Opens a connection and a transaction for the event, and leaves both open."""
        if len(self.held) >= _MOST_HELD:
            self._release()
        try:
            database = self.warehouse.connect()
        except TutorPipelineError as error:
            if not _is_away(error):
                raise
            self._write(event)
            return
        entry = (event.at + event.held_for, next(self.number), event, database)
        heappush(self.held, entry)
        try:
            self._execute(database, event)
        except psycopg.Error as error:
            self.held.remove(entry)
            database.close()
            if not _is_away(error):
                raise
            self._write(event)

    def _release(self) -> None:
        """Commits the open transaction that is due first."""
        due, _, event, database = heappop(self.held)
        try:
            database.commit()
        except psycopg.Error as error:
            database.close()
            if not _is_away(error):
                raise
            self._write(event)
        else:
            self._note(event, due)
            database.close()

    def _write(self, event: Event) -> None:
        """Commits one event however long it takes; gives up only when told to stop."""
        away_since: float | None = None
        while True:
            try:
                if self.database is None:
                    self.database = self.warehouse.connect(autocommit=True)
                with self.database.transaction():
                    self._execute(self.database, event)
            except (psycopg.Error, TutorPipelineError) as error:
                self._close()
                if not _is_away(error):
                    raise
                if away_since is None:
                    away_since = self.clock()
                    self.summary.outages += 1
                    reason = str(error.__cause__ or error).strip().splitlines()[:1]
                    self.tell(f"the database is away ({''.join(reason)}); waiting for it")
                if self._wait(_RETRY_SECONDS):
                    self.summary.given_up += 1
                    return
            else:
                self._note(event, event.at)
                break
        if away_since is not None:
            away = self.clock() - away_since
            self.summary.away_seconds += away
            self.tell(f"the database is back after {away:.0f} s; going on")

    def _execute(self, database: Database, event: Event) -> None:
        for write in event.writes:
            database.execute(self._statement(write), {**write.values, "key": event.session_id})

    def _statement(self, write: Write) -> sql.Composed:
        table = sql.Identifier(self.warehouse.schemas.platform, write.table)
        columns = list(map(sql.Identifier, write.values))
        places = [sql.Placeholder(name) for name in write.values]
        if write.verb is Verb.INSERT:
            return sql.SQL("insert into {} ({}) values ({}) on conflict do nothing").format(
                table, sql.SQL(", ").join(columns), sql.SQL(", ").join(places)
            )
        key = sql.Identifier("id" if write.table == "sessions" else "session_id")
        if write.verb is Verb.DELETE:
            return sql.SQL("delete from {} where {} = {}").format(
                table, key, sql.Placeholder("key")
            )
        changes = [
            sql.SQL("{} = {}").format(column, place)
            for column, place in zip(columns, places, strict=True)
        ]
        return sql.SQL("update {} set {} where {} = {}").format(
            table, sql.SQL(", ").join(changes), key, sql.Placeholder("key")
        )

    def _note(self, event: Event, due: float) -> None:
        self.committed(event)
        summary = self.summary
        summary.transactions += 1
        summary.most_behind = max(summary.most_behind, self._now() - due)

    def _close(self) -> None:
        if self.database is not None:
            self.database.close()
            self.database = None


def _is_away(error: Exception) -> bool:
    """Whether trying again may help: the server went away or refused a connection."""
    return isinstance(error, psycopg.OperationalError) or isinstance(
        error.__cause__, psycopg.OperationalError
    )

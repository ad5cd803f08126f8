"""The life of a made-up platform as signed events: `simulate --post`, which needs no database.

Belongs here: what joins the generator, the simulation and the sender of events.
Does not belong here: which events happen (sources.synthetic), how they are said and sent
(sources.events).
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from datetime import time as of_day
from heapq import heappop, heappush
from itertools import count as numbers

from tutor_pipeline.sources.events.saying import (
    Event,
    Row,
    deletion_of,
    event_of,
    events_of,
)
from tutor_pipeline.sources.events.sending import Receipt, Sender, StoppedError
from tutor_pipeline.sources.synthetic.live_events import Event as Transaction
from tutor_pipeline.sources.synthetic.live_events import Verb
from tutor_pipeline.sources.synthetic.population import Population
from tutor_pipeline.sources.synthetic.rows import rows_of

_SHOWN_PROBLEMS = 5


@dataclass(slots=True)
class Told:
    """What the receiver said of the events: how many of each status, and which have problems."""

    statuses: Counter[str] = field(default_factory=Counter)
    problems: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def add(self, receipts: Iterable[Receipt]) -> None:
        """Counts receipts, and keeps the first problems."""
        for each in receipts:
            self.statuses[each.status] += 1
            if each.problems and len(self.problems) < _SHOWN_PROBLEMS:
                self.problems[each.event_id] = each.problems


@dataclass(slots=True)
class Played:
    """What was sent of the simulation. `transactions`: how many it was answered for, `given_up`:
    how many it was told to stop in.
    """

    told: Told = field(default_factory=Told)
    transactions: int = 0
    given_up: int = 0


def history_of(population: Population) -> list[Event]:
    """Returns all that a population holds as events, up to the end of its last day: the same
    events whenever they are made.
    """
    days = population.parameters.days
    end = _midnight(population.parameters.end + timedelta(days=1))
    rows = {table: rows_of(table, columns) for table, columns in population.platform.items()}
    return list(events_of(rows, now=end, since=end - timedelta(days=days)))


def send_history(
    sender: Sender,
    events: list[Event],
    *,
    progress: Callable[[str, int, int], object],
    is_stopped: Callable[[], bool],
) -> Told:
    """Sends events in batches until all are there or it is told to stop."""
    told, done = Told(), 0
    try:
        for receipts in sender.send_all(events):
            told.add(receipts)
            done += len(receipts)
            progress("events", done, len(events))
            if is_stopped():
                break
    except StoppedError:
        pass
    return told


def play(
    sender: Sender,
    transactions: Iterator[Transaction],
    start: datetime,
    *,
    until: float | None,
    wait: Callable[[float], bool],
    sent: Callable[[Transaction], None],
) -> Played:
    """Sends each transaction as events when it would be committed, counted from now; `start` is
    the moment for which they were made. Ends after the last, before the first that begins `until`
    seconds or more after the start, or when `wait` returns True.
    """
    played, saying, began = Played(), Saying(start), time.monotonic()
    for transaction in _as_committed(transactions, until):
        due = transaction.at + transaction.held_for
        if wait(max(began + due - time.monotonic(), 0.0)):
            break
        try:
            played.told.add([sender.send(event) for event in saying.events_of(transaction)])
        except StoppedError:
            played.given_up += 1
            break
        played.transactions += 1
        sent(transaction)
    return played


class Saying:
    """Says transactions of a simulation as events: an update of a session under the type of its
    status, which it keeps.
    """

    def __init__(self, start: datetime) -> None:
        self._start = start
        self._statuses: dict[str, str] = {}

    def events_of(self, transaction: Transaction) -> list[Event]:
        """Returns what a transaction does to the platform's tables."""
        at = self._start + timedelta(seconds=transaction.at)
        session_id = transaction.session_id
        inserted: dict[str, list[Row]] = defaultdict(list)
        found: list[Event] = []
        for write in transaction.writes:
            if write.table == "sessions" and "status" in write.values:
                self._statuses[session_id] = write.values["status"]
            if write.verb is Verb.INSERT:
                inserted[write.table].append(write.values)
            elif write.table == "sessions":  # its parts go with it
                row = {"id": session_id, "status": self._statuses.get(session_id), **write.values}
                if write.verb is Verb.DELETE:
                    found.append(deletion_of("sessions", row, at))
                    self._statuses.pop(session_id, None)
                else:
                    found.append(event_of("sessions", row, at))
        return [*events_of(inserted, now=at, since=at), *found]


def _as_committed(
    transactions: Iterator[Transaction], until: float | None
) -> Iterator[Transaction]:
    """Yields transactions in the order in which they end, of those that begin before `until`."""
    held: list[tuple[float, int, Transaction]] = []
    number = numbers()
    for transaction in transactions:
        if until is not None and transaction.at >= until:
            break
        while held and held[0][0] <= transaction.at:
            yield heappop(held)[-1]
        heappush(held, (transaction.at + transaction.held_for, next(number), transaction))
    while held:
        yield heappop(held)[-1]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, of_day.min, UTC)

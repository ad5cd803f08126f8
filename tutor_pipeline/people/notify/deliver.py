"""Deliver: each message to each of its addresses, once.

A delivery is claimed for a while (a lease, which a sender that lives prolongs), sent, and marked.
A sender that dies leaves its lease to run out, and another one goes on: what it had sent and not
yet marked is sent once more, as the same message. A delivery that failed is tried again after a
wait that grows, and is dead after MAX_ATTEMPTS, which `defs` reports.

An address has one message at a time, whoever sends, and a host a share of the workers: one that is
slow or down holds up no other.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.people.notify.targets import DeliveryError, Outgoing, Target

Clock = Callable[[], datetime]

MAX_ATTEMPTS = 8
FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=6)
"""The wait is four times as long after each failure: 30 s, 2 min, 8 min … 15 h until dead."""

LEASE = timedelta(seconds=90)
PROLONG_SECONDS = 20
LEFT_FOR = timedelta(minutes=10)
UNKNOWN_AFTER = timedelta(days=1)
"""An address that no setting names here is left to others for so long, and then given up."""

_WORKERS = 8
_POLL_SECONDS = 0.5
_TRIES = 5

# Another message is on its way to the same address.
_AT_WORK = """exists (
    select from {ops}.deliveries as other
    where other.target = deliveries.target and other.state = 'waiting'
        and other.leased_until >= %(now)s
)"""

_CLAIM = """
    with chosen as (
        select message_id, target
        from {ops}.deliveries
        where
            state = 'waiting'
            and due_at <= %(now)s
            and attempts < %(most)s
            and (leased_until is null or leased_until < %(now)s)
            and target <> all(%(busy)s)
            and not {at_work}
            and (message_id, target) in (
                select waiting.message_id, known.target
                from {ops}.deliveries as waiting
                inner join {ops}.messages as sent on waiting.message_id = sent.message_id
                inner join unnest(%(audiences)s::text[], %(targets)s::text[])
                    as known (audience, target)
                    on waiting.target = known.target and sent.audience = known.audience
                where waiting.state = 'waiting' and waiting.due_at <= %(now)s
            )
        order by due_at, message_id, target
        limit 1
        for update skip locked
    )

    update {ops}.deliveries
    set leased_until = %(until)s, leased_by = %(sender)s, attempts = attempts + 1
    from chosen, {ops}.messages
    where
        deliveries.message_id = chosen.message_id
        and deliveries.target = chosen.target
        and messages.message_id = chosen.message_id
    returning
        deliveries.message_id, deliveries.target, deliveries.attempts, messages.audience,
        messages.kind, messages.subject, messages.text_body, messages.html_body, messages.made_at
"""

_PROLONG = """
    update {ops}.deliveries set leased_until = %s
    where leased_by = %s and state = 'waiting' and leased_until is not null
"""

# Only the sender whose claim it is may say what became of it.
_MARK = """
    update {ops}.deliveries
    set
        state = %(state)s, last_error = %(error)s, due_at = coalesce(%(due_at)s, due_at),
        ended_at = %(ended_at)s, leased_until = null, leased_by = null
    where message_id = %(message_id)s and target = %(target)s and leased_by = %(sender)s
"""

# A sender died over its last try.
_BURY = """
    update {ops}.deliveries
    set
        state = 'dead', ended_at = %(now)s, leased_until = null, leased_by = null,
        last_error = coalesce(last_error, 'the sender died while sending it')
    where
        state = 'waiting'
        and (leased_until is null or leased_until < %(now)s)
        and attempts >= %(most)s
    returning target
"""

# Who has other settings may know the address: kept for them, and not looked at all the time.
_LEAVE = """
    update {ops}.deliveries
    set
        due_at = %(later)s,
        state = case when sent.made_at < %(forgotten)s then 'dropped' else state end,
        ended_at = case when sent.made_at < %(forgotten)s then %(now)s else ended_at end,
        last_error = case
            when sent.made_at < %(forgotten)s then 'no setting names this address any more'
            else last_error
        end
    from {ops}.messages as sent
    where
        sent.message_id = deliveries.message_id
        and (deliveries.state = 'dead' or (deliveries.state = 'waiting'
            and deliveries.due_at <= %(now)s
            and (deliveries.leased_until is null or deliveries.leased_until < %(now)s)))
        and (deliveries.state = 'waiting' or sent.made_at < %(forgotten)s)
        and (sent.audience, deliveries.target) not in (
            select * from unnest(%(audiences)s::text[], %(targets)s::text[])
        )
"""

_DUE = """
    select count(*), min(due_at) from {ops}.deliveries
    where state = 'waiting' and due_at <= %(now)s
        and (leased_until is null or leased_until < %(now)s)
        and not {at_work}
"""

_RETRY = """
    update {ops}.deliveries
    set state = 'waiting', attempts = 0, due_at = %s, ended_at = null, last_error = null
    where state = 'dead' and (%s::text[] is null or message_id = any(%s::text[]))
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that this sender has to make; the `attempts`-th try."""

    target: str
    attempts: int
    message: Outgoing


@dataclass(slots=True)
class Tally:
    """What a sender did: {target: messages} that arrived, that failed and wait, that are dead; and
    what happened, as (subject, target, what).
    """

    sent: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    dead: Counter[str] = field(default_factory=Counter)
    lines: list[tuple[str, str, str]] = field(default_factory=list)


class Sender:
    """One sender, of any number at work at once. `targets` are the addresses of each audience by
    name, `clock` says what time it is, `tell` is given a sentence for each delivery that ended.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        targets: Mapping[Audience, Mapping[str, Target]],
        clock: Clock,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._warehouse = warehouse
        self._targets = targets
        self._clock = clock
        self._tell = tell
        self._name = uuid4().hex
        pairs = [(audience, name) for audience, own in targets.items() for name in own]
        self._known = {
            "audiences": [audience for audience, _ in pairs],
            "targets": [name for _, name in pairs],
        }
        self.tally = Tally()

    def run(
        self, prepare: Callable[[], object], *, max_seconds: float, linger_seconds: float = 0
    ) -> Tally:
        """Send what is due, until nothing was for `linger_seconds`, and take nothing new after
        `max_seconds`. `prepare` is called before each look: it makes messages of the outbox.
        """
        began = busy = time.monotonic()
        at_work: dict[Future[str | None], Claim] = {}
        in_vain = 0
        with self._prolonging(), ThreadPoolExecutor(_WORKERS) as pool:
            try:
                while True:
                    if time.monotonic() - began < max_seconds:
                        try:
                            self._take(prepare, pool, at_work)
                            in_vain = 0
                        except (psycopg.OperationalError, TutorPipelineError):
                            # The database may be back in a moment.
                            in_vain += 1
                            if in_vain >= _TRIES:
                                raise
                            time.sleep(in_vain)
                            continue
                    elif not at_work:
                        break
                    if at_work:
                        ended, _ = wait(at_work, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                        for future in ended:
                            self._end(at_work.pop(future), future.result())
                        busy = time.monotonic()
                    elif time.monotonic() - busy >= linger_seconds:
                        break
                    else:
                        time.sleep(_POLL_SECONDS)
            finally:
                # Whatever stops us: what has been sent is marked, or it would be sent again.
                for future, claim in at_work.items():
                    self._end(claim, future.result())
        return self.tally

    def _take(
        self,
        prepare: Callable[[], object],
        pool: ThreadPoolExecutor,
        at_work: dict[Future[str | None], Claim],
    ) -> None:
        """Make messages, and begin to send as many as there are hands for."""
        prepare()
        self._clear()
        while len(at_work) < _WORKERS and (claim := self._claim(self._crowded(at_work.values()))):
            at_work[pool.submit(self._send, claim)] = claim

    def _crowded(self, at_work: Collection[Claim]) -> list[str]:
        """The addresses on hosts that keep their share of the workers busy already."""
        hosts = Counter(self._target(claim).host for claim in at_work)
        full = {host for host, number in hosts.items() if number >= _WORKERS // 2}
        return [
            name
            for own in self._targets.values()
            for name, target in own.items()
            if target.host in full
        ]

    def _target(self, claim: Claim) -> Target:
        return self._targets[claim.message.audience][claim.target]

    def _claim(self, busy: Collection[str]) -> Claim | None:
        now = self._clock()
        with self._warehouse.connect() as database:
            row = (
                database.connection.cursor(row_factory=dict_row)
                .execute(
                    _sql(self._warehouse, _CLAIM),
                    {
                        "now": now,
                        "until": now + LEASE,
                        "sender": self._name,
                        "most": MAX_ATTEMPTS,
                        **self._known,
                        "busy": list(busy),
                    },
                )
                .fetchone()
            )
        if row is None:
            return None
        message = Outgoing(
            row["message_id"],
            Audience(row["audience"]),
            row["kind"],
            row["subject"],
            row["text_body"],
            row["html_body"],
            row["made_at"],
        )
        return Claim(row["target"], row["attempts"], message)

    def _send(self, claim: Claim) -> str | None:
        """Send; None when it arrived, else why not."""
        try:
            self._target(claim).send(claim.message)
        except DeliveryError as error:
            return str(error)
        except Exception as error:  # one address that breaks must not stop the others
            return f"{type(error).__name__} in the sender"
        return None

    def _end(self, claim: Claim, error: str | None) -> None:
        now = self._clock()
        is_dead = error is not None and claim.attempts >= MAX_ATTEMPTS
        state = "sent" if error is None else "dead" if is_dead else "waiting"
        due_at = now + backoff(claim.attempts) if state == "waiting" else None
        self._mark(
            {
                "state": state,
                "error": error,
                "due_at": due_at,
                "ended_at": None if state == "waiting" else now,
                "message_id": claim.message.message_id,
                "target": claim.target,
                "sender": self._name,
            }
        )
        counted = {"sent": self.tally.sent, "waiting": self.tally.failed, "dead": self.tally.dead}
        counted[state][claim.target] += 1
        what = {
            "sent": "sent",
            "waiting": f"failed ({error}); try {claim.attempts + 1} of {MAX_ATTEMPTS} at {due_at}",
            "dead": f"dead after {claim.attempts} tries: {error}",
        }[state]
        self.tally.lines.append((claim.message.subject, claim.target, what))
        self._tell(f"{claim.target}: {claim.message.subject}: {what}")

    def _mark(self, values: Mapping[str, Any]) -> None:
        """Say what became of a delivery; a database that is away for a moment must not make us
        send again.
        """
        for attempt in range(1, _TRIES + 1):
            try:
                with self._warehouse.connect() as database:
                    database.execute(_MARK, values)
                return
            except (psycopg.OperationalError, TutorPipelineError):
                if attempt == _TRIES:
                    raise
                time.sleep(attempt)

    def _clear(self) -> None:
        """End what will never be sent, and leave to others what only they may know how to send."""
        now = self._clock()
        values = {
            "now": now,
            "most": MAX_ATTEMPTS,
            **self._known,
            "later": now + LEFT_FOR,
            "forgotten": now - UNKNOWN_AFTER,
        }
        with self._warehouse.connect() as database:
            rows = database.execute(_BURY, values).fetchall()
            database.execute(_LEAVE, values)
        self.tally.dead.update(target for (target,) in rows)

    @contextmanager
    def _prolonging(self) -> Iterator[None]:
        """Prolong what this sender has claimed, as long as it lives."""
        over = threading.Event()

        def prolong() -> None:
            while not over.wait(PROLONG_SECONDS):
                with (
                    suppress(psycopg.OperationalError, TutorPipelineError),
                    self._warehouse.connect() as database,
                ):
                    database.execute(_PROLONG, (self._clock() + LEASE, self._name))

        thread = threading.Thread(target=prolong, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def backoff(attempts: int) -> timedelta:
    """How long to wait after so many failures."""
    seconds = FIRST_WAIT.total_seconds() * 4.0 ** (attempts - 1)
    return timedelta(seconds=min(LONGEST_WAIT.total_seconds(), seconds))


def anything_due(database: Database, now: datetime) -> tuple[int, datetime | None]:
    """How many deliveries are due and in nobody's hands, and since when the oldest."""
    row = database.execute(_sql(database.warehouse, _DUE), {"now": now}).fetchone()
    assert row is not None
    return row[0], row[1]


def retry(database: Database, message_ids: Collection[str] | None, now: datetime) -> int:
    """Try dead deliveries again, from the first try on: of these messages, None = all. Returns how
    many there were.
    """
    ids = None if message_ids is None else list(message_ids)
    return database.execute(_RETRY, (now, ids, ids)).rowcount


def _sql(warehouse: Warehouse, text: str) -> sql.Composed:
    names = warehouse.schemas.identifiers()
    return sql.SQL(text).format(at_work=warehouse.sql(_AT_WORK), **names)

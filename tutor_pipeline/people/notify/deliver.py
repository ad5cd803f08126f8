"""Delivers each message to each of its addresses, once.

A sender claims a delivery with a lease, sends it and marks the result. A living sender prolongs its
leases. When a sender dies, its leases expire and another sender takes over; a message that was sent
but not marked is sent once more, as the same message. A failed delivery is tried again after a
growing wait and is dead after MAX_ATTEMPTS, which `defs` reports.

Only one message at a time goes to an address, from any sender, and a host gets a share of the
workers only: an address that is slow or down does not delay the others.
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

from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.formatting import count
from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.core.warehouse.statements import statement
from tutor_pipeline.people.notify.targets import DeliveryError, Outgoing, Target

Clock = Callable[[], datetime]

MAX_ATTEMPTS = 8
FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=6)
"""Each failure makes the wait four times as long: 30 s, 2 min, 8 min … After 15 h it is dead."""

LEASE = timedelta(seconds=90)
PROLONG_SECONDS = 20

LEFT_FOR = timedelta(minutes=10)
"""The wait of a delivery to an address that this process's settings do not name."""
UNKNOWN_AFTER = timedelta(days=1)
"""The age of a message at which a delivery to such an address is dropped."""

_WORKERS = 8
_POLL_SECONDS = 0.5
_TRIES = 5

# Another message is on its way to the same address.
_AT_WORK = """exists (
    select 1 from {ops}.deliveries as other
    where other.target = deliveries.target and other.state = 'waiting'
        and other.leased_until >= %(now)s
)"""

_CLAIM = statement(__file__, "claim_delivery")

_PROLONG = """
    update {ops}.deliveries set leased_until = %(until)s
    where leased_by = %(sender)s and state = 'waiting' and leased_until is not null
"""

# Only the sender that holds the lease may mark the delivery.
_MARK = """
    update {ops}.deliveries
    set
        state = %(state)s, last_error = %(error)s, due_at = coalesce(%(due_at)s, due_at),
        ended_at = %(ended_at)s, leased_until = null, leased_by = null
    where message_id = %(message_id)s and target = %(target)s and leased_by = %(sender)s
"""

# The sender died during the last try.
_END_EXPIRED = """
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

_POSTPONE = statement(__file__, "postpone_unknown_targets")

_DUE = """
    select count(*) as deliveries, min(due_at) as oldest
    from {ops}.deliveries
    where state = 'waiting' and due_at <= %(now)s
        and (leased_until is null or leased_until < %(now)s)
        and not {at_work}
"""

_RETRY = """
    update {ops}.deliveries
    set state = 'waiting', attempts = 0, due_at = %(now)s, ended_at = null, last_error = null
    where state = 'dead' and (%(ids)s::text[] is null or message_id = any(%(ids)s::text[]))
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that this sender has leased. `attempts` counts the tries, this one included."""

    target: str
    attempts: int
    message: Outgoing


@dataclass(slots=True)
class Tally:
    """The work of a sender: messages per target that were sent, that failed and wait, and that are
    dead. `lines` has what happened to each, as (subject, target, what).
    """

    sent: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    dead: Counter[str] = field(default_factory=Counter)
    lines: list[tuple[str, str, str]] = field(default_factory=list)


class Sender:
    """Sends what is due; any number of senders may work at the same time.

    `targets` are the addresses of each audience by name, `clock` returns the current time, `tell`
    receives a sentence about each try that failed. `sign` puts signed links for one recipient (the
    name of the target) into a mail; the same mail gets the same ones.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        targets: Mapping[Audience, Mapping[str, Target]],
        clock: Clock,
        tell: Callable[[str], None] = lambda _: None,
        sign: Callable[[Outgoing, str], Outgoing] = lambda message, _: message,
    ) -> None:
        self._warehouse = warehouse
        self._targets = targets
        self._clock = clock
        self._tell = tell
        self._sign = sign
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
        """Sends what is due, and ends after `linger_seconds` without work. Returns the tally.

        Starts nothing new after `max_seconds`. Calls `prepare`, which makes messages of the outbox,
        before it looks for work.
        """
        began = busy = time.monotonic()
        at_work: dict[Future[str | None], Claim] = {}
        failures = 0
        with self._prolonging(), ThreadPoolExecutor(_WORKERS) as pool:
            try:
                while True:
                    if time.monotonic() - began < max_seconds:
                        try:
                            self._take(prepare, pool, at_work)
                            failures = 0
                        except (psycopg.OperationalError, TutorPipelineError):
                            # The database may come back soon.
                            failures += 1
                            if failures >= _TRIES:
                                raise
                            time.sleep(failures)
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
                # In any case mark what has been sent, or it is sent again.
                for future, claim in at_work.items():
                    self._end(claim, future.result())
        return self.tally

    def _take(
        self,
        prepare: Callable[[], object],
        pool: ThreadPoolExecutor,
        at_work: dict[Future[str | None], Claim],
    ) -> None:
        """Makes messages, and starts to send them while a worker is free."""
        prepare()
        self._end_what_nobody_sends()
        while len(at_work) < _WORKERS and (claim := self._claim(self._busy(at_work.values()))):
            at_work[pool.submit(self._send, claim)] = claim

    def _busy(self, at_work: Collection[Claim]) -> list[str]:
        """Returns the addresses on hosts that already use their share of the workers."""
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
        """Leases the oldest delivery that is due and not to a `busy` address; None without one."""
        now = self._clock()
        with self._warehouse.connect() as database:
            row = database.one(
                database.sql(_CLAIM, at_work=database.sql(_AT_WORK)),
                {
                    "now": now,
                    "until": now + LEASE,
                    "sender": self._name,
                    "most": MAX_ATTEMPTS,
                    **self._known,
                    "busy": list(busy),
                },
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
        """Sends a message. Returns None when it arrived, else the reason."""
        target, message = self._target(claim), claim.message
        try:
            target.send(self._sign(message, claim.target) if target.is_mail else message)
        except DeliveryError as error:
            return str(error)
        except Exception as error:  # a defect of one address must not stop the others
            return f"{type(error).__name__} in the sender"
        return None

    def _end(self, claim: Claim, error: str | None) -> None:
        """Marks the result of a try, counts it and reports it."""
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
            "dead": f"dead after {count(claim.attempts, 'try', 'tries')}: {error}",
        }[state]
        self.tally.lines.append((claim.message.subject, claim.target, what))
        if error is not None:
            self._tell(f"{claim.target}: {claim.message.subject}: {what}")

    def _mark(self, values: Mapping[str, Any]) -> None:
        """Writes the result of a delivery, and tries again while the database is away: a result
        that is lost makes the message go out a second time.
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

    def _end_what_nobody_sends(self) -> None:
        """Ends deliveries whose last try died, and postpones those to unknown addresses."""
        now = self._clock()
        values = {
            "now": now,
            "most": MAX_ATTEMPTS,
            **self._known,
            "later": now + LEFT_FOR,
            "forgotten": now - UNKNOWN_AFTER,
        }
        with self._warehouse.connect() as database:
            rows = database.rows(_END_EXPIRED, values)
            database.execute(_POSTPONE, values)
        self.tally.dead.update(row["target"] for row in rows)

    @contextmanager
    def _prolonging(self) -> Iterator[None]:
        """Prolongs the leases of this sender from a thread, until the context ends."""
        over = threading.Event()

        def prolong() -> None:
            while not over.wait(PROLONG_SECONDS):
                with (
                    suppress(psycopg.OperationalError, TutorPipelineError),
                    self._warehouse.connect() as database,
                ):
                    database.execute(
                        _PROLONG, {"until": self._clock() + LEASE, "sender": self._name}
                    )

        thread = threading.Thread(target=prolong, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def backoff(attempts: int) -> timedelta:
    """Returns how long to wait after this number of failures."""
    seconds = FIRST_WAIT.total_seconds() * 4.0 ** (attempts - 1)
    return timedelta(seconds=min(LONGEST_WAIT.total_seconds(), seconds))


def anything_due(database: Database, now: datetime) -> tuple[int, datetime | None]:
    """Returns how many deliveries are due and not leased, and since when the oldest is due."""
    (row,) = database.rows(database.sql(_DUE, at_work=database.sql(_AT_WORK)), {"now": now})
    return row["deliveries"], row["oldest"]


def retry(database: Database, message_ids: Collection[str] | None, now: datetime) -> int:
    """Makes dead deliveries of these messages (None = all) due again, with all tries. Returns how
    many there were.
    """
    ids = None if message_ids is None else list(message_ids)
    return database.execute(_RETRY, {"now": now, "ids": ids}).rowcount

"""Makes messages of the outbox rows that are due. Drops rows that are no longer worth telling, and
puts rows that belong together into one message.

Works in one transaction under a lock, so of two senders only one composes. A message is stored
together with its deliveries and its outbox rows, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import uuid4

import psycopg

from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.core.formatting import visible
from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.judgement.lifecycle.store import profile_in_force
from tutor_pipeline.people.notify.kinds import drafters
from tutor_pipeline.people.notify.message import Draft, Drafted, Setting

CALM = timedelta(minutes=10)
CALM_AFTER = 6
"""After CALM_AFTER messages to an audience within CALM, the next one waits until its oldest row is
CALM old, and tells everything that came meanwhile: one message for a storm.
"""
_CALMED = frozenset({Audience.CRITICAL, Audience.OPS})

UNTELLABLE = "no message could be made of it"
ADDRESSED_WITHIN = timedelta(days=30)
"""For this long, a message to an address shows that some process has it. See `may_tell`."""

_MAX_ROWS = 20_000
_MAX_REASON = 300

_DUE = """
    select outbox_id, audience, kind, tutor_id, subject_id, transition, occurred_at, due_at,
        details, run_id
    from {ops}.outbox
    where message_id is null and dropped is null and due_at <= %(now)s
        and kind = any(%(kinds)s)
    order by audience, outbox_id
    limit %(limit)s
"""

_PER_AUDIENCE = """
    select audience, count(*) as messages from {ops}.messages
    where made_at > %(since)s
    group by audience
"""

_ADDRESSED = """
    select distinct messages.audience from {ops}.messages
    inner join {ops}.deliveries on messages.message_id = deliveries.message_id
    where messages.made_at > %(since)s and deliveries.target <> 'file'
"""

_ADD_MESSAGE = """
    insert into {ops}.messages (message_id, audience, kind, tutor_ids, items, subject, text_body,
        html_body, made_at)
    values (%(message_id)s, %(audience)s, %(kind)s, %(tutor_ids)s, %(items)s, %(subject)s, %(text)s,
        %(html)s, %(now)s)
"""

_ADD_DELIVERIES = """
    insert into {ops}.deliveries (message_id, target, due_at)
    select %(message_id)s, target, %(now)s from unnest(%(targets)s::text[]) as addressed (target)
"""

_MARK_TOLD = """
    update {ops}.outbox set message_id = %(message_id)s where outbox_id = any(%(outbox_ids)s)
"""

_MARK_DROPPED = """
    update {ops}.outbox set dropped = why
    from unnest(%(outbox_ids)s::bigint[], %(reasons)s::text[]) as chosen (outbox_id, why)
    where outbox.outbox_id = chosen.outbox_id
"""


@dataclass(slots=True)
class Composed:
    """The result: how many messages were made and how many outbox rows dropped. `broken` of the
    dropped rows failed; `error` says why one of them did.
    """

    messages: int = 0
    dropped: int = 0
    broken: int = 0
    error: str | None = None


def compose(
    database: Database, addresses: Mapping[Audience, Sequence[str]], setting: Setting
) -> Composed:
    """Makes messages of the rows due at `setting.made_at`, with one delivery per address of their
    audience, in the database's transaction.

    Rows of an audience that is not in `addresses` stay (see `may_tell`). A row that fails is
    dropped with the reason, and the others go on.
    """
    now = setting.made_at
    setting = replace(setting, rules=profile_in_force(database))
    database.lock("outbox")
    recent = _recent_messages(database, now)
    composer = _Composer(database, addresses, setting)
    # A kind that only a newer version knows waits for it.
    due = database.rows(_DUE, {"now": now, "limit": _MAX_ROWS, "kinds": list(drafters())})
    for audience, kind, rows in _by_audience(due):
        oldest = min(row["due_at"] for row in rows)
        if audience in addresses and not _must_wait(audience, oldest, recent, now):
            composer.tell(audience, kind, rows)
    return composer.done


@dataclass(slots=True)
class _Composer:
    database: Database
    addresses: Mapping[Audience, Sequence[str]]
    setting: Setting
    done: Composed = field(default_factory=Composed)

    def tell(self, audience: Audience, kind: str, rows: Sequence[Row]) -> None:
        """Makes messages of rows of one audience and kind.

        Drops rows that fail and tells the rest together. When all of several rows fail, the rows
        are not the cause: it raises, and they stay.
        """
        try:
            self._try(audience, kind, rows)
        except Exception as error:
            if _is_database_fault(error):
                raise
            broken = {row["outbox_id"]: why for row in rows if (why := self._error_of(kind, row))}
            if not broken or len(broken) == len(rows) > 1:
                raise
            self.done.broken += len(broken)
            self.done.error = next(iter(broken.values()))
            self._drop({id_: f"{UNTELLABLE}: {why}" for id_, why in broken.items()})
            if rest := [row for row in rows if row["outbox_id"] not in broken]:
                self._try(audience, kind, rest)

    def _error_of(self, kind: str, row: Row) -> str | None:
        """Returns the error that this row alone causes; None without one."""
        try:
            with self.database.transaction(force_rollback=True):
                self._draft(kind, Audience(row["audience"]), [row])
        except Exception as error:
            if _is_database_fault(error):
                raise
            # The message of a database error repeats the value.
            said = "" if isinstance(error, psycopg.Error) else f": {error}"
            return visible(f"{type(error).__name__}{said}", _MAX_REASON)
        return None

    def _draft(self, kind: str, audience: Audience, rows: Sequence[Row]) -> Drafted:
        return drafters()[kind](self.database, audience, rows, self.setting)

    def _try(self, audience: Audience, kind: str, rows: Sequence[Row]) -> None:
        with self.database.transaction():
            drafted = self._draft(kind, audience, rows)
            for draft in drafted.drafts:
                targets = self.addresses.get(audience, ())
                _write(self.database, draft, targets, self.setting.made_at)
            self._drop(drafted.dropped)
        self.done.messages += len(drafted.drafts)

    def _drop(self, dropped: Mapping[int, str]) -> None:
        if dropped:
            self.database.execute(
                _MARK_DROPPED, {"outbox_ids": list(dropped), "reasons": list(dropped.values())}
            )
            self.done.dropped += len(dropped)


def may_tell(
    database: Database, urls: Mapping[Audience, Sequence[str]], now: datetime
) -> list[Audience]:
    """Returns the audiences that a process with these settings may tell.

    Leaves out an audience without an address here when messages went to an address of it within
    ADDRESSED_WITHIN: another process has the address, and files alone would reach nobody.
    """
    addressed = {
        row["audience"] for row in database.rows(_ADDRESSED, {"since": now - ADDRESSED_WITHIN})
    }
    return [audience for audience in Audience if urls.get(audience) or audience not in addressed]


def anything_due(
    database: Database, audiences: Sequence[Audience], now: datetime
) -> tuple[int, datetime | None]:
    """Returns how many outbox rows are due for a message now, and since when the oldest is due."""
    recent = _recent_messages(database, now)
    rows = database.rows(
        "select audience, count(*) as notes, min(due_at) as oldest from {ops}.outbox"
        " where message_id is null and dropped is null and due_at <= %(now)s"
        " and audience = any(%(audiences)s) and kind = any(%(kinds)s) group by audience",
        {"now": now, "audiences": list(audiences), "kinds": list(drafters())},
    )
    due = [
        row for row in rows if not _must_wait(Audience(row["audience"]), row["oldest"], recent, now)
    ]
    return sum(row["notes"] for row in due), min((row["oldest"] for row in due), default=None)


def retry(database: Database) -> int:
    """Makes the rows that failed due again. Returns how many there were."""
    return database.execute(
        "update {ops}.outbox set dropped = null where starts_with(dropped, %(reason)s)",
        {"reason": UNTELLABLE},
    ).rowcount


def _is_database_fault(error: Exception) -> bool:
    """Returns whether the database or its schema failed, and not the values of a row."""
    return isinstance(error, psycopg.Error) and not isinstance(error, psycopg.DataError)


def _by_audience(rows: Iterable[Row]) -> list[tuple[Audience, str, list[Row]]]:
    found: dict[tuple[Audience, str], list[Row]] = {}
    for row in rows:
        found.setdefault((Audience(row["audience"]), row["kind"]), []).append(row)
    return [(audience, kind, own) for (audience, kind), own in found.items()]


def _recent_messages(database: Database, now: datetime) -> dict[str, int]:
    """Returns how many messages were made for each audience within CALM."""
    rows = database.rows(_PER_AUDIENCE, {"since": now - CALM})
    return {row["audience"]: row["messages"] for row in rows}


def _must_wait(
    audience: Audience, oldest: datetime, recent: Mapping[str, int], now: datetime
) -> bool:
    """Returns whether an audience had so many messages that the next one waits for more to tell."""
    return audience in _CALMED and recent.get(audience, 0) >= CALM_AFTER and now - oldest < CALM


def _write(database: Database, draft: Draft, targets: Sequence[str], now: datetime) -> None:
    """Stores a message with its deliveries, and marks its outbox rows as told."""
    message_id, message = uuid4().hex, draft.message
    database.execute(
        _ADD_MESSAGE,
        {
            "message_id": message_id,
            "audience": message.audience,
            "kind": message.kind,
            "tutor_ids": list(message.tutor_ids),
            "items": message.items,
            "subject": message.subject,
            "text": message.text,
            "html": message.html,
            "now": now,
        },
    )
    database.execute(
        _ADD_DELIVERIES, {"message_id": message_id, "now": now, "targets": list(targets)}
    )
    database.execute(
        _MARK_TOLD,
        {"message_id": message_id, "outbox_ids": [row["outbox_id"] for row in draft.rows]},
    )

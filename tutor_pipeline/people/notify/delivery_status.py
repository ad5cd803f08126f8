"""Queries on deliveries for commands and checks: what waits, what was sent, what is dead."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.formatting import MAX_CANDIDATES, candidates
from tutor_pipeline.core.warehouse.database import Database, Row

_BY_TARGET = """
    select
        deliveries.target,
        array_agg(distinct messages.audience) as audiences,
        count(*) filter (where state = 'waiting') as waiting,
        count(*) filter (where state = 'sent' and ended_at > %(since)s) as sent,
        count(*) filter (where state = 'dead') as dead,
        min(messages.made_at) filter (where state = 'waiting') as waits_since,
        max(ended_at) filter (where state = 'sent') as last_sent_at,
        (array_agg(last_error order by coalesce(ended_at, due_at) desc)
            filter (where last_error is not null and state <> 'sent'))[1] as last_error
    from {ops}.deliveries
    inner join {ops}.messages on deliveries.message_id = messages.message_id
    group by deliveries.target
    order by deliveries.target
"""

_LISTED = """
    select
        messages.message_id, messages.audience, messages.kind, messages.subject, messages.items,
        messages.made_at, deliveries.target, deliveries.state, deliveries.attempts,
        deliveries.due_at, deliveries.ended_at, deliveries.last_error
    from {ops}.deliveries
    inner join {ops}.messages on deliveries.message_id = messages.message_id
    where %(states)s::text[] is null or deliveries.state = any(%(states)s)
    order by messages.made_at desc, messages.message_id, deliveries.target
    limit %(limit)s
"""

_COUNTS = """
    select
        (select count(*) from {ops}.outbox
            where message_id is null and dropped is null) as noted,
        (select count(*) from {ops}.deliveries where state = 'waiting') as waiting,
        (select count(*) from {ops}.deliveries where state = 'waiting' and attempts > 0)
            as failing,
        (select count(*) from {ops}.deliveries where state = 'dead') as dead,
        (select min(messages.made_at) from {ops}.deliveries
            inner join {ops}.messages on deliveries.message_id = messages.message_id
            where state = 'waiting') as oldest
"""

_DEAD = """
    select target, count(*) as messages, max(ended_at) as last_at,
        (array_agg(last_error order by ended_at desc))[1] as last_error
    from {ops}.deliveries
    where state = 'dead'
    group by target
    order by target
"""


def by_target(database: Database, now: datetime) -> list[Row]:
    """Returns per address what waits, what was sent in the last 7 days, what is dead, and why."""
    return database.rows(_BY_TARGET, {"since": now - timedelta(days=7)})


def listed(
    database: Database, *, states: Sequence[str] | None = None, limit: int = 50
) -> list[Row]:
    """Returns deliveries, the newest messages first; `states` None = of any state."""
    states = None if states is None else list(states)
    return database.rows(_LISTED, {"states": states, "limit": limit})


def counts(database: Database) -> Row:
    """Returns counts and the moment of the `oldest` waiting message.

    `noted` rows are in the outbox without a message, `failing` ones are waiting after a failed try.
    """
    (row,) = database.rows(_COUNTS)
    return row


def dead(database: Database) -> list[Row]:
    """Returns the addresses with dead deliveries: how many messages, the newest moment, why."""
    return database.rows(_DEAD)


def message(database: Database, beginning: str) -> Row:
    """Returns a message with its deliveries, by its id or the beginning of its id.

    Raises UsageError when no message or more than one begins like that.
    """
    rows = database.rows(
        "select * from {ops}.messages where starts_with(message_id, %(beginning)s)"
        " order by message_id limit %(limit)s",
        {"beginning": beginning, "limit": MAX_CANDIDATES + 1},
    )
    if len(rows) != 1:
        raise UsageError(
            f"{'more than one' if rows else 'no'} message has an id that begins with"
            f" {beginning!r}{candidates([row['message_id'] for row in rows])}.\n"
            "See the ids with: tutor-pipeline notify status --all"
        )
    (found,) = rows
    found["deliveries"] = database.rows(
        "select target, state, attempts, due_at, ended_at, last_error from {ops}.deliveries"
        " where message_id = %(message_id)s order by target",
        {"message_id": found["message_id"]},
    )
    return found

"""From what is due in the outbox to messages: what is no longer worth telling is dropped, what
belongs together is told together.

One transaction, under a lock: of two senders at once, one composes. A message and its deliveries
are there with the rows it tells, or none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import uuid4

import psycopg

from tutor_pipeline.core.audiences import Audience
from tutor_pipeline.core.formatting import visible
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.people.notify import message_data, render
from tutor_pipeline.people.notify.message_data import Row
from tutor_pipeline.people.notify.outbox import Kind
from tutor_pipeline.people.notify.render import Message, Setting

MOST_APART = 5
"""Tutors or incidents that get a message each; more of them at once are told in one."""

CALM = timedelta(minutes=10)
CALM_AFTER = 6
"""After so many messages to an audience within CALM, the next waits until something has waited for
that long, and tells all that came meanwhile: a storm is one thing to look at.
"""
_CALMED = frozenset({Audience.CRITICAL, Audience.OPS})

UNTELLABLE = "no message could be made of it"
ADDRESSED_WITHIN = timedelta(days=30)

_AT_ONCE = 20_000
_SHOWN = 300

_DUE = """
    select outbox_id, audience, kind, tutor_id, subject_id, transition, occurred_at, due_at,
        details, run_id
    from {ops}.outbox
    where message_id is null and dropped is null and due_at <= %s
    order by audience, outbox_id
    limit %s
"""

_PER_AUDIENCE = """
    select audience, count(*) from {ops}.messages where made_at > %s group by audience
"""

_ADDRESSED = """
    select distinct messages.audience from {ops}.messages
    inner join {ops}.deliveries on messages.message_id = deliveries.message_id
    where messages.made_at > %s and deliveries.target <> 'file'
"""

_OVER = """
    select incident_id::text from {ops}.incidents
    where incident_id::text = any(%s) and closed_at is not null
"""

_ADD_MESSAGE = """
    insert into {ops}.messages (message_id, audience, kind, tutor_ids, items, subject, text_body,
        html_body, made_at)
    values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""

_ADD_DELIVERIES = """
    insert into {ops}.deliveries (message_id, target, due_at)
    select %s, target, %s from unnest(%s::text[]) as addressed (target)
"""

_TOLD = "update {ops}.outbox set message_id = %s where outbox_id = any(%s)"
_DROPPED = """
    update {ops}.outbox set dropped = why
    from unnest(%s::bigint[], %s::text[]) as chosen (outbox_id, why)
    where outbox.outbox_id = chosen.outbox_id
"""


@dataclass(slots=True)
class Composed:
    """How many messages were made, how many rows of the outbox were dropped; of how many of those
    no message could be made, and what was wrong with the last.
    """

    messages: int = 0
    dropped: int = 0
    broken: int = 0
    error: str | None = None


@dataclass(slots=True)
class _Draft:
    """A message and the rows that it tells."""

    message: Message
    rows: Sequence[Row]


def compose(
    database: Database, addresses: Mapping[Audience, Sequence[str]], setting: Setting
) -> Composed:
    """Make messages of what is due at `setting.made_at`, one delivery for each of the audience's
    addresses. In the connection's transaction.

    Rows of an audience that is not in `addresses` stay as they are (see `may_tell`). What breaks is
    dropped with the reason, and the others go on.
    """
    now = setting.made_at
    setting = replace(setting, rules=message_data.rules_in_force(database))
    database.lock("outbox")
    lately = dict(database.execute(_PER_AUDIENCE, (now - CALM,)).fetchall())
    composer = _Composer(database, addresses, setting)
    for audience, kind, rows in _by_audience(database.rows(_DUE, (now, _AT_ONCE))):
        oldest = min(row["due_at"] for row in rows)
        if audience in addresses and not _is_to_wait(audience, oldest, lately, now):
            composer.tell(audience, kind, rows)
    return composer.done


@dataclass(slots=True)
class _Composer:
    database: Database
    addresses: Mapping[Audience, Sequence[str]]
    setting: Setting
    done: Composed = field(default_factory=Composed)

    def tell(self, audience: Audience, kind: Kind, rows: Sequence[Row]) -> None:
        """Make messages of rows of one audience and kind. Rows that break are dropped, and the rest
        told together; where all of several break, it is not for the rows, and they stay.
        """
        try:
            self._try(audience, kind, rows)
        except Exception as error:
            if _is_of_the_database(error):
                raise
            broken = {row["outbox_id"]: why for row in rows if (why := self._breaks(kind, row))}
            if not broken or len(broken) == len(rows) > 1:
                raise
            self.done.broken += len(broken)
            self.done.error = next(iter(broken.values()))
            self._drop({id_: f"{UNTELLABLE}: {why}" for id_, why in broken.items()})
            if rest := [row for row in rows if row["outbox_id"] not in broken]:
                self._try(audience, kind, rest)

    def _breaks(self, kind: Kind, row: Row) -> str | None:
        """What goes wrong with this row alone; None when nothing does."""
        try:
            with self.database.transaction(force_rollback=True):
                self._draft(kind, Audience(row["audience"]), [row], {})
        except Exception as error:
            if _is_of_the_database(error):
                raise
            # What the database says of a value repeats it.
            said = "" if isinstance(error, psycopg.Error) else f": {error}"
            return visible(f"{type(error).__name__}{said}", _SHOWN)
        return None

    def _draft(
        self, kind: Kind, audience: Audience, rows: Sequence[Row], dropped: dict[int, str]
    ) -> list[_Draft]:
        return _DRAFTERS[kind](self.database, audience, rows, self.setting, dropped)

    def _try(self, audience: Audience, kind: Kind, rows: Sequence[Row]) -> None:
        dropped: dict[int, str] = {}
        with self.database.transaction():
            drafts = self._draft(kind, audience, rows, dropped)
            for draft in drafts:
                targets = self.addresses.get(audience, ())
                _write(self.database, draft, targets, self.setting.made_at)
            self._drop(dropped)
        self.done.messages += len(drafts)

    def _drop(self, dropped: Mapping[int, str]) -> None:
        if dropped:
            values = (list(dropped), list(dropped.values()))
            self.database.execute(_DROPPED, values)
            self.done.dropped += len(dropped)


def may_tell(
    database: Database, urls: Mapping[Audience, Sequence[str]], now: datetime
) -> list[Audience]:
    """The audiences that a process with these settings may tell. One without an address is left to
    others where messages went to addresses of it lately: somebody else has the settings, and what
    is told in files alone would never reach anybody.
    """
    addressed = {
        audience for (audience,) in database.execute(_ADDRESSED, (now - ADDRESSED_WITHIN,))
    }
    return [audience for audience in Audience if urls.get(audience) or audience not in addressed]


def anything_due(
    database: Database, audiences: Sequence[Audience], now: datetime
) -> tuple[int, datetime | None]:
    """How many rows of the outbox wait for a message that is due now, and since when the oldest."""
    lately = dict(database.execute(_PER_AUDIENCE, (now - CALM,)).fetchall())
    rows = database.execute(
        "select audience, count(*), min(due_at) from {ops}.outbox"
        " where message_id is null and dropped is null and due_at <= %s"
        " and audience = any(%s) group by audience",
        (now, list(audiences)),
    ).fetchall()
    due = [
        (number, oldest)
        for audience, number, oldest in rows
        if not _is_to_wait(Audience(audience), oldest, lately, now)
    ]
    return sum(number for number, _ in due), min((oldest for _, oldest in due), default=None)


def retry(database: Database) -> int:
    """Try again what no message could be made of. Returns how many there were."""
    return database.execute(
        "update {ops}.outbox set dropped = null where starts_with(dropped, %s)",
        (UNTELLABLE,),
    ).rowcount


def _is_of_the_database(error: Exception) -> bool:
    """Whether the database, or its schema, is what is wrong, and no row."""
    return isinstance(error, psycopg.Error) and not isinstance(error, psycopg.DataError)


def _by_audience(rows: Iterable[Row]) -> list[tuple[Audience, Kind, list[Row]]]:
    found: dict[tuple[Audience, Kind], list[Row]] = {}
    for row in rows:
        found.setdefault((Audience(row["audience"]), Kind(row["kind"])), []).append(row)
    return [(audience, kind, own) for (audience, kind), own in found.items()]


def _is_to_wait(
    audience: Audience, oldest: datetime, lately: Mapping[str, int], now: datetime
) -> bool:
    """Whether there was so much of late that the next message can wait for more to tell."""
    return audience in _CALMED and lately.get(audience, 0) >= CALM_AFTER and now - oldest < CALM


def why_not(row: Row, alert: Row | None, now: datetime) -> str | None:
    """Why nobody is told of what happened to an alert; None = it is told.

    `row` is of the outbox, `alert` as it stands now. What somebody acknowledged is not repeated,
    but for what happened to it after that.
    """
    if alert is None:
        return "the alert is gone"
    if alert["resolved_at"] is not None:
        return "resolved before it was told"
    if alert["snoozed_until"] is not None and alert["snoozed_until"] > now:
        return "snoozed"
    if alert["acknowledged_at"] is not None and alert["acknowledged_at"] >= row["occurred_at"]:
        return "acknowledged before it was told"
    if row["audience"] == Audience.WARNING and alert["severity"] == "critical":
        return "told as critical"
    return None


def _of_alerts(
    database: Database,
    audience: Audience,
    rows: Sequence[Row],
    setting: Setting,
    dropped: dict[int, str],
) -> list[_Draft]:
    found = message_data.alerts(
        database, sorted({(row["tutor_id"], row["subject_id"]) for row in rows})
    )
    told: dict[str, list[Row]] = {}
    for row in rows:
        alert = found.get((row["tutor_id"], row["subject_id"]))
        if why := why_not(row, alert, setting.made_at):
            dropped[row["outbox_id"]] = why
        elif alert is not None:
            is_worse = row["transition"].startswith("escalated")
            told.setdefault(row["tutor_id"], []).append(row | alert | {"is_worse": is_worse})
    # The warnings of a day are one message, however few.
    is_summary = audience is Audience.WARNING
    open_ = message_data.open_warnings(database, setting.made_at) if is_summary else 0
    return [
        _Draft(render.alerts(audience, _once(group), setting, open_), group)
        for group in _groups(list(told.values()), apart=not is_summary)
    ]


def _once(rows: Sequence[Row]) -> list[Row]:
    """An alert that opened and became worse meanwhile is one thing to tell."""
    newest = {(row["tutor_id"], row["alert_id"]): row for row in rows}
    return list(newest.values())


def _of_sessions(
    database: Database,
    audience: Audience,
    rows: Sequence[Row],
    setting: Setting,
    dropped: dict[int, str],
) -> list[_Draft]:
    reports = message_data.sessions(
        database, [(row["tutor_id"], row["subject_id"]) for row in rows], setting.made_at
    )
    there = {
        (report["tutor_id"], session["session_id"])
        for report in reports
        for session in report["sessions"]
    }
    told: dict[str, list[Row]] = {}
    for row in rows:
        if (row["tutor_id"], row["subject_id"]) in there:
            told.setdefault(row["tutor_id"], []).append(row)
        else:
            dropped[row["outbox_id"]] = "the session is gone, or no longer completed"
    by_tutor = {report["tutor_id"]: report for report in reports}
    return [
        _Draft(
            render.sessions(
                [by_tutor[tutor] for tutor in dict.fromkeys(row["tutor_id"] for row in group)],
                setting,
            ),
            group,
        )
        for group in _groups(list(told.values()))
    ]


def _of_incidents(
    database: Database,
    audience: Audience,
    rows: Sequence[Row],
    setting: Setting,
    dropped: dict[int, str],
) -> list[_Draft]:
    over = {
        incident for (incident,) in database.execute(_OVER, ([row["subject_id"] for row in rows],))
    }
    told = [[row | {"is_over": row["subject_id"] in over}] for row in rows]
    return [_Draft(render.incidents(group, setting), group) for group in _groups(told)]


def _of_digests(
    database: Database,
    audience: Audience,
    rows: Sequence[Row],
    setting: Setting,
    dropped: dict[int, str],
) -> list[_Draft]:
    drafts = []
    for row in rows:
        first_day = datetime.fromisoformat(row["subject_id"]).date()
        week = message_data.week(database, first_day, setting.made_at)
        drafts.append(_Draft(render.digest(week, setting), [row]))
    return drafts


def _of_rules(
    database: Database,
    audience: Audience,
    rows: Sequence[Row],
    setting: Setting,
    dropped: dict[int, str],
) -> list[_Draft]:
    return [_Draft(render.switch(audience, row["details"], setting), [row]) for row in rows]


_DRAFTERS: Mapping[Kind, Callable[..., list[_Draft]]] = {
    Kind.ALERT: _of_alerts,
    Kind.SESSION: _of_sessions,
    Kind.INCIDENT: _of_incidents,
    Kind.DIGEST: _of_digests,
    Kind.RULES: _of_rules,
}


def _groups(found: Sequence[list[Row]], *, apart: bool = True) -> list[list[Row]]:
    """A message each where there are few, one for all where there are many."""
    if apart and len(found) <= MOST_APART:
        return list(found)
    return [[row for rows in found for row in rows]] if found else []


def _write(database: Database, draft: _Draft, targets: Sequence[str], now: datetime) -> None:
    message_id, message = uuid4().hex, draft.message
    database.execute(
        _ADD_MESSAGE,
        (
            message_id,
            message.audience,
            message.kind,
            list(message.tutor_ids),
            message.items,
            message.subject,
            message.text,
            message.html,
            now,
        ),
    )
    database.execute(_ADD_DELIVERIES, (message_id, now, list(targets)))
    database.execute(_TOLD, (message_id, [row["outbox_id"] for row in draft.rows]))

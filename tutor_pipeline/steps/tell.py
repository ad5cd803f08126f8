"""Tell: reports incidents, turns the outbox into messages, and sends them.

The steps that make findings and process sessions write to the outbox in their own transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.formatting import count
from tutor_pipeline.core.settings import Settings
from tutor_pipeline.core.warehouse.database import Database, Warehouse
from tutor_pipeline.core.warehouse.refresh_runs import built_moment
from tutor_pipeline.people import incidents
from tutor_pipeline.people.incidents import Kind
from tutor_pipeline.people.notify import compose, deliver, delivery_status, links, targets
from tutor_pipeline.people.notify.kinds import alert as alert_message
from tutor_pipeline.people.notify.kinds import digest as digest_message
from tutor_pipeline.people.notify.kinds import incident as incident_message
from tutor_pipeline.people.notify.message import Setting
from tutor_pipeline.people.reports import tutor_queries

_TELL_SECONDS = 6
_REMIND_SECONDS = 60


def incident(
    database: Database,
    kind: Kind,
    subject: str,
    title: str,
    details: Mapping[str, Any],
    *,
    run_id: str | None,
    now: datetime,
) -> bool:
    """Report that something is broken. If this opens an incident, a message is noted. Returns
    whether it opened one.
    """
    opened = incidents.report(database, kind, subject, title, details, run_id=run_id, now=now)
    if opened is None:
        return False
    means, following = incidents.MEANING[kind]
    told = {
        "title": title,
        "kind": kind,
        "subject": subject,
        "why": details.get("why"),
        "means": means,
        "next": following,
    }
    incident_message.note(database, opened, told, at=now, run_id=run_id)
    return True


@dataclass(frozen=True, slots=True)
class Sent:
    """What a run sent, what is left, and the outbox rows that gave no message."""

    tally: deliver.Tally
    left: Mapping[str, Any]
    dead: list[dict[str, Any]]
    broken: compose.Composed = field(default_factory=compose.Composed)


@dataclass(slots=True)
class _Lines:
    """What a run says of messages made and sent: one line in some seconds, so that the log does not
    grow with the messages. A delivery that failed has a line of its own (`deliver.Sender`).
    """

    info: Callable[[str], None]
    tally: deliver.Tally
    made: int = 0
    dropped: int = 0
    told_of: int = 0
    told_at: float = float("-inf")

    def add(self, made: compose.Composed) -> None:
        """Some were made."""
        self.made += made.messages
        self.dropped += made.dropped

    def tell(self, *, at_once: bool = False) -> None:
        """Log what was not told yet, if that is something and the last line is not new."""
        sent = self.tally.sent.total() - self.told_of
        now = time.monotonic()
        if not (self.made or self.dropped or sent):
            return
        if not at_once and now - self.told_at < _TELL_SECONDS:
            return
        self.info(
            f"{count(self.made, 'message')} made, {self.dropped} not told (ops.outbox says why);"
            f" {count(sent, 'delivery', 'deliveries')} sent"
        )
        self.told_at, self.told_of = now, self.told_of + sent
        self.made = self.dropped = 0


def send(
    warehouse: Warehouse,
    settings: Settings,
    info: Callable[[str], None],
    *,
    max_seconds: float,
    linger_seconds: float,
) -> Sent:
    """Make messages of what is due and deliver them, until nothing is due for `linger_seconds`.
    After `max_seconds` it takes nothing new.
    """
    addresses = targets.read(settings.addresses, settings.messages_dir)
    sender = deliver.Sender(warehouse, addresses, _now, info, _signing(warehouse, settings))
    broken = compose.Composed()
    lines = _Lines(info, sender.tally)

    def make_messages() -> None:
        lines.tell()
        now = _now()
        with warehouse.connect() as database:
            remind(database, now)
            told = compose.may_tell(database, settings.addresses, now)
            to = {audience: list(addresses[audience]) for audience in told}
            cut = replace(setting(settings, now), ids=tutor_queries.short_ids(database))
            made = compose.compose(database, to, cut)
        if made.broken:
            broken.broken += made.broken
            broken.error = made.error
        lines.add(made)

    try:
        tally = sender.run(make_messages, max_seconds=max_seconds, linger_seconds=linger_seconds)
    finally:
        lines.tell(at_once=True)
    targets.prune(settings.messages_dir)
    with warehouse.connect() as database:
        return Sent(tally, delivery_status.counts(database), delivery_status.dead(database), broken)


def _signing(
    warehouse: Warehouse, settings: Settings
) -> Callable[[targets.Outgoing, str], targets.Outgoing]:
    """What puts signed links into a mail; nothing where nobody reaches the desk."""
    base = settings.desk_outside
    if not base:
        return lambda message, _: message
    keys = settings.secret_keys

    def sign(message: targets.Outgoing, target: str) -> targets.Outgoing:
        with warehouse.connect() as database:
            told = links.told_by(database, message.message_id)
        return links.signed(message, target, told, base, keys) if told else message

    return sign


_reminded: dict[str, float] = {}


def remind(database: Database, now: datetime) -> int:
    """Note alerts that somebody is to be told of again, at most once a minute per database and
    process. Returns how many were noted.
    """
    asked, where = time.monotonic(), database.warehouse.url
    if asked - _reminded.get(where, float("-inf")) < _REMIND_SECONDS:
        return 0
    _reminded[where] = asked
    return alert_message.remind(database, now)


def digest(warehouse: Warehouse, week: str | None, run_id: str) -> tuple[date, bool]:
    """Note the digest of the week of a day (None = the last whole week). Returns its Monday and
    whether it is new. Raises UsageError if the week is not over.
    """
    now = _now()
    newest = last_week(now, warehouse.timezone)
    first_day = newest if week is None else monday(week)
    if first_day > newest:
        raise UsageError(f"the week of {first_day} is not over: its digest comes when it is")
    with warehouse.connect() as database:
        built_moment(database)  # raises for a platform that was never read
        is_new = digest_message.note(database, first_day.isoformat(), {}, now=now, run_id=run_id)
    return first_day, is_new


def setting(settings: Settings, now: datetime) -> Setting:
    """What messages say about their origin."""
    return Setting(
        settings.ui_address,
        settings.report_address(""),
        settings.timezone,
        now,
        desk=settings.desk_outside,
    )


def last_week(now: datetime, timezone: str) -> date:
    """The Monday of the last whole week."""
    today = now.astimezone(ZoneInfo(timezone)).date()
    return today - timedelta(days=today.weekday() + 7)


def monday(day: str) -> date:
    """The Monday of the week of a day. Raises ValueError."""
    found = date.fromisoformat(day)
    return found - timedelta(days=found.weekday())


def _now() -> datetime:
    return datetime.now(UTC)

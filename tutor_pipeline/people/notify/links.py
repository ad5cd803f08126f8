"""Links in mails to one alert: signed, for one recipient, for seven days.

They are put in when a mail is sent and stored nowhere. A link names the row of the outbox that the
mail tells, and of whom it is a delivery. Whoever has it sees that alert and who acted, and can
acknowledge it under that address; it signs nobody in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from itsdangerous import BadSignature, URLSafeSerializer

from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.people.notify.targets import MAIL_TO, Outgoing

VALID_FOR = timedelta(days=7)
_SALT = "link to an alert"


class NoLinkError(Exception):
    """It is no link of ours: forged, or cut off."""


class OverError(Exception):
    """The link was good once. The text says why it is not any more."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a good link is about: an alert, whose it is, and the address that was told."""

    tutor_id: str
    alert_id: str
    address: str


def address(base: str, alert_id: str) -> str:
    """Returns the plain address of an alert, which asks to sign in. What a message says."""
    return f"{base}/alerts/{alert_id}"


def signed(
    message: Outgoing, target: str, told: Mapping[str, int], base: str, keys: Sequence[str]
) -> Outgoing:
    """Returns the message with a signed link in the place of each plain one. `told`: the rows of
    the outbox (by alert) that it tells. The same arguments give the same text.
    """
    until = int((message.made_at + VALID_FOR).timestamp())
    text, html = message.text, message.html
    for alert_id, outbox_id in told.items():
        token = _serializer(keys).dumps([outbox_id, alert_id, _mark(target), until])
        token = token if isinstance(token, str) else token.decode()
        plain = address(base, alert_id)
        text = text.replace(plain, f"{base}/link/{token}")
        html = html.replace(plain, f"{base}/link/{token}")
    return replace(message, text=text, html=html)


def told_by(database: Database, message_id: str) -> dict[str, int]:
    """Returns the alerts that a message tells, each with the row of the outbox; of several of an
    alert the newest.
    """
    rows = database.rows(
        "select subject_id, max(outbox_id) as outbox_id from {ops}.outbox"
        " where message_id = %s and kind = 'alert' group by subject_id order by subject_id",
        (message_id,),
    )
    return {row["subject_id"]: row["outbox_id"] for row in rows}


def follow(database: Database, token: str, keys: Sequence[str], now: datetime) -> Told:
    """Returns what a link is about. Raises NoLinkError; OverError for one that is too old, or about
    which something newer was sent.
    """
    try:
        outbox_id, alert_id, mark, until = _serializer(keys).loads(token)
        is_over = now > datetime.fromtimestamp(until, UTC)
    except (BadSignature, ValueError, TypeError, OverflowError, OSError) as error:
        raise NoLinkError from error
    if type(outbox_id) is not int or not 0 < outbox_id < 2**63:
        raise NoLinkError
    if is_over:
        raise OverError(f"It is older than {VALID_FOR.days} days.")
    row = database.one(
        "select tutor_id, subject_id, message_id from {ops}.outbox where outbox_id = %s",
        (outbox_id,),
    )
    if row is None or row["subject_id"] != alert_id or row["message_id"] is None:
        raise OverError("What it was about is gone.")
    newest: int = database.value(
        "select max(outbox_id) from {ops}.outbox where kind = 'alert' and tutor_id = %s"
        " and subject_id = %s and message_id is not null",
        (row["tutor_id"], alert_id),
    )
    if newest != outbox_id:
        raise OverError("Something newer happened, and a newer message about it was sent.")
    targets = database.execute(
        "select target from {ops}.deliveries where message_id = %s", (row["message_id"],)
    )
    for (target,) in targets:
        found = MAIL_TO.match(target)
        if found and _mark(target) == mark:
            return Told(row["tutor_id"], alert_id, found[1])
    raise OverError("What it was about is gone.")


def _serializer(keys: Sequence[str]) -> URLSafeSerializer:
    # The last one signs, all are taken.
    return URLSafeSerializer(
        list(reversed(keys)), salt=_SALT, signer_kwargs={"digest_method": hashlib.sha256}
    )


def _mark(target: str) -> str:
    return hashlib.sha256(target.encode()).hexdigest()[:12]

"""Secrets with which sources sign their events, in `ops.event_secrets`.

A source is a name for who sends. It may have several secrets at once, so that one can be exchanged
without a gap. A secret is shown once, when it is made.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.warehouse.database import Database, Row

PREFIX = "whsec_"
BYTES = 32
"""Random bytes of a secret."""
KEPT = timedelta(days=1)
"""How long the secrets before stay good when a source gets another one."""
MOST = 5
"""Secrets of one source at once: each is tried for every request."""

_SOURCE = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}", re.ASCII)


def is_source(name: str) -> bool:
    """Whether a source may be called that."""
    return _SOURCE.fullmatch(name) is not None


def add(database: Database, source: str, now: datetime) -> str:
    """Makes a secret for a source, beside those that it has. Returns it as whsec_….

    Raises UsageError: a bad name, or too many secrets.
    """
    if not is_source(source):
        raise UsageError(
            f"a source cannot be called {source!r}: up to 40 lower case letters, digits, - and _"
        )
    if len(active(database, now).get(source, ())) >= MOST:
        raise UsageError(
            f"{source} has {MOST} secrets already; revoke one first: tutor-pipeline events secrets"
            f" list, then tutor-pipeline events secrets revoke {source} --secret NUMBER"
        )
    secret = secrets.token_bytes(BYTES)
    database.execute(
        "insert into {ops}.event_secrets (source, secret, added_at) values (%s, %s, %s)",
        (source, secret, now),
    )
    return shown(secret)


def rotate(database: Database, source: str, now: datetime, kept: timedelta = KEPT) -> str:
    """Makes a new secret for a source; those before end after `kept`. Returns the new one."""
    _refuse_unknown(database, source)
    database.execute(
        "update {ops}.event_secrets set ends_at = %s"
        " where source = %s and (ends_at is null or ends_at > %s)",
        (now + kept, source, now + kept),
    )
    return add(database, source, now)


def revoke(database: Database, source: str, now: datetime, number: int | None = None) -> int:
    """Ends the secrets of a source now, or the one of a number. Returns how many that were.

    Raises UsageError: there is none that is good.
    """
    _refuse_unknown(database, source)
    ended = database.execute(
        "update {ops}.event_secrets set ends_at = %s where source = %s"
        " and (ends_at is null or ends_at > %s) and (%s::bigint is null or secret_id = %s)",
        (now, source, now, number, number),
    ).rowcount
    if not ended:
        raise UsageError(
            f"{source} has no secret that is good"
            + ("" if number is None else f" under the number {number}")
            + "; see: tutor-pipeline events secrets list"
        )
    return ended


def listed(database: Database) -> list[Row]:
    """Returns what is known of each secret, without itself; the newest last."""
    return database.rows(
        "select source, secret_id as number, added_at, ends_at from {ops}.event_secrets"
        " order by source, secret_id"
    )


def active(database: Database, now: datetime) -> Mapping[str, tuple[bytes, ...]]:
    """Returns source → the secrets that are good now, the newest first."""
    found: dict[str, tuple[bytes, ...]] = {}
    for source, secret in database.execute(
        "select source, secret from {ops}.event_secrets where ends_at is null or ends_at > %s"
        " order by secret_id desc",
        (now,),
    ):
        found[source] = (*found.get(source, ()), bytes(secret))
    return found


def shown(secret: bytes) -> str:
    """Returns a secret as programs that sign take it."""
    return PREFIX + base64.b64encode(secret).decode()


def _refuse_unknown(database: Database, source: str) -> None:
    if not database.value(
        "select exists (select 1 from {ops}.event_secrets where source = %s)", (source,)
    ):
        raise UsageError(
            f"no source is called {source!r}; those there are: tutor-pipeline events secrets list"
        )

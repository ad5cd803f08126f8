"""Signing in with a password, and the browsers that are signed in (`ops.sign_ins`).

After some wrong passwords in a row an account can be tried from that address only after a pause,
which doubles: an attacker gets few tries, and locks nobody out who signs in from elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.formatting import span
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.people.access import passwords
from tutor_pipeline.people.access.accounts import normal
from tutor_pipeline.people.access.roles import Role
from tutor_pipeline.people.access.secret import new_secret, secret_hash

IDLE = timedelta(hours=12)
"""A browser that asks for nothing for so long is signed out."""
LONGEST = timedelta(days=7)
"""And after so long in any case."""

_FREE_TRIES = 5
_LONGEST_PAUSE = timedelta(minutes=15)
_NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Who:
    """Who is signed in."""

    account: str
    role: Role
    token_hash: str


class WrongError(TutorPipelineError):
    """The name or the password is wrong; it is not said which."""


class PausedError(TutorPipelineError):
    """Too many wrong passwords from this address: the next try counts only after a pause."""


def sign_in(database: Database, name: str, password: str, address: str, now: datetime) -> str:
    """Returns the secret of a new sign-in. Raises WrongError, PausedError."""
    name = normal(name)
    who_hash = secret_hash(f"{name}\n{_network(address)}")
    failed = database.one(
        "select failures, last_at from {ops}.sign_in_failures where who_hash = %s", (who_hash,)
    )
    if failed is not None:
        left = failed["last_at"] + pause(failed["failures"]) - now
        if left > timedelta():
            raise PausedError(
                "too many wrong passwords: try again in " + span(left.total_seconds() + 1)
            )
    account = database.one(
        "select password, disabled_at from {ops}.accounts where name = %s", (name,)
    )
    is_right = passwords.is_right(password, account["password"] if account else None)
    if account is None or not is_right or account["disabled_at"] is not None:
        database.execute(
            "insert into {ops}.sign_in_failures as held (who_hash, failures, last_at)"
            " values (%s, 1, %s) on conflict (who_hash) do update"
            " set failures = held.failures + 1, last_at = excluded.last_at",
            (who_hash, now),
        )
        raise WrongError("the name or the password is wrong")
    database.execute("delete from {ops}.sign_in_failures where who_hash = %s", (who_hash,))
    # What was checked must still hold: a password that is reset meanwhile signs nobody in.
    secret = new_secret()
    begun = database.execute(
        """
        insert into {ops}.sign_ins (token_hash, account, began_at, seen_at, ends_at)
        select %(hash)s, held.name, %(now)s, %(now)s, %(ends_at)s
        from (
            select name from {ops}.accounts
            where name = %(name)s and password = %(password)s and disabled_at is null
            for share
        ) as held
        """,
        {
            "hash": secret_hash(secret),
            "now": now,
            "ends_at": now + LONGEST,
            "name": name,
            "password": account["password"],
        },
    ).rowcount
    if not begun:
        raise WrongError("the name or the password is wrong")
    return secret


def begin(database: Database, account: str, now: datetime, role: Role | None = None) -> str:
    """Returns the secret of a new sign-in. `role`: of a one-time link; None = that of the
    account.
    """
    secret = new_secret()
    database.execute(
        "insert into {ops}.sign_ins (token_hash, account, role, began_at, seen_at, ends_at)"
        " values (%s, %s, %s, %s, %s, %s)",
        (secret_hash(secret), account, role, now, now, now + LONGEST),
    )
    return secret


def who_is(database: Database, secret: str, now: datetime) -> Who | None:
    """Returns who is signed in with a secret; None = nobody any more."""
    found = database.one(
        """
        select
            sign_ins.token_hash,
            sign_ins.account,
            coalesce(sign_ins.role, accounts.role) as role,
            sign_ins.seen_at
        from {ops}.sign_ins as sign_ins
        left join {ops}.accounts as accounts on sign_ins.account = accounts.name
        where
            sign_ins.token_hash = %(hash)s
            and accounts.disabled_at is null
            and sign_ins.ends_at > %(now)s
            and sign_ins.seen_at > %(idle)s
        """,
        {"hash": secret_hash(secret), "now": now, "idle": now - IDLE},
    )
    if found is None or found["role"] is None:
        return None
    if now - found["seen_at"] > _NOTED_EVERY:
        database.execute(
            "update {ops}.sign_ins set seen_at = %s where token_hash = %s",
            (now, found["token_hash"]),
        )
    return Who(found["account"], Role(found["role"]), found["token_hash"])


def end(database: Database, who: Who) -> None:
    """Signs a browser out."""
    database.execute("delete from {ops}.sign_ins where token_hash = %s", (who.token_hash,))


def end_of(database: Database, account: str | None) -> int:
    """Signs all browsers of an account out, None = everybody. Returns how many."""
    return database.execute(
        "delete from {ops}.sign_ins where %(account)s::text is null or account = %(account)s",
        {"account": account},
    ).rowcount


def pause(failures: int) -> timedelta:
    """Returns how long an account can't be tried after so many wrong passwords in a row."""
    over = failures - _FREE_TRIES
    return timedelta() if over < 0 else min(timedelta(seconds=2.0 ** min(over, 20)), _LONGEST_PAUSE)


def _network(address: str) -> str:
    """An address; of IPv6 the network, of which one person has many addresses."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return address if parsed.version == 4 else str(ip_network(f"{address}/64", strict=False))

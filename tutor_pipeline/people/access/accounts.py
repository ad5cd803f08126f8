"""Accounts of the desk and their one-time links, in `ops.accounts` and `ops.sign_in_links`.

Belongs here: what `tutor-pipeline users` does. A link's secret is in the link alone: the database
has a hash of it.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tutor_pipeline.core.errors import RefusedError, UsageError
from tutor_pipeline.core.formatting import either
from tutor_pipeline.core.warehouse.database import Database, Row
from tutor_pipeline.judgement.lifecycle.store import check_person
from tutor_pipeline.people.access import passwords
from tutor_pipeline.people.access.roles import Role
from tutor_pipeline.people.access.secret import new_secret, secret_hash

_NAME = re.compile(r"[^\W_](?:[\w.@+' -]{0,62}[^\W_])?")
_RESERVED = ("nobody", "this machine")
_LOCK = "accounts"


class Purpose(StrEnum):
    """What a one-time link is good for."""

    SIGN_IN = "sign_in"
    PASSWORD = "password"  # noqa: S105 (the name of a purpose)


LIFETIME = {Purpose.SIGN_IN: timedelta(minutes=10), Purpose.PASSWORD: timedelta(days=3)}
"""How long a link is good."""


@dataclass(frozen=True, slots=True)
class Link:
    """A one-time link that is still good."""

    purpose: Purpose
    account: str


def key(name: str) -> str:
    """Returns the name under which an account is stored. Raises UsageError if it can be none."""
    found = normal(name)
    if not _NAME.fullmatch(found) or found in _RESERVED or not _is_of_one_script(found):
        raise UsageError(
            f"{name!r} is no name of an account: 1 to 64 letters of one alphabet, digits, blanks"
            f" and . @ + - ', with a letter or digit at both ends, and not {either(_RESERVED)}"
        )
    check_person(found)
    return found


def normal(name: str) -> str:
    """Returns what is compared of a name: without differences that nobody sees."""
    return " ".join(unicodedata.normalize("NFKC", name).split()).casefold()


def _is_of_one_script(name: str) -> bool:
    """Whether no letter is there that only looks like one of the others, or like none."""
    letters = [unicodedata.name(each, "") for each in name if each.isalpha()]
    if any("FILLER" in each for each in letters):
        return False
    scripts = {each.split(" ")[0] for each in letters}
    return len(scripts) < 2 or scripts <= {"CJK", "HIRAGANA", "KATAKANA"}


def add(database: Database, name: str, role: Role, now: datetime) -> str:
    """Adds an account without a password. Returns its name. Raises UsageError if it is there."""
    name = key(name)
    added = database.execute(
        "insert into {ops}.accounts (name, role, made_at) values (%s, %s, %s)"
        " on conflict (name) do nothing",
        (name, role, now),
    ).rowcount
    if not added:
        raise UsageError(f"there is an account {name} already; see: tutor-pipeline users list")
    return name


def listed(database: Database) -> list[Row]:
    """Returns the accounts: name, role, made_at, disabled_at, has_password, seen_at."""
    return database.rows(
        """
        select
            accounts.name,
            accounts.role,
            accounts.made_at,
            accounts.disabled_at,
            accounts.password is not null as has_password,
            max(sign_ins.seen_at) as seen_at
        from {ops}.accounts as accounts
        left join {ops}.sign_ins as sign_ins on accounts.name = sign_ins.account
        group by accounts.name
        order by accounts.name
        """
    )


def set_role(database: Database, name: str, role: Role) -> None:
    """Changes a role, at once for browsers that are signed in. Raises UsageError, RefusedError."""
    with database.transaction():
        database.lock(_LOCK)
        name = _known(database, name)
        if role is not Role.ADMIN:
            _keep_an_admin(database, name)
        database.execute("update {ops}.accounts set role = %s where name = %s", (role, name))
        # Those by a one-time link had a role of their own.
        database.execute(
            "delete from {ops}.sign_ins where account = %s and role is not null", (name,)
        )


def disable(database: Database, name: str, now: datetime) -> None:
    """Lets nobody in under this name, and signs its browsers out. Raises UsageError,
    RefusedError.
    """
    with database.transaction():
        database.lock(_LOCK)
        name = _known(database, name)
        _keep_an_admin(database, name)
        database.execute(
            "update {ops}.accounts set disabled_at = coalesce(disabled_at, %s) where name = %s",
            (now, name),
        )
        _end_all(database, name)


def enable(database: Database, name: str) -> None:
    """Undoes `disable`. Raises UsageError."""
    database.execute(
        "update {ops}.accounts set disabled_at = null where name = %s", (_known(database, name),)
    )


def set_password(database: Database, name: str, password: str) -> None:
    """Sets a password, signs the account's browsers out, ends its links. Raises UsageError."""
    stored = passwords.hashed(password)
    with database.transaction():
        name = _known(database, name)
        database.execute("update {ops}.accounts set password = %s where name = %s", (stored, name))
        _end_all(database, name)


def reset(database: Database, name: str, now: datetime) -> str:
    """Removes the password and signs out. Returns the secret of a link that sets another one.

    Raises UsageError.
    """
    with database.transaction():
        name = _known(database, name)
        database.execute("update {ops}.accounts set password = null where name = %s", (name,))
        _end_all(database, name)
        return make_link(database, Purpose.PASSWORD, name, now)


def make_link(database: Database, purpose: Purpose, account: str, now: datetime) -> str:
    """Returns the secret of a new one-time link."""
    secret = new_secret()
    database.execute(
        "insert into {ops}.sign_in_links (token_hash, purpose, account, made_at, ends_at)"
        " values (%s, %s, %s, %s, %s)",
        (secret_hash(secret), purpose, account, now, now + LIFETIME[purpose]),
    )
    return secret


def good_link(database: Database, purpose: Purpose, secret: str, now: datetime) -> Link | None:
    """Returns a link that was not used and is not too old."""
    found = database.one(
        "select purpose, account from {ops}.sign_in_links"
        " where token_hash = %s and purpose = %s and used_at is null and ends_at > %s",
        (secret_hash(secret), purpose, now),
    )
    return None if found is None else Link(Purpose(found["purpose"]), found["account"])


def use_link(database: Database, purpose: Purpose, secret: str, now: datetime) -> Link | None:
    """Uses a link up. Returns None if somebody else was faster, or it was not good."""
    found = database.one(
        "update {ops}.sign_in_links set used_at = %s"
        " where token_hash = %s and purpose = %s and used_at is null and ends_at > %s"
        " returning purpose, account",
        (now, secret_hash(secret), purpose, now),
    )
    return None if found is None else Link(Purpose(found["purpose"]), found["account"])


def _known(database: Database, name: str) -> str:
    name = key(name)
    if database.value("select name from {ops}.accounts where name = %s", (name,)) is None:
        raise UsageError(f"there is no account {name}; see: tutor-pipeline users list")
    return name


def _keep_an_admin(database: Database, name: str) -> None:
    others = database.value(
        "select count(*) from {ops}.accounts"
        " where role = 'admin' and disabled_at is null and name <> %s",
        (name,),
    )
    is_admin = database.value(
        "select role = 'admin' and disabled_at is null from {ops}.accounts where name = %s", (name,)
    )
    if is_admin and not others:
        raise RefusedError(
            f"{name} is the last admin: make another one first, with"
            " tutor-pipeline users add NAME --role admin"
        )


def _end_all(database: Database, name: str) -> None:
    database.execute("delete from {ops}.sign_ins where account = %s", (name,))
    database.execute("delete from {ops}.sign_in_links where account = %s", (name,))

"""Passwords: hashed with scrypt. Pure but for the random salt.

A hash takes 32 MiB and a fifth of a second: who serves many people limits how many are made at
once. Parameters as OWASP's Password Storage Cheat Sheet has them (N = 2^17 needs 128 MiB; 2^15
with p = 3 costs as much time and 32 MiB).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

from tutor_pipeline.core.errors import UsageError

SHORTEST, LONGEST = 10, 1_000
"""Characters of a password."""

_N, _R, _P = 2**15, 8, 3


def check(password: str) -> None:
    """Raises UsageError for a password that is too short or too long."""
    if len(password) < SHORTEST:
        raise UsageError(f"the password is too short: {SHORTEST} characters are the fewest")
    if len(password) > LONGEST:
        raise UsageError(f"the password is too long: {LONGEST:,} characters are the most")


def hashed(password: str) -> str:
    """Returns what is stored of a password. Raises UsageError (see `check`)."""
    check(password)
    salt = secrets.token_bytes(16)
    digest = _scrypt(password, salt, _N, _R, _P)
    return "$".join(("scrypt", str(_N), str(_R), str(_P), _text(salt), _text(digest)))


def is_right(password: str, stored: str | None) -> bool:
    """Whether it is the password of an account. `stored` None, of nobody or of an account without a
    password, takes as long and is never right.
    """
    name, n, r, p, salt, digest = (stored or _OF_NOBODY).split("$")
    if name != "scrypt":
        raise ValueError(f"unknown hash {name}")
    found = _scrypt(password[:LONGEST], _bytes(salt), int(n), int(r), int(p))
    return hmac.compare_digest(found, _bytes(digest)) and stored is not None


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(
        password.encode(), salt=salt, n=n, r=r, p=p, maxmem=2 * 128 * n * r, dklen=32
    )


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)


_OF_NOBODY = "$".join(("scrypt", str(_N), str(_R), str(_P), _text(bytes(16)), _text(bytes(32))))

"""Secrets of links and cookies. The database has their hashes: who reads it can use none."""

from __future__ import annotations

import hashlib
import secrets


def new_secret() -> str:
    """Returns 256 random bits, as text for an address or a cookie."""
    return secrets.token_urlsafe(32)


def secret_hash(secret: str) -> str:
    """Returns what is stored of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()

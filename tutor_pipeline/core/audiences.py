"""The audiences of messages, and how a setting lists their addresses."""

from __future__ import annotations

import re
from enum import StrEnum

SEPARATOR = re.compile(r"[\s,;]+(?=[A-Za-z][A-Za-z0-9+.-]{1,20}://)")
"""Separates two addresses in a setting."""


class Audience(StrEnum):
    """Who gets messages. The setting TUTOR_NOTIFY_<NAME> lists the addresses."""

    CRITICAL = "critical"
    WARNING = "warning"
    SESSIONS = "sessions"
    DIGEST = "digest"
    OPS = "ops"


def split_addresses(urls: str) -> tuple[str, ...]:
    """Returns the addresses of a setting, which blanks, commas or line breaks separate."""
    return tuple(each for each in SEPARATOR.split(urls.strip(" \t\r\n,")) if each)

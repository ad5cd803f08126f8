"""Who is told, and the addresses of each as a setting names them."""

from __future__ import annotations

import re
from enum import StrEnum

SEPARATOR = re.compile(r"[\s,;]+(?=[A-Za-z][A-Za-z0-9+.-]{1,20}://)")
"""Between two addresses of a setting."""


class Audience(StrEnum):
    """Who is told. Each has a setting TUTOR_NOTIFY_<NAME> with its addresses."""

    CRITICAL = "critical"
    WARNING = "warning"
    SESSIONS = "sessions"
    DIGEST = "digest"
    OPS = "ops"


def split_addresses(urls: str) -> tuple[str, ...]:
    """The addresses of a setting: separated by blanks, commas or line breaks."""
    return tuple(each for each in SEPARATOR.split(urls.strip(" \t\r\n,")) if each)

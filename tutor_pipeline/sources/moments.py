"""Reads moments: ISO 8601, with an offset or the name of a zone. Pure.

What may be read in two ways is refused: 03/04/2026, numbers that count something, and a time of the
hour that the end of summer time repeats.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from tutor_pipeline.sources.problems import (
    OUT_OF_RANGE,
    TWO_READINGS,
    UNPARSABLE,
    BadValueError,
)

FIRST_YEAR, LAST_YEAR = 1900, 2199
"""Timestamps outside are errors, and later steps could exceed the range of Python's datetime."""

_PLAIN = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?", re.ASCII)
_COMPACT_DATE = re.compile(r"\d{8}", re.ASCII)
_COUNT = re.compile(r"[+-]?\d+([.,]\d*)?", re.ASCII)
_DAY_AND_MONTH = re.compile(r"\d{1,2}[-/. ]\d{1,2}[-/. ](\d{4}|\d\d)\b.*", re.ASCII)
_WITH_ZONE = re.compile(r"(.+?\d)\s*([a-z][a-z0-9_+/-]*)", re.ASCII | re.IGNORECASE)
_UTC = ("z", "utc", "gmt")


def moment_of(text: str) -> str:
    """Returns a moment for PostgreSQL; without a zone, that of its session applies.

    Raises BadValueError.
    """
    if text[4:5] != "-" and _COUNT.fullmatch(text) and not _COMPACT_DATE.fullmatch(text):
        raise BadValueError(TWO_READINGS)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = _with_zone(text)
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise BadValueError(OUT_OF_RANGE)
    if moment.tzinfo is not None:
        # Python accepts more offsets than PostgreSQL.
        moment = moment.astimezone(UTC)
    elif _PLAIN.fullmatch(text):
        return text  # PostgreSQL can read it; formatting it again would take most of the time
    return moment.isoformat(" ")


def _with_zone(text: str) -> datetime:
    """Reads a moment after which the name of a zone stands."""
    match = _WITH_ZONE.fullmatch(text)
    if match is None:
        raise BadValueError(TWO_READINGS if _DAY_AND_MONTH.fullmatch(text) else UNPARSABLE)
    zone = _zone(match[2].casefold())
    try:
        moment = datetime.fromisoformat(match[1])
    except ValueError:
        twice = _DAY_AND_MONTH.fullmatch(match[1])
        raise BadValueError(TWO_READINGS if twice else UNPARSABLE) from None
    if zone is None or moment.tzinfo is not None:
        raise BadValueError(UNPARSABLE)
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise BadValueError(OUT_OF_RANGE)
    first, second = (moment.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() != second.utcoffset():
        # The clocks are set back (this time comes twice) or forward (it never comes).
        back = first.astimezone(UTC) < second.astimezone(UTC)
        raise BadValueError(TWO_READINGS if back else UNPARSABLE)
    return first


@cache
def _zone(name: str) -> ZoneInfo | None:
    """Returns the zone of a name, None for an abbreviation: EST is a zone in two continents."""
    if name in _UTC:
        return ZoneInfo("UTC")
    return ZoneInfo(_zones()[name]) if "/" in name and name in _zones() else None


@cache
def _zones() -> dict[str, str]:
    return {name.casefold(): name for name in available_timezones()}

"""Why a field holds no value of its column: the suffixes of quarantine reasons."""

from __future__ import annotations

MISSING = "missing"
UNPARSABLE = "unparsable"
OUT_OF_RANGE = "out_of_range"
UNKNOWN_VALUE = "unknown_value"
TWO_READINGS = "two_readings"
SUFFIXES = (MISSING, UNPARSABLE, OUT_OF_RANGE, UNKNOWN_VALUE, TWO_READINGS)


class BadValueError(Exception):
    """A bad value. The message is one of SUFFIXES."""

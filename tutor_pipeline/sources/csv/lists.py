"""Reads lists: `a,b`, `a;b`, an array of PostgreSQL `{a,b}`, or JSON. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from tutor_pipeline.sources.problems import TWO_READINGS, UNPARSABLE, BadValueError

_ELEMENT = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^",{}\\]*))\s*(?:,|$)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def items_of(text: str) -> list[str]:
    """Returns the items of a list, trimmed, without empty ones. Raises BadValueError."""
    if text.startswith("["):
        items = _of_json(text)
    elif text.startswith("{") and text.endswith("}"):
        items = list(_of_array(text[1:-1]))
    elif ";" in text and "," in text:
        raise BadValueError(TWO_READINGS)
    else:
        items = text.split(";" if ";" in text else ",")
    return [item for item in map(str.strip, items) if item]


def _of_json(text: str) -> list[str]:
    try:
        items = json.loads(text)
        if not all(isinstance(item, str) for item in items):
            raise BadValueError(UNPARSABLE)
        "".join(items).encode()
    except (ValueError, RecursionError):
        raise BadValueError(UNPARSABLE) from None
    if any("\0" in item for item in items):
        raise BadValueError(UNPARSABLE)
    return list(items)


def _of_array(inner: str) -> Iterator[str]:
    at = 0
    while at < len(inner):
        match = _ELEMENT.match(inner, at)
        if match is None:
            raise BadValueError(UNPARSABLE)
        yield match[2] if match[1] is None else _ESCAPED.sub(r"\1", match[1])
        at = match.end()

"""Parses the body of an event, and brings it to one form by which two are compared. Pure.

Belongs here: JSON. Does not belong here: what the fields mean (reading.py).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn

_LONGEST = 200
"""Characters kept of a type."""
_EXACT = 2**53
_DEEPEST = 64
"""Levels of JSON: far fewer than Python can go down, wherever a body is read."""
_ID = re.compile(r"[\x21-\x7e]{1,256}")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Body:
    """A body of an event. `value` is its JSON object, None where it is none. `text` is its
    canonical JSON, else the raw text. `digest` is the same for two bodies that say the same. `id`:
    the event's, where the body says one.
    """

    value: dict[str, Any] | None
    text: str
    digest: bytes
    id: str | None = None

    @property
    def type(self) -> str:
        """The type that it says, '' where it says none."""
        said = (self.value or {}).get("type")
        return said[:_LONGEST] if isinstance(said, str) and not _UNSTORABLE.search(said) else ""

    @property
    def data(self) -> dict[str, Any]:
        """The data that it carries, {} without."""
        data = (self.value or {}).get("data")
        return data if isinstance(data, dict) else {}


def parse(raw: bytes) -> Body:
    """Returns a body; of what is no JSON object, the text alone. An id in it is left out: it says
    which event this is, not what happened, and may stand in a header instead.
    """
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse)
        if not isinstance(value, dict):
            raise ValueError("no object")
        said = value.pop("id", None)
        value = _normal(value)
        text = _text(value)
    except (ValueError, RecursionError):
        text = raw.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
        return Body(None, text, hashlib.sha256(raw).digest())
    id_ = said if isinstance(said, str) and _ID.fullmatch(said) else None
    return Body(value, text, hashlib.sha256(text.encode()).digest(), id_)


def canonical(value: Any) -> str:
    """Returns JSON with sorted keys and no blanks, in ASCII: one text for what means the same.

    Raises ValueError for what JSON has no number for, and for what is nested too deep.
    """
    return _text(_normal(value))


def again(text: str) -> Body:
    """Returns the body of a stored text."""
    body = parse(text.encode("utf-8", "surrogatepass"))
    # What was no JSON is none now, though its text was mended where it could not be stored.
    return body if body.text == text else Body(None, text, body.digest)


def _text(value: Any) -> str:
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def _normal(value: Any, left: int = _DEEPEST) -> Any:
    """Returns the value with 1.0 as 1: a program of theirs may write either."""
    if isinstance(value, dict | list):
        if not left:
            raise ValueError("nested too deep")
        if isinstance(value, list):
            return [_normal(each, left - 1) for each in value]
        return {name: _normal(each, left - 1) for name, each in value.items()}
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name comes twice")
    return made


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)

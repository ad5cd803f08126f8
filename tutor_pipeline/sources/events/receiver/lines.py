"""Cuts the body of a batch into events, one a line. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from tutor_pipeline.sources.events.bodies import parse
from tutor_pipeline.sources.events.inbox import Incoming


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a batch. `event`: None, where it is too long."""

    id: str
    event: Incoming | None


def cut(body: bytes, most: int) -> list[tuple[int, bytes]]:
    """Returns the lines that have something in them, each with its number; of more than `most` one
    too many, whatever else there is.
    """
    found: list[tuple[int, bytes]] = []
    for number, line in enumerate(BytesIO(body), start=1):
        if raw := line.strip():
            found.append((number, raw))
            if len(found) > most:
                break
    return found


def read(
    lines: Sequence[tuple[int, bytes]], source: str, batch_id: str, longest: int
) -> list[Line]:
    """Reads lines. One without an id of its own is called after the batch and its place."""
    found = []
    for number, raw in lines:
        name = f"{batch_id}:{number}"
        event = parse(raw)
        if len(raw) > longest:
            found.append(Line(event.id or name, None))
            continue
        found.append(Line(event.id or name, Incoming(source, event.id or name, event)))
    return found

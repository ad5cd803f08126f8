"""Cuts the body of a batch into events, one a line. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tutor_pipeline.sources.events.bodies import parse
from tutor_pipeline.sources.events.inbox import Incoming


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a batch. `event`: None, where it is too long."""

    id: str
    event: Incoming | None


def cut(body: bytes) -> list[tuple[int, bytes]]:
    """Returns the lines that have something in them, each with its number."""
    lines = ((number, raw.strip()) for number, raw in enumerate(body.split(b"\n"), start=1))
    return [(number, raw) for number, raw in lines if raw]


def read(
    lines: Sequence[tuple[int, bytes]], source: str, batch_id: str, longest: int
) -> list[Line]:
    """Reads lines. One without an id of its own is called after the batch and its place."""
    found = []
    for number, raw in lines:
        name = f"{batch_id}:{number}"
        if len(raw) > longest:
            found.append(Line(name, None))
            continue
        event = parse(raw)
        found.append(Line(event.id or name, Incoming(source, event.id or name, event)))
    return found

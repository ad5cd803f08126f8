"""The signs as signals.yml lists them.

Belongs here: reading and checking that file. Does not belong here: what a sign measures
(`evidence`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml


class Kind(StrEnum):
    """A tutor against the tutor's own past, or against the others."""

    CHANGE = "change"
    LEVEL = "level"


@dataclass(frozen=True, slots=True)
class Signal:
    """A sign: see signals.yml. Of a `family` at most one is told as a reason."""

    code: str
    group: str
    kind: Kind
    weight: float
    natural: float
    short: str
    says: str
    family: str

    def words(self, **numbers: float) -> str:
        """The sign in words. Raises KeyError for a missing number that its text names."""
        return self.says.format(**numbers)


@dataclass(frozen=True, slots=True)
class Group:
    """Signs that say the same thing."""

    code: str
    weight: float
    name: str


def _signal(code: str, body: Mapping[str, Any]) -> Signal:
    given = {"family": code, **body, "kind": Kind(body["kind"])}
    return Signal(code=code, **given)


_FILE: Mapping[str, Any] = yaml.safe_load(
    (Path(__file__).parent / "signals.yml").read_text(encoding="utf-8")
)
SIGNALS: Mapping[str, Signal] = {
    code: _signal(code, body) for code, body in _FILE["signals"].items()
}
GROUPS: Mapping[str, Group] = {code: Group(code, **body) for code, body in _FILE["groups"].items()}
LITTLE_KNOWN_UNDER: float = _FILE["little_known_under"]
CODES: tuple[str, ...] = tuple(SIGNALS)


def default_weights(known: frozenset[str] | None = None) -> dict[str, float]:
    """What each sign is worth before anything was learned: groups by their weight, within a group
    by the signs'. Of a platform that has only the `known` signs, they share their group's
    weight; the others are worth 0. None = all.
    """
    used = SIGNALS.keys() if known is None else known
    totals: dict[str, float] = {}
    for code in used:
        signal = SIGNALS[code]
        totals[signal.group] = totals.get(signal.group, 0.0) + signal.weight
    return {
        code: GROUPS[signal.group].weight * signal.weight / totals[signal.group]
        if code in used
        else 0.0
        for code, signal in SIGNALS.items()
    }

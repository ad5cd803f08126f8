"""The signs of a forecast as its signals.yml lists them.

Belongs here: reading and checking such a file. Does not belong here: what a sign measures
(`tutors.evidence`, `students.evidence`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml


class Kind(StrEnum):
    """Somebody against the own past, or against the others."""

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


@dataclass(frozen=True)
class Signals:
    """All signs of a forecast, and their groups, in the order of the file. The share of all weight
    that must be known of somebody before the forecast may say Low is `little_known_under`.
    """

    by_code: Mapping[str, Signal]
    groups: Mapping[str, Group]
    little_known_under: float
    codes: tuple[str, ...]

    @classmethod
    def read(cls, file: Path) -> Signals:
        """The signs of a signals.yml."""
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
        signals = {code: _signal(code, body) for code, body in found["signals"].items()}
        groups = {code: Group(code, **body) for code, body in found["groups"].items()}
        return cls(signals, groups, found["little_known_under"], tuple(signals))

    def default_weights(self, known: frozenset[str] | None = None) -> dict[str, float]:
        """What each sign is worth before anything was learned: groups by their weight, within a
        group by the signs'. Of a platform that has only the `known` signs, they share their
        group's weight; the others are worth 0. None = all.
        """
        used = self.by_code.keys() if known is None else known
        totals: dict[str, float] = {}
        for code in used:
            signal = self.by_code[code]
            totals[signal.group] = totals.get(signal.group, 0.0) + signal.weight
        return {
            code: self.groups[signal.group].weight * signal.weight / totals[signal.group]
            if code in used
            else 0.0
            for code, signal in self.by_code.items()
        }


def _signal(code: str, body: Mapping[str, Any]) -> Signal:
    given = {"family": code, **body, "kind": Kind(body["kind"])}
    return Signal(code=code, **given)

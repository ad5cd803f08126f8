"""The signs of a forecast, as its signs.yml lists them.

Belongs here: the content of such a file, and the weights of the signs that a platform has.
Does not belong here: what a sign measures (`tutors.evidence`, `students.evidence`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from tutor_pipeline.core.formatting import written
from tutor_pipeline.core.yaml_models import CODES, Coded, YamlModel, read_yaml


class Kind(StrEnum):
    """Whether a sign compares somebody with their own past, or with the others."""

    CHANGE = "change"
    LEVEL = "level"


class _Told(float):
    """A number that `str.format` writes as sentences do (`core.formatting.written`). One with its
    noun is rounded, as it was multiplied with a share.
    """

    def __format__(self, form: str) -> str:
        number = round(self) if "|" in form and isfinite(self) else float(self)
        return written(number, form)


class Sign(Coded):
    """One sign: see signs.yml. At most one reason is given per `family`."""

    group: str
    kind: Annotated[Kind, Field(strict=False)]
    weight: float = Field(gt=0)
    natural: float = Field(gt=0)
    short: str
    says: str
    family: str

    @model_validator(mode="before")
    @classmethod
    def _family_of_its_own(cls, entry: Mapping[str, object]) -> Mapping[str, object]:
        return {"family": entry.get("code"), **entry}

    @model_validator(mode="after")
    def _words_fit(self) -> Self:
        try:
            self.words(now=0.0, usual=0.0, n=0.0, n_usual=0.0, k=0.0, k_usual=0.0)
        except KeyError as error:
            raise ValueError(f"`says` names the unknown number {error.args[0]}") from error
        return self

    def words(self, **numbers: float) -> str:
        """Returns the sign in words. Raises KeyError for a number that is missing."""
        return self.says.format(**{name: _Told(number) for name, number in numbers.items()})


class Group(Coded):
    """Signs that say the same thing."""

    weight: float = Field(gt=0)
    name: str


class Signs(YamlModel):
    """All signs of a forecast and their groups, in the order of the file. `little_known_under` is
    the share of all weight that must be known before the forecast may say Low.
    """

    little_known_under: float = Field(gt=0, lt=1)
    groups: Annotated[dict[str, Group], CODES]
    signs: Annotated[dict[str, Sign], CODES]

    @model_validator(mode="after")
    def _groups_exist(self) -> Self:
        for sign in self.signs.values():
            if sign.group not in self.groups:
                raise ValueError(
                    f"signs.{sign.code}.group: there is no group {sign.group}; there are"
                    f" {', '.join(self.groups)}"
                )
        return self

    @classmethod
    def read(cls, file: Path) -> Signs:
        """Returns the signs of a signs.yml. Raises TutorPipelineError for a faulty file."""
        return read_yaml(file, cls, "signs file")

    @property
    def by_code(self) -> Mapping[str, Sign]:
        """The signs by their code."""
        return self.signs

    @cached_property
    def codes(self) -> tuple[str, ...]:
        """The codes of the signs, in the order in which matrices hold them."""
        return tuple(self.signs)

    def default_weights(self, known: frozenset[str] | None = None) -> dict[str, float]:
        """Returns the weight of each sign before anything is learned: groups by their weight, signs
        within a group by theirs. On a platform that has only the `known` signs (None: all), these
        share their group's weight, and the others have none.
        """
        used = self.signs.keys() if known is None else known
        totals: dict[str, float] = {}
        for code in used:
            sign = self.signs[code]
            totals[sign.group] = totals.get(sign.group, 0.0) + sign.weight
        return {
            code: self.groups[sign.group].weight * sign.weight / totals[sign.group]
            if code in used
            else 0.0
            for code, sign in self.signs.items()
        }

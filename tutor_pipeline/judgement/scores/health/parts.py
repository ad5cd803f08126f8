"""The weighted parts of health.yml, and their mean.

Belongs here: reading health.yml, how much a part counts, the mean of the known parts, reasons.
Does not belong here: what a mean becomes (`outputs`, `tutors`, `students`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from tutor_pipeline.core.formatting import count
from tutor_pipeline.core.yaml_models import CODES, Coded, YamlModel, read_yaml
from tutor_pipeline.judgement.scores.score import Reason, most_telling_first

Values = Mapping[str, float | None]
"""Numbers by the name of their column or ratio; None: not known."""

Number = int | float


class Part(Coded):
    """One weighted part. It counts from 0 at `zero` to 1 at `full`.

    A value with `n` observations is drawn towards `usual` as if `prior` usual observations were
    among them. With `common`, the change that all tutors have in common is taken out of the value:
    divided out of a `ratio`, subtracted from a `difference`. `shown` is the value's format.
    """

    name: str
    metric: str
    weight: Number = Field(gt=0)
    zero: Number
    full: Number
    usual: Number
    n: str | None = None
    prior: Number = Field(0, ge=0)
    common: Literal["ratio", "difference"] | None = None
    shown: str

    @model_validator(mode="before")
    @classmethod
    def _usual_is_zero(cls, entry: Mapping[str, object]) -> Mapping[str, object]:
        return {"usual": entry["zero"], **entry} if "zero" in entry else entry

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.zero == self.full:
            raise ValueError("zero and full are the same")
        format(1.0, self.shown)
        return self

    @cached_property
    def unknown(self) -> Reason:
        """The reason that says that the part is not known."""
        label = f"{self.name}: not known, its weight is shared out"
        return Reason(self.code, label, None, self.usual, None, 0.0)

    def share(self, value: float, n: float | None) -> float:
        """Returns how much the part counts, 0 to 1."""
        if n is not None:
            value = (n * value + self.prior * self.usual) / (n + self.prior)
        return min(max((value - self.zero) / (self.full - self.zero), 0.0), 1.0)

    def own(self, value: float | None, common: float | None) -> float | None:
        """Returns the tutor's own part of a change, where all tutors changed by `common` (None: not
        known). None where all tutors stopped, so that a stop says nothing.
        """
        if value is None or self.common is None or common is None:
            return value
        if self.common == "difference":
            return value - common
        return value / common if common > 0 else None

    def observations(self, n: float | None, common: float | None) -> float | None:
        """Returns the number of observations that count: where all tutors taught half as much, a
        ratio rests on half of them.
        """
        if n is None or common is None or self.common != "ratio":
            return n
        return n * min(common, 1.0)

    def usually(self, common: float | None) -> float:
        """Returns the usual value, where all tutors changed by `common`."""
        if self.common is None or common is None:
            return self.usual
        return self.usual + common if self.common == "difference" else self.usual * common


class _Minimum(YamlModel):
    sessions_90d: Number
    days_since_last_session: Number
    known_weight: Number
    first_sessions: Number
    student_sessions: Number


class _Star(YamlModel):
    known_weight: Number
    sessions_90d: Number
    pace: Number
    health_score: Number


class _Parts(YamlModel):
    parts: Annotated[dict[str, Part], CODES]

    def listed(self) -> tuple[Part, ...]:
        """The parts in the order of the file."""
        return tuple(self.parts.values())


class _Burnout(_Parts):
    scale: float = Field(gt=0)


class _File(YamlModel):
    """The content of health.yml."""

    minimum: _Minimum
    star: _Star
    burnout: _Burnout
    health: _Parts
    first_session_success: _Parts
    student_health: _Parts


_PARAMETERS = read_yaml(Path(__file__).parent / "health.yml", _File, "file of health parts")
MINIMUM = _PARAMETERS.minimum
STAR = _PARAMETERS.star
BURNOUT_SCALE = _PARAMETERS.burnout.scale
BURNOUT = _PARAMETERS.burnout.listed()
HEALTH = _PARAMETERS.health.listed()
FIRST_SESSIONS = _PARAMETERS.first_session_success.listed()
STUDENT_HEALTH = _PARAMETERS.student_health.listed()


def reads_of(
    parts: Iterable[Part], besides: Iterable[str], computed: Iterable[str]
) -> tuple[str, ...]:
    """Returns the columns that parts read, and those read `besides`, without what is `computed`."""
    names = {*besides, *(part.metric for part in parts), *(part.n for part in parts if part.n)}
    return tuple(sorted(names - set(computed)))


class Known(NamedTuple):
    """A part whose value is known, and what it adds to the weighted sum."""

    part: Part
    value: float
    common: float | None
    n: float | None
    adds: float

    def reason(self, factor: float, points: float | None = None) -> Reason:
        """Returns the reason for a score that is `factor` times the weighted sum. `points`: the
        most points that the part can give, shown where given.
        """
        part, value, common, n, adds = self
        contribution = round(adds * factor, 6)
        label = f"{part.name}: {value:{part.shown}}"
        if part.common is not None and common is not None:
            label += f", of all tutors {common:{part.shown}}"
        if points is not None:
            label += f" ({contribution:.0f} of {count(round(points), 'point')})"
        usual = round(part.usually(common), 9)
        return Reason(part.code, label, value, usual, None if n is None else int(n), contribution)


class Weighed(NamedTuple):
    """The known parts, their weight together, and their weighted mean (0 to 1)."""

    mean: float
    weight: float
    known: list[Known]
    unknown: list[Reason]

    def reasons(self, total: float) -> tuple[Reason, ...]:
        """Returns the reasons for a score of `total`: the parts that add to it, and those not
        known.
        """
        factor = total / (self.mean * self.weight) if self.mean else 0.0
        counted = [each.reason(factor) for each in self.known if each.adds > 0]
        return most_telling_first(counted + self.unknown)

    def points(self) -> tuple[Reason, ...]:
        """Returns the reasons for a score of 100 x mean: the points of every known part, also 0,
        and the parts not known.
        """
        factor = 100 / self.weight
        counted = [each.reason(factor, each.part.weight * factor) for each in self.known]
        return most_telling_first(counted + self.unknown)


def weigh(
    parts: Iterable[Part], values: Values, common: Mapping[str, float] | None = None
) -> Weighed:
    """Returns the weighted parts of one tutor or student. `common`: by how much all tutors changed,
    by metric.
    """
    known = []
    unknown = []
    weight = total = 0.0
    for part in parts:
        value = values[part.metric]
        all_by = None if common is None else common.get(part.metric)
        own = part.own(value, all_by)
        if value is None or own is None:
            unknown.append(part.unknown)
            continue
        n = None if part.n is None else values[part.n] or 0.0
        adds = part.weight * part.share(own, part.observations(n, all_by))
        known.append(Known(part, value, all_by, n, adds))
        weight += part.weight
        total += adds
    return Weighed(total / weight if weight else 0.0, round(weight, 9), known, unknown)

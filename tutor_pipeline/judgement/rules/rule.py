"""A rule and its conditions, as the engine evaluates them.

Belongs here: the types. Does not belong here: reading them from YAML (`rule_schema`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from tutor_pipeline.core.findings import Kind, Severity
from tutor_pipeline.judgement.rules.inputs import NUMERIC, OPEN_ALERTS, Scale
from tutor_pipeline.judgement.rules.template import Template
from tutor_pipeline.judgement.rules.usual import Unusual

_LARGEST = 1e9
"""No metric is larger, and no threshold nearer to 0 than one over this."""

OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "=": operator.eq,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A metric beyond a threshold, based on at least `minimum_exposure` sessions.

    For a count, `minimum_share` is the least share of these sessions.
    """

    metric: str
    scale: Scale
    op: str
    value: float | str | bool
    exposure: str | None
    minimum_exposure: int
    minimum_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule makes a finding when all conditions of `when` hold. The first one is the principal.

    A tutor's override changes the threshold of the principal condition; `excess` measures it.
    `requires` maps counts to the minimum under which the rule is not evaluated. `metric_value`
    is the metric whose value an insight shows; None if that is not a number. `unusual` must hold
    in addition to the conditions. `source` is the `file:line` of the last file that names the
    rule; `version` is a hash of the rule's content.

    `beside` is set for the insight that belongs to an alert: it finds tutors who meet the alert's
    conditions but are not unusual enough for the alert.
    """

    id: str
    kind: Kind
    severity: Severity | None
    when: tuple[Condition, ...]
    requires: Mapping[str, int]
    texts: Mapping[str, Template]
    evidence: str | None
    metric_value: str | None
    is_enabled: bool
    source: str
    version: str
    unusual: Unusual | None = None
    beside: str | None = None

    def refusal(self, threshold: float) -> str | None:
        """Why the first condition cannot have this threshold; None if it can."""
        condition = self.when[0]
        if condition.scale not in NUMERIC:
            return f"the first condition of {self.id} has no number for a threshold"
        if not isfinite(threshold):
            return f"{threshold:g} is no number for a threshold"
        if abs(threshold) > _LARGEST or 0 < abs(threshold) < 1 / _LARGEST:
            return f"{threshold:g} is no threshold of a metric: it is too large or too small"
        least = 1 if condition.op == ">=" else 0
        if condition.scale is Scale.COUNT and (threshold != int(threshold) or threshold < least):
            return (
                f"{condition.metric} is a count, so its threshold is a whole number, at least"
                f" {least}"
            )
        return None

    @property
    def columns(self) -> frozenset[str]:
        """The columns of a row that the rule reads."""
        names = {*self.requires, self.evidence, self.metric_value}
        for condition in self.when:
            names |= {condition.metric, condition.exposure}
        for text in self.texts.values():
            names |= text.metrics
        if self.unusual is not None:
            names |= {*self.unusual.columns, self.is_open}
        return frozenset(name for name in names if name is not None)

    @property
    def alert(self) -> str:
        """The id of the alert whose conditions these are."""
        return self.beside or self.id

    @property
    def is_open(self) -> str:
        """The column that says whether the tutor has that alert open."""
        return f"{OPEN_ALERTS}.{self.alert}"

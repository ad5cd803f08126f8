"""The frozen types that rooms exchange: what a rule found, and what became of it.

Belongs here: plain values without behaviour worth a test of its own.
Does not belong here: SQL, YAML, decisions, anything that imports a room.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

MAX_SKIPPED_SHARE = 0.01
"""More tutors than this with unusable data, and a run fails (after it did the others)."""


class Kind(StrEnum):
    """What a rule's finding becomes: a row of one of three tables."""

    ALERT = "alert"
    INSIGHT = "insight"
    ACHIEVEMENT = "achievement"


class Severity(StrEnum):
    """How bad an alert is. Compare by `rank`: a higher one is worse."""

    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for a warning, 1 for a critical."""
        return list(Severity).index(self)


class Resolution(StrEnum):
    """Why a row was closed. Those of `BY_HAND` are an administrator's reasons."""

    AUTO = "auto"
    PROFILE_SWITCHED = "profile_switched"
    RULE_RETIRED = "rule_retired"
    RULE_DISABLED = "rule_disabled"
    TUTOR_INACTIVE = "tutor_inactive"
    COACHED = "coached"
    FIXED = "fixed"
    NOT_ACTIONABLE = "not_actionable"
    OTHER = "other"


BY_HAND = frozenset(
    {Resolution.COACHED, Resolution.FIXED, Resolution.NOT_ACTIONABLE, Resolution.OTHER}
)


@dataclass(frozen=True, slots=True)
class Override:
    """One tutor's exception to one rule: another threshold, or none at all (`disabled`).

    `threshold` replaces the one of the rule's first condition.
    """

    tutor_id: str
    rule_id: str
    threshold: float | None = None
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """One condition as it was met: the metric's value, the threshold, the sessions behind it."""

    metric: str
    value: object
    threshold: object
    exposure: int | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule says of one tutor today.

    `texts` are the kind's own words: an alert's title, description and recommended_action; an
    insight's insight_type, display_text and, of a growth area, coaching_tip; an achievement's
    title, description and icon. `evidence` holds at most five session ids, newest first. `excess`
    says how far beyond the threshold the tutor is (see `rules.evaluate`); 0 is at it.
    `metric_value` is the number that an insight shows. Of a rule that asks for what is unusual
    here, `usual` is what the others do and `unusual` how likely the tutor is beyond it (0 to 1).
    """

    tutor_id: str
    rule_id: str
    severity: Severity | None
    texts: Mapping[str, str]
    readings: tuple[Reading, ...]
    evidence: tuple[str, ...]
    excess: float
    rule_version: str
    metric_value: float | None = None
    usual: float | None = None
    unusual: float | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the rules of one kind said of some tutors as of a moment.

    `evaluated` maps each rule in force to the tutors it could be evaluated for: only these pairs
    may be resolved. `skipped` maps tutors whose data was unusable to the reason.
    `disabled` are (tutor, rule) pairs switched off by an override.
    """

    kind: Kind
    as_of: datetime
    profile: str
    auto_resolve: bool
    tutors: int
    findings: tuple[Finding, ...]
    evaluated: Mapping[str, frozenset[str]]
    skipped: Mapping[str, str] = field(default_factory=dict)
    disabled: frozenset[tuple[str, str]] = frozenset()

    @property
    def evaluated_pairs(self) -> int:
        """How many (tutor, rule) pairs were evaluated."""
        return sum(map(len, self.evaluated.values()))

    @property
    def skipped_share(self) -> float:
        """The share (0 to 1) of the tutors that were skipped; 0 when there were none."""
        return len(self.skipped) / self.tutors if self.tutors else 0.0


class Step(StrEnum):
    """What happens to a row in one run. All but `CONFIRMED` are events of its history."""

    OPENED = "opened"
    REOPENED = "reopened"
    CONFIRMED = "confirmed"
    ESCALATED = "escalated"
    EASED = "eased"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Change:
    """One row's step. `finding` is None for a resolved row, `resolution` for any other.

    `occurrence` says which row of the pair (tutor, rule) it is, from 1; `event_no` which event
    of that row (None for a confirmation); `was` the severity before.
    """

    step: Step
    tutor_id: str
    rule_id: str
    row_id: str
    occurrence: int
    event_no: int | None
    finding: Finding | None = None
    resolution: Resolution | None = None
    was: Severity | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """What a run did to the rows of one kind. `suppressed` findings were resolved by hand before.

    `opened` counts the reopened rows too (an achievement earned again is the same row).
    `changes` are the rows that opened, changed their severity or were resolved, in stable order.
    """

    kind: Kind
    evaluated: int
    opened: int
    confirmed: int
    escalated: int
    resolved: int
    suppressed: int
    skipped: Mapping[str, str]
    changes: tuple[Change, ...]

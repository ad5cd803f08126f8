"""The immutable types that packages exchange: findings of rules, and the resulting changes.

Belongs here: plain values without behaviour worth a test of its own.
Does not belong here: SQL, YAML, decisions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

MAX_SKIPPED_SHARE = 0.01
"""If a larger share of tutors has unusable data, a run fails after it has done the others."""


class Kind(StrEnum):
    """The kind of a finding; each kind has a table of its own."""

    ALERT = "alert"
    INSIGHT = "insight"
    ACHIEVEMENT = "achievement"


class SubjectKind(StrEnum):
    """What an alert is about: a person, or a subject that is taught."""

    TUTOR = "tutor"
    STUDENT = "student"
    SUBJECT = "subject"


class Subject(NamedTuple):
    """Whom or what a finding is about. `tutor_id`: the tutor whose it is, '' where it is nobody's;
    `id`: of the tutor, the student or the subject taught.
    """

    tutor_id: str
    kind: SubjectKind
    id: str

    @classmethod
    def tutor(cls, tutor_id: str) -> Subject:
        """Returns a tutor as what a finding is about."""
        return cls(tutor_id, SubjectKind.TUTOR, tutor_id)


class Severity(StrEnum):
    """The severity of an alert. Compare by `rank`: higher is worse."""

    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for a warning, 1 for a critical."""
        return list(Severity).index(self)


class Resolution(StrEnum):
    """Why a row was closed. `BY_HAND` has the reasons that an administrator gives."""

    AUTO = "auto"
    EVIDENCE_GONE = "evidence_gone"
    EXCUSED = "excused"
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
    """One tutor's exception from one rule: another threshold, or the rule is `disabled`.

    `threshold` replaces the threshold of the rule's first condition.
    """

    tutor_id: str
    rule_id: str
    threshold: float | None = None
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """One condition that was met: the metric's value, the threshold, the exposure in sessions."""

    metric: str
    value: object
    threshold: object
    exposure: int | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule found for one subject, mostly a tutor.

    `texts` depend on the kind: an alert's title, description and recommended_action; an insight's
    insight_type, display_text and, for a growth area, coaching_tip; an achievement's title,
    description and icon. `evidence` holds at most five session ids, newest first. `excess` is the
    distance beyond the threshold (see `rules.evaluate`); 0 is at the threshold. `metric_value` is
    the number that an insight shows. For a rule about unusual values, `usual` is the value of the
    other tutors, and `unusual` the probability (0 to 1) that the tutor is beyond it.
    """

    subject: Subject
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

    @property
    def tutor_id(self) -> str:
        """The tutor whose it is; '' where it is nobody's."""
        return self.subject.tutor_id


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the rules of one kind found for some tutors at an as-of.

    `about`: the kinds of subjects that these rules are about; rows about others stay as they are.
    `evaluated` maps each active rule to what it was evaluated for, tutors by their ids; only these
    pairs may be resolved. `skipped` maps tutors with unusable data to the reason. `disabled` are
    (tutor, rule) pairs that an override switches off.
    """

    kind: Kind
    as_of: datetime
    profile: str
    auto_resolve: bool
    tutors: int
    findings: tuple[Finding, ...]
    evaluated: Mapping[str, frozenset[str] | frozenset[Subject]]
    skipped: Mapping[str, str] = field(default_factory=dict)
    disabled: frozenset[tuple[str, str]] = frozenset()
    about: frozenset[SubjectKind] = frozenset({SubjectKind.TUTOR})

    @property
    def evaluated_pairs(self) -> int:
        """The number of (subject, rule) pairs that were evaluated."""
        return sum(map(len, self.evaluated.values()))

    @property
    def skipped_share(self) -> float:
        """The share (0 to 1) of tutors that were skipped; 0 without tutors."""
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
    """The step of one row. `finding` is None for a resolved row, `resolution` for any other.

    `occurrence` numbers the rows of a pair (subject, rule), from 1. `event_no` numbers the events
    of the row (None for a confirmation). `was` is the severity before.
    """

    step: Step
    subject: Subject
    rule_id: str
    row_id: str
    occurrence: int
    event_no: int | None
    finding: Finding | None = None
    resolution: Resolution | None = None
    was: Severity | None = None

    @property
    def tutor_id(self) -> str:
        """The tutor whose it is; '' where it is nobody's."""
        return self.subject.tutor_id


@dataclass(frozen=True, slots=True)
class Applied:
    """What a run did to the rows of one kind. `suppressed` findings had been resolved by hand.

    `opened` includes reopened rows (an achievement that is earned again is the same row).
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

"""What becomes of findings: rows that open, go on, change their severity or close. Pure.

Identity is (tutor, rule), never a measured value. At most one row of a pair is open. What was
not evaluated is not touched: missing data is not health.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter

from tutor_pipeline.core.findings import (
    Change,
    Evaluation,
    Finding,
    Resolution,
    Severity,
    Step,
)

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Held:
    """An open row as it is stored; `events` is the number of the newest of its events, `profile`
    the rules under which it was found last.
    """

    tutor_id: str
    rule_id: str
    row_id: str
    occurrence: int
    severity: Severity | None
    events: int
    profile: str = ""


@dataclass(frozen=True, slots=True)
class Past:
    """The newest row, a closed one, of a pair that has no open one.

    `known_sessions` matters where it was closed by hand: the tutor's sessions processed until then.
    `reopens` is its id where a pair has one row for ever: it opens again, instead of another.
    """

    occurrence: int
    by_hand: bool
    known_sessions: frozenset[str] = frozenset()
    reopens: str | None = None


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The changes, ordered by tutor and rule; how many findings were resolved by hand before."""

    changes: tuple[Change, ...]
    suppressed: int


def reconcile(
    evaluation: Evaluation,
    held: Iterable[Held],
    past: Mapping[Pair, Past],
    active_tutors: Collection[str],
) -> Reconciled:
    """Turn what the rules said today into changes of rows.

    `held` are the open rows of the tutors that the run covers, `past` the newest closed row of
    each found pair without an open one, `active_tutors` everyone who is active on the platform.
    """
    findings = {(each.tutor_id, each.rule_id): each for each in evaluation.findings}
    changes: list[Change] = []
    for row in held:
        pair = (row.tutor_id, row.rule_id)
        finding = findings.pop(pair, None)
        if resolution := _resolution(row, finding, evaluation, active_tutors):
            changes.append(_resolve(row, resolution))
        elif finding is not None:
            changes.append(_continue(row, finding))
    suppressed = 0
    for pair, finding in findings.items():
        earlier = past.get(pair)
        if finding.tutor_id not in active_tutors:
            continue
        if earlier and earlier.by_hand and earlier.known_sessions.issuperset(finding.evidence):
            suppressed += 1
        else:
            changes.append(_open(finding, earlier, evaluation.as_of))
    changes.sort(key=attrgetter("tutor_id", "rule_id"))
    return Reconciled(tuple(changes), suppressed)


def row_id(tutor_id: str, rule_id: str, opened: datetime, occurrence: int) -> str:
    """The id of a row: 12 hexadecimal digits, the same whenever the same row is made again."""
    moment = opened.astimezone(UTC).isoformat()
    name = "|".join((tutor_id, rule_id, moment, str(occurrence)))
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def _resolution(
    row: Held,
    finding: Finding | None,
    evaluation: Evaluation,
    active_tutors: Collection[str],
) -> Resolution | None:
    """Why an open row closes, or None when it stays open."""
    if row.tutor_id not in active_tutors:
        return Resolution.TUTOR_INACTIVE
    if row.rule_id not in evaluation.evaluated:
        return Resolution.RULE_RETIRED
    if (row.tutor_id, row.rule_id) in evaluation.disabled:
        return Resolution.RULE_DISABLED
    if finding is not None or row.tutor_id not in evaluation.evaluated[row.rule_id]:
        return None
    # Other rules than those that found it: it is not for people to tidy up after a switch.
    if row.profile not in ("", evaluation.profile):
        return Resolution.PROFILE_SWITCHED
    return Resolution.AUTO if evaluation.auto_resolve else None


def _open(finding: Finding, earlier: Past | None, as_of: datetime) -> Change:
    pair = finding.tutor_id, finding.rule_id
    occurrence = earlier.occurrence + 1 if earlier else 1
    if earlier and earlier.reopens:
        # No kind with a row for ever keeps events.
        return Change(Step.REOPENED, *pair, earlier.reopens, occurrence, None, finding)
    opened = row_id(*pair, as_of, occurrence)
    return Change(Step.OPENED, *pair, opened, occurrence, event_no=1, finding=finding)


def _continue(row: Held, finding: Finding) -> Change:
    step = Step.CONFIRMED
    if row.severity and finding.severity and row.severity is not finding.severity:
        worse = finding.severity.rank > row.severity.rank
        step = Step.ESCALATED if worse else Step.EASED
    return Change(
        step,
        row.tutor_id,
        row.rule_id,
        row.row_id,
        row.occurrence,
        event_no=None if step is Step.CONFIRMED else row.events + 1,
        finding=finding,
        was=row.severity,
    )


def _resolve(row: Held, resolution: Resolution) -> Change:
    return Change(
        Step.RESOLVED,
        row.tutor_id,
        row.rule_id,
        row.row_id,
        row.occurrence,
        event_no=row.events + 1,
        resolution=resolution,
        was=row.severity,
    )

"""Decides which rows of findings open, continue, change severity or close. Pure.

A row is identified by (subject, rule), never by a measured value. At most one row of a pair is
open. What was not evaluated is not changed: missing data does not mean that all is well.
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
    Subject,
    SubjectKind,
)

Pair = tuple[Subject, str]


@dataclass(frozen=True, slots=True)
class OpenRow:
    """An open row as it is stored. `newest_event` is the number of its newest event, `profile` the
    rule profile that found it last.
    """

    subject: Subject
    rule_id: str
    row_id: str
    occurrence: int
    severity: Severity | None
    newest_event: int
    profile: str = ""


@dataclass(frozen=True, slots=True)
class ClosedRow:
    """The newest row, a closed one, of a pair that has no open row.

    `known_sessions` are the tutor's sessions that were processed when somebody closed it by hand.
    `reopens` is its id if it reopens instead of a new row: the pair has only one row, or its
    evidence had gone and is back. `reopens_with` are the sessions of which one is in the evidence
    then (None: any). `newest_event` is the number of its newest event, 0 for a kind without a
    history.
    """

    occurrence: int
    by_hand: bool
    known_sessions: frozenset[str] = frozenset()
    reopens: str | None = None
    newest_event: int = 0
    severity: Severity | None = None
    reopens_with: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The changes, ordered by subject and rule, and the number of findings that stay closed because
    somebody resolved them.
    """

    changes: tuple[Change, ...]
    suppressed: int


def reconcile(
    evaluation: Evaluation,
    open_rows: Iterable[OpenRow],
    closed_rows: Mapping[Pair, ClosedRow],
    active_tutors: Collection[str],
    without_evidence: Collection[Pair] = frozenset(),
    excused: Collection[Pair] = frozenset(),
) -> Reconciled:
    """Turn an evaluation into changes of rows.

    `open_rows` are those of the tutors that the run covers. `closed_rows` has the newest closed row
    of each found pair without an open one. `active_tutors` are all active tutors of the platform.
    `without_evidence` are open pairs with a session in their evidence that is no longer there;
    `excused` those with one that somebody excused since they were last confirmed.
    """
    findings = {(each.subject, each.rule_id): each for each in evaluation.findings}
    changes: list[Change] = []
    for row in open_rows:
        pair = (row.subject, row.rule_id)
        finding = findings.pop(pair, None)
        resolution = _resolution(row, finding, evaluation, active_tutors)
        if resolution is Resolution.AUTO and pair in without_evidence:
            resolution = Resolution.EVIDENCE_GONE
        elif (
            # A person's word: it closes what the profile leaves to people, and what is left of the
            # evidence may be too little to evaluate the rule.
            pair in excused
            and finding is None
            and resolution in (None, Resolution.AUTO)
            and row.subject.tutor_id not in evaluation.skipped
        ):
            resolution = Resolution.EXCUSED
        if resolution:
            changes.append(_resolve(row, resolution))
        elif finding is not None:
            changes.append(_continue(row, finding))
    suppressed = 0
    for pair, finding in findings.items():
        earlier = closed_rows.get(pair)
        if not _is_of_somebody(finding.subject, active_tutors):
            continue
        if earlier and earlier.by_hand and earlier.known_sessions.issuperset(finding.evidence):
            suppressed += 1
        else:
            changes.append(_open(finding, earlier, evaluation.as_of))
    changes.sort(key=attrgetter("subject", "rule_id"))
    return Reconciled(tuple(changes), suppressed)


def row_id(subject: Subject, rule_id: str, opened: datetime, occurrence: int) -> str:
    """Return the id of a row: 12 hexadecimal digits, always the same for the same arguments."""
    moment = opened.astimezone(UTC).isoformat()
    about = subject[:1] if subject.kind is SubjectKind.TUTOR else subject
    name = "|".join((*about, rule_id, moment, str(occurrence)))
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def _resolution(
    row: OpenRow,
    finding: Finding | None,
    evaluation: Evaluation,
    active_tutors: Collection[str],
) -> Resolution | None:
    """Return why an open row closes, or None if it stays open."""
    if not _is_of_somebody(row.subject, active_tutors):
        return Resolution.TUTOR_INACTIVE
    if row.rule_id not in evaluation.evaluated:
        return Resolution.RULE_RETIRED
    is_tutor = row.subject.kind is SubjectKind.TUTOR
    if is_tutor and (row.subject.id, row.rule_id) in evaluation.disabled:
        return Resolution.RULE_DISABLED
    evaluated: Collection[object] = evaluation.evaluated[row.rule_id]
    if finding is not None or (row.subject.id if is_tutor else row.subject) not in evaluated:
        return None
    # Another profile found it: people do not have to clean up after a switch.
    if row.profile not in ("", evaluation.profile):
        return Resolution.PROFILE_SWITCHED
    return Resolution.AUTO if evaluation.auto_resolve else None


def _is_of_somebody(subject: Subject, active_tutors: Collection[str]) -> bool:
    """Whether it is about no tutor, or about one who is active."""
    return not subject.tutor_id or subject.tutor_id in active_tutors


def _open(finding: Finding, earlier: ClosedRow | None, as_of: datetime) -> Change:
    pair = finding.subject, finding.rule_id
    occurrence = earlier.occurrence + 1 if earlier else 1
    reopens = earlier.reopens if earlier else None
    if earlier and earlier.reopens_with is not None:
        # An excuse that was undone brings back what rests on that session, nothing newer.
        reopens = reopens if not earlier.reopens_with.isdisjoint(finding.evidence) else None
    if earlier and reopens and earlier.newest_event:
        # The same alert, with what people did about it.
        return Change(
            Step.REOPENED,
            *pair,
            reopens,
            earlier.occurrence,
            earlier.newest_event + 1,
            finding,
            was=earlier.severity,
        )
    if earlier and reopens:
        return Change(Step.REOPENED, *pair, reopens, occurrence, None, finding)
    opened = row_id(*pair, as_of, occurrence)
    return Change(Step.OPENED, *pair, opened, occurrence, event_no=1, finding=finding)


def _continue(row: OpenRow, finding: Finding) -> Change:
    step = Step.CONFIRMED
    if row.severity and finding.severity and row.severity is not finding.severity:
        worse = finding.severity.rank > row.severity.rank
        step = Step.ESCALATED if worse else Step.EASED
    return Change(
        step,
        row.subject,
        row.rule_id,
        row.row_id,
        row.occurrence,
        event_no=None if step is Step.CONFIRMED else row.newest_event + 1,
        finding=finding,
        was=row.severity,
    )


def _resolve(row: OpenRow, resolution: Resolution) -> Change:
    return Change(
        Step.RESOLVED,
        row.subject,
        row.rule_id,
        row.row_id,
        row.occurrence,
        event_no=row.newest_event + 1,
        resolution=resolution,
        was=row.severity,
    )

"""The engine: rows of metrics in, findings out. Pure, and it knows no rule.

Missing data is not health: a rule whose metric is NULL, not a number or under its minimum
exposure is *not evaluated* for that tutor, so it neither opens nor resolves anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from tutor_pipeline.domain import Evaluation, Finding, Kind, Override, Reading
from tutor_pipeline.rules.catalogue import OPERATORS, Catalogue, Condition, Rule
from tutor_pipeline.rules.inputs import TUTOR_ID, BadValueError, Scale, read

EVIDENCE_LIMIT = 5
# A mean over this many sessions counts half towards `excess`.
_HALF_TRUSTED_AT = 5


def evaluate(
    catalogue: Catalogue,
    kind: Kind,
    rows: Iterable[Mapping[str, object]],
    as_of: datetime,
    overrides: Iterable[Override] = (),
) -> Evaluation:
    """Evaluate the rules of one kind on one row per tutor.

    A row maps the names that rules use (`Catalogue.columns`) to values, `tutor_id` included.
    A tutor with a missing column, a value of the wrong type or a second row is skipped with
    the reason; the others go on. Findings come in the order of the rows, then of the rules.
    """
    rules = catalogue.of(kind)
    exceptions = {(each.tutor_id, each.rule_id): each for each in overrides}
    evaluated: dict[str, set[str]] = {rule.id: set() for rule in rules}
    findings: list[Finding] = []
    skipped: dict[str, str] = {}
    seen: set[str] = set()
    number = 0
    for number, row in enumerate(rows, start=1):
        tutor_id = row.get(TUTOR_ID)
        if not isinstance(tutor_id, str):
            skipped[f"row {number}"] = f"{TUTOR_ID} is not text: {tutor_id!r}"
            continue
        if tutor_id in seen:
            skipped[tutor_id] = "there is more than one row; the first was used"
            continue
        seen.add(tutor_id)
        try:
            verdicts = [
                (rule.id, _judge(rule, tutor_id, row, exceptions.get((tutor_id, rule.id))))
                for rule in rules
            ]
        except BadValueError as error:
            skipped[tutor_id] = str(error)
            continue
        for rule_id, verdict in verdicts:
            if verdict is None:
                continue
            evaluated[rule_id].add(tutor_id)
            if verdict is not False:
                findings.append(verdict)
    return Evaluation(
        kind=kind,
        as_of=as_of,
        profile=catalogue.profile,
        auto_resolve=catalogue.auto_resolve,
        tutors=number,
        findings=tuple(findings),
        evaluated={rule_id: frozenset(tutors) for rule_id, tutors in evaluated.items()},
        skipped=skipped,
        disabled=frozenset(pair for pair, each in exceptions.items() if each.disabled),
    )


def _judge(
    rule: Rule, tutor_id: str, row: Mapping[str, object], override: Override | None
) -> Finding | Literal[False] | None:
    """The finding; False when the rule does not hold; None when it can't be evaluated."""
    if override is not None and override.disabled:
        return None
    measured: list[tuple[str, Any, Any, Any]] = []
    holds = True
    for condition in rule.when:
        value: Any = read(row, condition.metric, condition.scale)
        if value is None:
            return None
        exposure: Any = None
        if condition.exposure is not None:
            exposure = read(row, condition.exposure, Scale.COUNT)
            if exposure is None or exposure < condition.minimum_exposure:
                return None
        threshold: Any = condition.value
        if not measured and override is not None and override.threshold is not None:
            threshold = _overridden(condition, override.threshold)
        holds = holds and OPERATORS[condition.op](value, threshold)
        measured.append((condition.metric, value, threshold, exposure))
    if not holds:
        return False
    readings = tuple(Reading(*each) for each in measured)
    evidence: Any = rule.evidence and read(row, rule.evidence, Scale.SESSIONS)
    return Finding(
        tutor_id=tutor_id,
        rule_id=rule.id,
        severity=rule.severity,
        texts={name: text.render(row) for name, text in rule.texts.items()},
        readings=readings,
        evidence=tuple(evidence or ())[:EVIDENCE_LIMIT],
        excess=_excess(rule.when[0], readings[0]),
        rule_version=rule.version,
    )


def _overridden(condition: Condition, threshold: float) -> float:
    if condition.scale not in (Scale.COUNT, Scale.NUMBER):
        raise BadValueError(f"an override sets a number as threshold of {condition.metric}")
    if not math.isfinite(threshold):
        raise BadValueError(
            f"an override sets {threshold} as threshold of {condition.metric}: to switch a rule off"
            " for a tutor, set disabled"
        )
    return int(threshold) if threshold == int(threshold) else threshold


def _excess(condition: Condition, reading: Reading) -> float:
    """How far beyond its threshold the principal condition is, given the exposure.

    The distance as a share of the threshold; for a count that should be low, plus its share of
    the exposure (3 of 6 sessions is worse than 3 of 60); for anything else, shrunk by
    n / (n + 5), because a mean over few sessions says little. 0 for flags and text.
    """
    if condition.scale not in (Scale.COUNT, Scale.NUMBER):
        return 0.0
    value: Any = reading.value
    threshold: Any = reading.threshold
    excess = abs(value - threshold) / (abs(threshold) or 1)
    if reading.exposure:
        if condition.scale is Scale.COUNT and condition.op in (">=", ">"):
            excess += value / reading.exposure
        else:
            excess *= reading.exposure / (reading.exposure + _HALF_TRUSTED_AT)
    return round(float(excess), 6)

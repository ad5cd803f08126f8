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
from tutor_pipeline.rules.inputs import NUMERIC, TUTOR_ID, BadValueError, Scale, read

EVIDENCE_LIMIT = 5
# A mean over this many sessions counts half towards `excess`.
_HALF_TRUSTED_AT = 5
_COUNT = Scale.COUNT  # looking up a member costs more than comparing it
_NO_EXCEPTIONS: Mapping[str, float | None] = {}


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
    the reason; the others go on. A rule with an override that does not fit it is not evaluated
    for that tutor, who is reported among the skipped. Findings come in the order of the rows,
    then of the rules.
    """
    rules = catalogue.of(kind)
    exceptions, unusable, disabled = _exceptions(rules, overrides)
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
        thresholds = exceptions.get(tutor_id, _NO_EXCEPTIONS)
        try:
            verdicts = [
                (rule.id, _judge(rule, tutor_id, row, thresholds.get(rule.id, rule.when[0].value)))
                for rule in rules
            ]
        except BadValueError as error:
            skipped[tutor_id] = str(error)
            continue
        if tutor_id in unusable:
            skipped[tutor_id] = unusable[tutor_id]
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
        # What a profile decides is about alerts, which an administrator may want to close. An
        # insight or a badge that is no longer true says so by itself.
        auto_resolve=catalogue.auto_resolve or kind is not Kind.ALERT,
        tutors=number,
        findings=tuple(findings),
        evaluated={rule_id: frozenset(tutors) for rule_id, tutors in evaluated.items()},
        skipped=skipped,
        disabled=disabled,
    )


def _exceptions(
    rules: Iterable[Rule], overrides: Iterable[Override]
) -> tuple[dict[str, dict[str, float | None]], dict[str, str], frozenset[tuple[str, str]]]:
    """What applies instead of a rule's threshold: tutor -> rule -> threshold, None = no rule.

    With it, the tutors that have an override which can't be used (and why), and the pairs
    (tutor, rule) that are disabled.
    """
    principal = {rule.id: rule.when[0] for rule in rules}
    exceptions: dict[str, dict[str, float | None]] = {}
    unusable: dict[str, str] = {}
    disabled: set[tuple[str, str]] = set()
    for override in overrides:
        threshold = None
        if override.disabled:
            disabled.add((override.tutor_id, override.rule_id))
        elif override.threshold is None or override.rule_id not in principal:
            continue
        elif problem := _problem(principal[override.rule_id], override.threshold):
            unusable[override.tutor_id] = (
                f"{override.rule_id} was not evaluated: an override sets {problem}; to switch a"
                " rule off for a tutor, set disabled"
            )
        else:
            threshold = override.threshold
            threshold = int(threshold) if threshold == int(threshold) else threshold
        exceptions.setdefault(override.tutor_id, {})[override.rule_id] = threshold
    return exceptions, unusable, frozenset(disabled)


def _problem(condition: Condition, threshold: float) -> str | None:
    if condition.scale not in NUMERIC:
        return f"a number as threshold of {condition.metric}, which is no number"
    if not math.isfinite(threshold):
        return f"{threshold} as threshold of {condition.metric}"
    return None


def _judge(
    rule: Rule, tutor_id: str, row: Mapping[str, object], principal_threshold: Any
) -> Finding | Literal[False] | None:
    """The finding; False when the rule does not hold; None when it can't be evaluated.

    `principal_threshold` is that of the first condition, None when the rule is switched off.
    """
    if principal_threshold is None:
        return None
    for metric, minimum in rule.requires.items():
        count: Any = read(row, metric, _COUNT)
        if count is None or count < minimum:
            return None
    readings: list[Reading] = []
    holds = True
    # A condition that does not hold ends nothing: the others must be known all the same.
    for condition in rule.when:
        value: Any = read(row, condition.metric, condition.scale)
        if value is None:
            return None
        exposure: Any = None
        if condition.exposure is not None:
            exposure = read(row, condition.exposure, _COUNT)
            if exposure is None or exposure < condition.minimum_exposure:
                return None
        if holds:
            threshold: Any = condition.value if readings else principal_threshold
            holds = OPERATORS[condition.op](value, threshold)
            if holds:
                readings.append(Reading(condition.metric, value, threshold, exposure))
    if not holds:
        return False
    evidence: Any = rule.evidence and read(row, rule.evidence, Scale.SESSIONS)
    shown: Any = rule.metric_value and read(row, rule.metric_value, Scale.NUMBER)
    return Finding(
        tutor_id=tutor_id,
        rule_id=rule.id,
        severity=rule.severity,
        texts={name: text.render(row) for name, text in rule.texts.items()},
        readings=tuple(readings),
        evidence=tuple(evidence or ())[:EVIDENCE_LIMIT],
        excess=_excess(rule.when[0], readings[0]),
        rule_version=rule.version,
        metric_value=shown,
    )


def _excess(condition: Condition, reading: Reading) -> float:
    """How far beyond its threshold the principal condition is, given the exposure.

    The distance as a share of the threshold; for a count that should be low, plus its share of
    the exposure (3 of 6 sessions is worse than 3 of 60); for anything else, shrunk by
    n / (n + 5), because a mean over few sessions says little. 0 for flags and text.
    """
    if condition.scale not in NUMERIC:
        return 0.0
    value: Any = reading.value
    threshold: Any = reading.threshold
    excess = abs(value - threshold) / (abs(threshold) or 1)
    if reading.exposure:
        if condition.scale is _COUNT and condition.op in (">=", ">"):
            excess += value / reading.exposure
        else:
            excess *= reading.exposure / (reading.exposure + _HALF_TRUSTED_AT)
    return round(float(excess), 6)

"""Evaluates rules on rows of metrics and returns findings. Pure: no database, no clock.

Missing data does not mean that all is well: a rule whose metric is NULL, not a number or under its
minimum exposure is *not evaluated* for that tutor, so it neither opens nor resolves anything.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from tutor_pipeline.core.findings import Evaluation, Finding, Kind, Override, Reading, Subject
from tutor_pipeline.core.formatting import label
from tutor_pipeline.judgement.rules import usual
from tutor_pipeline.judgement.rules.catalogue import Catalogue
from tutor_pipeline.judgement.rules.inputs import NUMERIC, TUTOR_ID, BadValueError, Scale, read
from tutor_pipeline.judgement.rules.rule import OPERATORS, Condition, Rule
from tutor_pipeline.judgement.rules.usual import Seen, Unusual, Usual

EVIDENCE_LIMIT = 5
_HALF_WEIGHT_SESSIONS = 5
"""A mean over this many sessions counts half towards `excess`."""
SLACK = 0.25
"""The share of its threshold by which a figure may fall short before an open alert closes. Applies
to rules with `unusual`.
"""
_COUNT = Scale.COUNT  # looking up an enum member costs more than comparing it
_NO_EXCEPTIONS: Mapping[str, float | None] = {}


def evaluate(
    catalogue: Catalogue,
    kind: Kind,
    rows: Iterable[Mapping[str, object]],
    as_of: datetime,
    overrides: Iterable[Override] = (),
    usual_here: Mapping[str, Usual] | None = None,
) -> Evaluation:
    """Evaluate the rules of one kind on one row per tutor.

    A row maps the names in `Catalogue.columns` to values. A tutor with a missing column, a value of
    the wrong type or a second row is skipped with the reason. A rule whose override does not fit it
    is not evaluated for that tutor, who is reported as skipped. `usual_here` maps alerts to what
    `fit` returned; a rule with `unusual` is not evaluated without it. Findings are in the order of
    the rows, then of the rules.
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
            verdicts = _verdicts(rules, tutor_id, row, thresholds, usual_here or {})
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
        # A profile decides about alerts, which an administrator may want to close. An insight or
        # a badge that is no longer true always closes.
        auto_resolve=catalogue.auto_resolve or kind is not Kind.ALERT,
        tutors=number,
        findings=tuple(findings),
        evaluated={rule_id: frozenset(tutors) for rule_id, tutors in evaluated.items()},
        skipped=skipped,
        disabled=disabled,
    )


def _verdicts(
    rules: Iterable[Rule],
    tutor_id: str,
    row: Mapping[str, object],
    thresholds: Mapping[str, float | None],
    usual_here: Mapping[str, Usual],
) -> list[tuple[str, Finding | Literal[False] | None]]:
    """Return what each rule says of one tutor (see `_judge`), by rule id. `thresholds` are the
    tutor's exceptions.
    """
    return [
        (
            rule.id,
            _judge(
                rule,
                tutor_id,
                row,
                thresholds.get(rule.id, rule.when[0].value),
                usual_here.get(rule.alert),
            ),
        )
        for rule in rules
    ]


def fit(
    catalogue: Catalogue,
    rows: Iterable[Mapping[str, object]],
    overrides: Iterable[Override] = (),
    done: Collection[tuple[str, str]] = (),
) -> dict[str, Usual]:
    """Return what is usual among all tutors, for each alert with `unusual`.

    Rows and overrides are those of `evaluate`; unreadable rows are left out. `done` are pairs
    (tutor, alert) that somebody has dealt with: they do not count among the few that a rule lists.
    """
    asking = catalogue.asking
    exceptions, _, _ = _exceptions(asking, overrides)
    values: dict[str, list[usual.Value]] = {rule.id: [] for rule in asking}
    for row in rows:
        for rule in asking:
            tutor_id = str(row.get(TUTOR_ID))
            threshold = exceptions.get(tutor_id, _NO_EXCEPTIONS).get(rule.id, rule.when[0].value)
            if (tutor_id, rule.id) in done:
                threshold = None
            try:
                found = _compared_value(rule, row, threshold)
            except BadValueError:
                continue
            if found is not None:
                values[rule.id].append(found)
    return {
        rule.id: usual.fit(rule.unusual, values[rule.id])
        for rule in asking
        if rule.unusual is not None
    }


def _compared_value(rule: Rule, row: Mapping[str, object], threshold: Any) -> usual.Value | None:
    """Return what a rule with `unusual` compares of one tutor; None if it is unknown.
    `threshold` is the `principal_threshold` of `_judge`.
    """
    asked = rule.unusual
    assert asked is not None
    value, sessions = _figure(asked, row)
    if value is None or not sessions:
        return None
    scatter: Any = asked.scatter and read(row, asked.scatter, Scale.NUMBER)
    is_open = read(row, rule.is_open, Scale.FLAG) is True
    return usual.Value(
        value,
        sessions,
        scatter,
        is_candidate=bool(
            _readings(rule, row, threshold, _may_fall_short(rule, threshold, is_open))
        ),
        is_open=is_open,
    )


def _may_fall_short(rule: Rule, threshold: Any, is_open: bool) -> bool:
    """Whether the tutor's figure may fall short of the threshold by `SLACK`. An exception for this
    tutor counts exactly as set.
    """
    return is_open and rule.unusual is not None and threshold == rule.when[0].value


def _figure(asked: Unusual, row: Mapping[str, object]) -> tuple[Any, Any]:
    """Return the figure that is compared, and the number of sessions behind it."""
    scale = _COUNT if asked.is_count else Scale.NUMBER
    return read(row, asked.metric, scale), read(row, asked.exposure, _COUNT)


def _exceptions(
    rules: Iterable[Rule], overrides: Iterable[Override]
) -> tuple[dict[str, dict[str, float | None]], dict[str, str], frozenset[tuple[str, str]]]:
    """Return what replaces the rules' thresholds: tutor -> rule -> threshold, None = rule is off.

    Also returns the tutors whose override can't be used, with the reason, and the disabled pairs
    (tutor, rule).
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
    rule: Rule,
    tutor_id: str,
    row: Mapping[str, object],
    principal_threshold: Any,
    usual_here: Usual | None,
) -> Finding | Literal[False] | None:
    """Return the finding, False if the rule does not hold, or None if it can't be evaluated.

    `principal_threshold` is the threshold of the first condition; None if the rule is off.
    """
    is_held = rule.unusual is not None and read(row, rule.is_open, Scale.FLAG) is True
    may_fall_short = _may_fall_short(rule, principal_threshold, is_held)
    readings = _readings(rule, row, principal_threshold, may_fall_short)
    if readings is None:
        return None
    seen: Seen | None = None
    if rule.unusual is not None:
        value, sessions = _figure(rule.unusual, row)
        if usual_here is None or value is None or not sessions:
            return None
        if readings:
            seen = usual.look(rule.unusual, usual_here, value, sessions)
            is_alert = (
                seen.opens(rule.unusual, usual_here)
                or (is_held and seen.stays(rule.unusual, usual_here))
                or _is_stricter(rule.when[0], principal_threshold)
            )
            if is_alert == (rule.beside is not None):
                return False
    if not readings:
        return False
    evidence: Any = rule.evidence and read(row, rule.evidence, Scale.SESSIONS)
    shown: Any = rule.metric_value and read(row, rule.metric_value, Scale.NUMBER)
    thresholds: dict[str, Any] = {each.metric: each.threshold for each in readings}
    texts = {name: text.render(row, thresholds) for name, text in rule.texts.items()}
    return Finding(
        subject=Subject.tutor(tutor_id),
        rule_id=rule.id,
        severity=rule.severity,
        texts=texts if seen is None else _with_usual(rule, texts, seen),
        readings=readings,
        evidence=tuple(evidence or ())[:EVIDENCE_LIMIT],
        excess=_excess(rule.when[0], readings[0]),
        rule_version=rule.version,
        metric_value=shown,
        usual=None if seen is None else seen.usual,
        unusual=None if seen is None else seen.probability,
    )


def _readings(
    rule: Rule, row: Mapping[str, object], principal_threshold: Any, is_held: bool = False
) -> tuple[Reading, ...] | None:
    """Return what each condition read if all hold, an empty tuple if one does not, or None if the
    rule can't be evaluated. If `is_held`, a number may fall short by `SLACK`: sessions that leave
    a window must not close an alert and reopen it.
    """
    if principal_threshold is None:
        return None
    for metric, minimum in rule.requires.items():
        count: Any = read(row, metric, _COUNT)
        if count is None or count < minimum:
            return None
    readings: list[Reading] = []
    holds = True
    # Goes on after a condition that does not hold: all metrics must be known.
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
            least = _eased(condition, threshold) if is_held else threshold
            holds = OPERATORS[condition.op](value, least) and (
                not condition.minimum_share or value >= condition.minimum_share * exposure
            )
            if holds:
                readings.append(Reading(condition.metric, value, threshold, exposure))
    return tuple(readings) if holds else ()


def _eased(condition: Condition, threshold: Any) -> Any:
    """Return the threshold made easier to meet by `SLACK`."""
    if condition.scale not in NUMERIC or condition.op == "=":
        return threshold
    direction = 1 if condition.op in (">=", ">") else -1
    return threshold - direction * abs(threshold) * SLACK


def _is_stricter(principal: Condition, threshold: Any) -> bool:
    """Whether an exception alerts for this tutor sooner than for others. Then the threshold alone
    counts.
    """
    return threshold != principal.value and OPERATORS[principal.op](principal.value, threshold)


def _with_usual(rule: Rule, texts: Mapping[str, str], seen: Seen) -> dict[str, str]:
    """Return the texts of a finding with what is usual here added. The compared metric is named if
    it is not that of the principal condition.
    """
    assert rule.unusual is not None
    is_another = rule.unusual.metric != rule.when[0].metric
    name = label(rule.unusual.metric)
    if "display_text" in texts:
        now = f"{name.lower()} {seen.now}" if is_another else seen.now
        told = f"{texts['display_text']}: {now}; usual here is {seen.others}"
        return {**texts, "display_text": f"At the threshold of an alert. {told}"}
    told = f"{name}: {seen.now}; others: {seen.others}" if is_another else f"Others: {seen.others}"
    return {**texts, "description": f"{texts['description']} {told}."}


def _excess(condition: Condition, reading: Reading) -> float:
    """Return how far the principal condition is beyond its threshold, given the exposure.

    This is the distance as a share of the threshold. A count that should be low adds its share of
    the exposure (3 of 6 sessions is worse than 3 of 60). Anything else is multiplied by
    n / (n + 5), because a mean over few sessions says little. Returns 0 for flags and text, and for
    an open alert whose figure no longer reaches the threshold.
    """
    if condition.scale not in NUMERIC:
        return 0.0
    value: Any = reading.value
    threshold: Any = reading.threshold
    beyond = value - threshold if condition.op in (">=", ">", "=") else threshold - value
    if beyond < 0:
        return 0.0
    excess = beyond / (abs(threshold) or 1)
    if reading.exposure:
        if condition.scale is _COUNT and condition.op in (">=", ">"):
            excess += value / reading.exposure
        else:
            excess *= reading.exposure / (reading.exposure + _HALF_WEIGHT_SESSIONS)
    return round(float(excess), 6)

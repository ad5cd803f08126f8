"""What a rule may say in YAML: pydantic models, checked against the declared inputs.

Belongs here: the keys of each kind of rule, and the errors that tell its author file and line.
Does not belong here: which files a profile consists of (`profiles`), evaluation (`evaluate`).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Self

import yaml
from pydantic import (
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tutor_pipeline.core.findings import Kind, Severity
from tutor_pipeline.core.thresholds import REFERENCE, Threshold
from tutor_pipeline.judgement.rules import template, yaml_nodes
from tutor_pipeline.judgement.rules.inputs import NUMERIC, OPEN_ALERTS, Inputs, Scale, nearest
from tutor_pipeline.judgement.rules.profiles import Draft
from tutor_pipeline.judgement.rules.rule import OPERATORS, Condition, Rule
from tutor_pipeline.judgement.rules.template import Template
from tutor_pipeline.judgement.rules.usual import KEEPS, LEVEL, MOST, Unusual
from tutor_pipeline.judgement.rules.yaml_nodes import Flag, MappingModel, NodeError

_GROWTH_AREA = "growth_area"

# What a threshold must be for a column of each scale, and the operators that make sense.
_THRESHOLDS: Mapping[Scale, tuple[tuple[type, ...], str, frozenset[str]]] = {
    Scale.COUNT: ((int,), "a whole number", frozenset(OPERATORS)),
    Scale.NUMBER: ((int, float), "a number", frozenset(OPERATORS)),
    Scale.FLAG: ((bool,), "true or false", frozenset({"="})),
    Scale.TEXT: ((str,), "text", frozenset({"="})),
}


@dataclass(frozen=True, slots=True)
class _Context:
    """What the validators of one rule know: its kind, its draft, the declared inputs, and the
    thresholds of metrics that its sentences may name.
    """

    kind: Kind
    draft: Draft
    inputs: Inputs
    thresholds: Mapping[str, Threshold]


def parse(
    rule_id: str, draft: Draft, kind: Kind, inputs: Inputs, thresholds: Mapping[str, Threshold]
) -> Rule:
    """Return the rule of a draft. Raises NodeError for the first thing that is wrong."""
    rule = yaml_nodes.validate(_MODELS[kind], draft, _Context(kind, draft, inputs, thresholds))
    texts = {name: value for name, value in rule if isinstance(value, Template)}
    when = tuple(each.condition(inputs) for each in rule.when)
    severity, unusual, metric_value = None, None, None
    if isinstance(rule, _Alert):
        severity = rule.severity
        unusual = rule.unusual.asked(inputs) if rule.unusual else None
    elif isinstance(rule, _Insight):
        metric_value = rule.shown(when[0])
    return Rule(
        rule_id,
        kind,
        severity,
        when,
        rule.requires,
        texts,
        rule.evidence,
        metric_value,
        rule.enabled,
        source=yaml_nodes.place(draft.key),
        version=_version(
            id=rule_id,
            kind=kind,
            severity=severity,
            when=[_content(each) for each in when],
            requires=rule.requires,
            texts={name: text.text for name, text in texts.items()},
            evidence=rule.evidence,
            metric_value=metric_value,
            **({} if unusual is None else {"unusual": asdict(unusual)}),
        ),
        unusual=unusual,
    )


def cause(
    rule_id: str,
    draft: Draft,
    kind: Kind,
    inputs: Inputs,
    thresholds: Mapping[str, Threshold],
    error: NodeError,
) -> NodeError:
    """Return the error at the place that caused it, for a rule that several files define.

    If two files are only wrong together, the error names the file that came last.
    """
    before = draft.before
    is_own = error.node.start_mark.name == draft.key.start_mark.name
    if before is None or (is_own and error.node is not draft.key):
        return error
    try:
        parse(rule_id, before, kind, inputs, thresholds)
    except NodeError as earlier:
        return cause(rule_id, before, kind, inputs, thresholds, earlier)
    return NodeError(draft.key, error.message)


def _context(info: ValidationInfo) -> _Context:
    assert isinstance(info.context, _Context)
    return info.context


def _inputs(info: ValidationInfo) -> Inputs:
    return _context(info).inputs


def _metric(node: yaml.Node, info: ValidationInfo) -> str:
    name: str = yaml_nodes.scalar(node, (str,), "the name of a metric")
    inputs = _inputs(info)
    if name not in inputs:
        raise NodeError(node, f"unknown metric {name}{inputs.nearest(name)}")
    if _context(info).kind is Kind.ALERT and name.startswith(f"{OPEN_ALERTS}."):
        raise NodeError(node, f"an alert can't read {name}: alerts are evaluated first")
    return name


def _session_ids(node: yaml.Node, info: ValidationInfo) -> str:
    name = _metric(node, info)
    if _inputs(info).scale(name) is not Scale.SESSIONS:
        raise NodeError(node, f"{name} holds no session ids")
    return name


def _sentence(node: yaml.Node, info: ValidationInfo) -> Template:
    text = yaml_nodes.scalar(node, (str,), "text")
    try:
        return template.parse(
            text, _inputs(info), _context(info).thresholds, _own_thresholds(text, info)
        )
    except ValueError as error:
        raise NodeError(node, str(error)) from error


def _own_thresholds(text: str, info: ValidationInfo) -> dict[str, Threshold]:
    """Return the thresholds of the rule's conditions by metric: those that a sentence may name."""
    conditions: tuple[_Condition, ...] = info.data.get("when", ())
    found = Counter(each.metric for each in conditions)
    for reference in REFERENCE.finditer(text):
        if found[reference[1]] > 1:
            raise ValueError(f"the rule has more than one threshold of {reference[1]}")
    return {each.metric: each.value for each in conditions}


def _word(node: yaml.Node, info: ValidationInfo, allowed: Collection[str]) -> str:
    word: str = yaml_nodes.scalar(node, (str,), f"a word for {info.field_name}")
    if word not in allowed:
        raise NodeError(
            node,
            f"{info.field_name} {word} is not one of {', '.join(allowed)}{nearest(word, allowed)}",
        )
    return word


def _severity(node: yaml.Node, info: ValidationInfo) -> Severity:
    return Severity(_word(node, info, tuple(Severity)))


def _insight_type(node: yaml.Node, info: ValidationInfo) -> Template:
    word = _word(node, info, ("strength", _GROWTH_AREA))
    return Template(word, (), word)


def _minimum(node: yaml.Node) -> int:
    minimum: int = yaml_nodes.scalar(node, (int,), "a whole number")
    if minimum < 1:
        raise NodeError(node, f"a minimum of {minimum} has no effect: it is at least 1")
    return minimum


def _minimums(node: yaml.Node, info: ValidationInfo) -> dict[str, int]:
    minimums: dict[str, int] = {}
    for key, value in yaml_nodes.mapping(node).values():
        name = _metric(key, info)
        if _inputs(info).scale(name) is not Scale.COUNT:
            raise NodeError(key, f"{name} is no count to ask a minimum of")
        minimums[name] = _minimum(value)
    return minimums


def _between(least: float, most: float, expected: str) -> PlainValidator:
    """Return the validator of a number between the two, excluding both."""

    def check(node: yaml.Node) -> float:
        value: float = yaml_nodes.scalar(node, (int, float), expected)
        if not least < value < most:
            raise NodeError(node, f"{value} is not {expected}")
        return value

    return PlainValidator(check)


_Metric = Annotated[str, PlainValidator(_metric)]
_SessionIds = Annotated[str, PlainValidator(_session_ids)]
_Sentence = Annotated[Template, PlainValidator(_sentence)]
# A key that may be left out; null is not a value of it.
_OptionalMetric = Annotated[str | None, PlainValidator(_metric)]
_OptionalSessionIds = Annotated[str | None, PlainValidator(_session_ids)]
_OptionalSentence = Annotated[Template | None, PlainValidator(_sentence)]
_Minimum = Annotated[int, PlainValidator(_minimum)]
_Share = Annotated[float, _between(0, 1, "a share between 0 and 1")]


class _Condition(MappingModel):
    """One entry of `when`."""

    metric: _Metric
    op: Annotated[str, yaml_nodes.of_type((str,), "an operator")]
    value: Any
    # A count of 0 over no session says nothing: by default one session is required.
    minimum_exposure: _Minimum = 1
    minimum_share: _Share = 0.0

    @field_validator("metric")
    @classmethod
    def _can_be_compared(cls, metric: str, info: ValidationInfo) -> str:
        if _inputs(info).scale(metric) not in _THRESHOLDS:
            raise ValueError(f"{metric} can't be compared with a threshold")
        return metric

    @field_validator("op")
    @classmethod
    def _fits_metric(cls, op: str, info: ValidationInfo) -> str:
        if (metric := info.data.get("metric")) is not None:
            _, _, operators = _THRESHOLDS[_inputs(info).scale(metric)]
            if op not in operators:
                allowed = " ".join(name for name in OPERATORS if name in operators)
                raise ValueError(f"operator {op} is not one of {allowed} for {metric}")
        return op

    @field_validator("value", mode="plain")
    @classmethod
    def _threshold(cls, node: yaml.Node, info: ValidationInfo) -> Any:
        metric, inputs = info.data.get("metric"), _inputs(info)
        if metric is None:
            return None
        types, expected, _ = _THRESHOLDS[inputs.scale(metric)]
        value = yaml_nodes.scalar(node, types, f"{expected} (the threshold of {metric})")
        if (words := inputs.values(metric)) and value not in words:
            near = nearest(value, dict.fromkeys(words))
            raise NodeError(node, f"{metric} is one of {', '.join(words)}, not {value}{near}")
        return value

    @field_validator("minimum_exposure")
    @classmethod
    def _has_exposure(cls, minimum: int, info: ValidationInfo) -> int:
        metric = info.data.get("metric")
        if metric is not None and _inputs(info).exposure(metric) is None:
            raise ValueError(f"{metric} has no exposure to ask a minimum of")
        return minimum

    @field_validator("minimum_share")
    @classmethod
    def _is_count(cls, share: float, info: ValidationInfo) -> float:
        metric, inputs = info.data.get("metric"), _inputs(info)
        if metric is not None and (
            inputs.exposure(metric) is None or inputs.scale(metric) is not Scale.COUNT
        ):
            raise ValueError(f"{metric} is no count of sessions to ask a share of")
        return share

    def condition(self, inputs: Inputs) -> Condition:
        """Return the condition with what the inputs declare of its metric."""
        return Condition(
            self.metric,
            inputs.scale(self.metric),
            self.op,
            self.value,
            inputs.exposure(self.metric),
            self.minimum_exposure,
            self.minimum_share,
        )


class _Unusual(MappingModel):
    """The key `unusual` of an alert."""

    metric: _Metric
    times: Annotated[float | None, _between(1, 100, "a number over 1")] = None
    by: Annotated[float | None, yaml_nodes.of_type((int, float), "a number")] = None
    scatter: _OptionalMetric = None
    means: _Minimum = 1
    level: _Share = LEVEL
    keeps: _Share = KEEPS
    most: _Share = MOST

    @field_validator("metric")
    @classmethod
    def _has_sessions(cls, metric: str, info: ValidationInfo) -> str:
        inputs = _inputs(info)
        if inputs.scale(metric) not in NUMERIC or inputs.exposure(metric) is None:
            raise ValueError(
                f"{metric} is no number with sessions behind it to compare with the others'"
            )
        return metric

    @field_validator("by")
    @classmethod
    def _is_a_difference(cls, by: float) -> float:
        if not by:
            raise ValueError("0 is not away from the others")
        return by

    @field_validator("scatter", "means")
    @classmethod
    def _is_of_an_average(cls, value: Any, info: ValidationInfo) -> Any:
        if info.data.get("times") is not None and info.data.get("by") is None:
            raise ValueError(f"{info.field_name} is of an average: it goes with by")
        if info.field_name == "scatter" and _inputs(info).scale(value) is not Scale.NUMBER:
            raise ValueError(f"{value} is no number")
        return value

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if (self.times is None) == (self.by is None):
            raise ValueError(
                "one of times (of a count or a share) and by (of an average) says how far from"
                " the others"
            )
        if self.by is not None and self.scatter is None:
            raise ValueError(
                "missing: scatter, the column with the standard deviation of a session"
            )
        if self.keeps > self.level:
            raise ValueError(f"keeps {self.keeps} is over level {self.level}")
        return self

    def asked(self, inputs: Inputs) -> Unusual:
        """Return what the engine evaluates."""
        exposure = inputs.exposure(self.metric)
        assert exposure is not None
        is_count = inputs.scale(self.metric) is Scale.COUNT
        return Unusual(exposure=exposure, is_count=is_count, **self.model_dump())


class _Rule(MappingModel):
    """The keys that rules of every kind have."""

    when: Annotated[tuple[_Condition, ...], BeforeValidator(yaml_nodes.items)]
    enabled: Flag = True
    requires: Annotated[dict[str, int], PlainValidator(_minimums)] = Field(default={})
    evidence: _OptionalSessionIds = None

    @model_validator(mode="before")
    @classmethod
    def _entries(cls, given: Any) -> dict[str, yaml.Node]:
        draft: Draft = given
        return cls.values_of(draft.key, draft.entries, draft.hint)


class _Alert(_Rule):
    severity: Annotated[Severity, PlainValidator(_severity)]
    title: _Sentence
    description: _Sentence
    recommended_action: _Sentence
    evidence: _SessionIds = Field(
        description="an alert that somebody resolved comes back only with a session processed since"
    )
    unusual: Annotated[
        _Unusual | None, BeforeValidator(lambda node: None if yaml_nodes.is_null(node) else node)
    ] = None


class _Insight(_Rule):
    insight_type: Annotated[Template, PlainValidator(_insight_type)]
    display_text: _Sentence
    coaching_tip: _OptionalSentence = None
    metric_value: _OptionalMetric = None

    @field_validator("metric_value")
    @classmethod
    def _is_number(cls, name: str, info: ValidationInfo) -> str:
        if _inputs(info).scale(name) not in NUMERIC:
            raise ValueError(f"{name} is no number to show")
        return name

    @model_validator(mode="after")
    def _has_tip(self, info: ValidationInfo) -> Self:
        """Require a tip for a growth area, and refuse one for a strength."""
        draft = _context(info).draft
        word = self.insight_type.text
        if word == _GROWTH_AREA and self.coaching_tip is None:
            raise NodeError(draft.key, f"missing: coaching_tip{draft.hint}")
        if word != _GROWTH_AREA and self.coaching_tip is not None:
            raise NodeError(draft.entries["coaching_tip"].key, f"a {word} has no coaching_tip")
        return self

    def shown(self, principal: Condition) -> str | None:
        """Return the metric named, or that of the principal condition if it is a number."""
        default = principal.metric if principal.scale in NUMERIC else None
        return self.metric_value or default


class _Achievement(_Rule):
    title: _Sentence
    description: _Sentence
    icon: _Sentence


_MODELS: Mapping[Kind, type[_Rule]] = {
    Kind.ALERT: _Alert,
    Kind.INSIGHT: _Insight,
    Kind.ACHIEVEMENT: _Achievement,
}


def _content(condition: Condition) -> list[object]:
    """Return the parts of a condition that make a rule another version."""
    share = [condition.minimum_share] if condition.minimum_share else []
    return [condition.metric, condition.op, condition.value, condition.minimum_exposure, *share]


def _version(**content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

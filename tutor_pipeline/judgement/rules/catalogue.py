"""The catalogue of rules: parsed from YAML and checked against the declared inputs.

Belongs here: what a rule may say, and the errors that tell its author file and line.
Does not belong here: the rules themselves (`catalogue/*.yml`), how files extend each other
(`profiles`), their evaluation.
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.findings import Kind, Severity
from tutor_pipeline.judgement.rules import nodes, profiles, template
from tutor_pipeline.judgement.rules.inputs import (
    NUMERIC,
    OPEN_ALERTS,
    TUTOR_ID,
    Column,
    Inputs,
    Scale,
    nearest,
    open_alerts,
)
from tutor_pipeline.judgement.rules.nodes import NodeError
from tutor_pipeline.judgement.rules.usual import Unusual

OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "=": operator.eq,
}


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the rules of one kind look like in a profile.

    `choices` are keys with one word of a list, and the sentences that each word asks for beside
    `texts`.
    """

    section: str
    texts: tuple[str, ...]
    choices: Mapping[str, Mapping[str, tuple[str, ...]]]
    needs_evidence: bool = False
    has_metric_value: bool = False
    may_ask_for_unusual: bool = False

    @property
    def chosen_texts(self) -> tuple[str, ...]:
        """The sentences that some word asks for."""
        return tuple(
            name for words in self.choices.values() for each in words.values() for name in each
        )


AT_THRESHOLD = "at_threshold"
"""The type of the insights about who meets an alert's conditions and is not unusual enough."""

_SEVERITY = "severity"
_EVIDENCE = "evidence"
_UNUSUAL = "unusual"
# Why a key is asked for, where its name does not tell.
_WHY = {
    _EVIDENCE: " (an alert that somebody resolved comes back only with a session processed since)"
}
_SHAPES = {
    Kind.ALERT: _Shape(
        "alerts",
        ("title", "description", "recommended_action"),
        {_SEVERITY: dict.fromkeys(Severity, ())},
        needs_evidence=True,
        may_ask_for_unusual=True,
    ),
    Kind.INSIGHT: _Shape(
        "insights",
        ("display_text",),
        {"insight_type": {"strength": (), "growth_area": ("coaching_tip",)}},
        has_metric_value=True,
    ),
    Kind.ACHIEVEMENT: _Shape("achievements", ("title", "description", "icon"), {}),
}

# What a threshold must be for a column of each scale, and the operators that make sense.
_THRESHOLDS: Mapping[Scale, tuple[tuple[type, ...], str, frozenset[str]]] = {
    Scale.COUNT: ((int,), "a whole number", frozenset(OPERATORS)),
    Scale.NUMBER: ((int, float), "a number", frozenset(OPERATORS)),
    Scale.FLAG: ((bool,), "true or false", frozenset({"="})),
    Scale.TEXT: ((str,), "text", frozenset({"="})),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A metric beyond a threshold, with at least `minimum_exposure` sessions behind it; of a count,
    at least `minimum_share` of them.
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
    """All conditions of `when` hold: a finding. The first condition is the principal one.

    The principal condition is what a tutor's override changes and what `excess` measures.
    `requires` maps counts to the minimum under which the rule is not evaluated. `metric_value`
    is the metric whose value an insight shows; None where that is no number. `unusual` asks for
    more than the conditions: where it is not met, they are no finding. `source` is the
    `file:line` that named the rule last; `version` a hash of the rule's content.

    `beside` is the alert that this insight stands in for: it finds who meets the alert's
    conditions and is not unusual enough for it.
    """

    id: str
    kind: Kind
    severity: Severity | None
    when: tuple[Condition, ...]
    requires: Mapping[str, int]
    texts: Mapping[str, template.Template]
    evidence: str | None
    metric_value: str | None
    is_enabled: bool
    source: str
    version: str
    unusual: Unusual | None = None
    beside: str | None = None

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
        """The alert whose conditions these are."""
        return self.beside or self.id

    @property
    def is_open(self) -> str:
        """The flag that says whether the tutor has that alert open."""
        return f"{OPEN_ALERTS}.{self.alert}"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The rules of one profile: those of the profile it extends first, in the files' order.

    `auto_resolve` is about alerts: whether one is closed when its rule no longer holds.
    """

    profile: str
    auto_resolve: bool
    rules: tuple[Rule, ...]

    def of(self, kind: Kind) -> tuple[Rule, ...]:
        """The rules of one kind that are in force."""
        return tuple(rule for rule in self.rules if rule.kind is kind and rule.is_enabled)

    def columns(self, kind: Kind) -> tuple[str, ...]:
        """The columns that a row needs for the rules of one kind, `tutor_id` first."""
        names = frozenset[str]().union(*(rule.columns for rule in self.of(kind)))
        return (TUTOR_ID, *sorted(names))

    @property
    def asking(self) -> tuple[Rule, ...]:
        """The alerts in force that ask for what is unusual here."""
        return tuple(rule for rule in self.of(Kind.ALERT) if rule.unusual is not None)


def load_catalogue(profile: str | Path, inputs: Mapping[str, Mapping[str, Column]]) -> Catalogue:
    """Parse and check a shipped profile (by name) or a user's own file (by path).

    `inputs` are the relations that rules may name: relation -> column -> type and exposure, each
    with one row per tutor. To them comes `open_alerts`, with a flag per alert of the profile, for
    insights and achievements. Raises UsageError when there is no such profile, TutorPipelineError
    with file, line and all that is wrong when its content is.
    """
    path = profiles.find(profile)
    wrong: list[NodeError] = []
    auto_resolve, rules = True, []
    try:
        sections = [shape.section for shape in _SHAPES.values()]
        files = profiles.read(path, sections, wrong.append)
        if files.auto_resolve is not None:
            auto_resolve = nodes.scalar(files.auto_resolve, (bool,), "true or false")
        alerts = open_alerts(files.sections[_SHAPES[Kind.ALERT].section])
        every_input = Inputs({**inputs, OPEN_ALERTS: alerts})
        for kind, shape in _SHAPES.items():
            parser = _RuleParser(kind, every_input)
            for rule_id, draft in files.sections[shape.section].items():
                try:
                    rules.append(parser.parse(rule_id, draft))
                except NodeError as error:
                    wrong.append(parser.cause(rule_id, draft, error))
    except NodeError as error:
        wrong.append(error)
    if wrong:
        raise TutorPipelineError("\n".join(["the rule catalogue is wrong:", *map(str, wrong)]))
    beside = [_beside(rule) for rule in rules if rule.unusual is not None and rule.is_enabled]
    return Catalogue(profiles.name_of(path), auto_resolve, (*rules, *beside))


def at_threshold(rule_id: str) -> str:
    """The id of the insight about who meets the conditions of an alert, and no more."""
    return f"{rule_id}_{AT_THRESHOLD}"


def _beside(alert: Rule) -> Rule:
    """The insight of who meets the conditions of an alert and is not unusual enough for it."""
    title = alert.texts["title"]
    principal = alert.when[0]
    return replace(
        alert,
        id=at_threshold(alert.id),
        kind=Kind.INSIGHT,
        severity=None,
        texts={
            "insight_type": template.Template(AT_THRESHOLD, (), AT_THRESHOLD),
            # The engine adds the tutor's figure and the others'.
            "display_text": replace(title, tail=title.tail.removesuffix(" Detected")),
        },
        metric_value=principal.metric if principal.scale in NUMERIC else None,
        beside=alert.id,
    )


class _RuleParser:
    """Checks the drafts of one kind. Each raises NodeError at the first thing that is wrong."""

    def __init__(self, kind: Kind, inputs: Inputs) -> None:
        self._kind = kind
        self._shape = _SHAPES[kind]
        self._inputs = inputs

    def parse(self, rule_id: str, draft: profiles.Draft) -> Rule:
        shape = self._shape
        required = ["when", *shape.choices, *shape.texts]
        optional = ["enabled", "requires", *shape.chosen_texts]
        (required if shape.needs_evidence else optional).append(_EVIDENCE)
        if shape.may_ask_for_unusual:
            optional.append(_UNUSUAL)
        if shape.has_metric_value:
            optional.append("metric_value")
        nodes.check_names(draft.entries, (*required, *optional))
        entries = {name: entry.value for name, entry in draft.entries.items()}
        _check_missing(draft, entries, required)
        words = {key: _word(entries[key], key, allowed) for key, allowed in shape.choices.items()}
        chosen = self._chosen_texts(draft, entries, words)
        severity = Severity(words.pop(_SEVERITY)) if _SEVERITY in words else None
        texts = {key: template.Template(word, (), word) for key, word in words.items()}
        texts |= {name: self._template(entries[name]) for name in (*shape.texts, *chosen)}
        unusual = self._unusual(entries.get(_UNUSUAL))
        when = tuple(self._condition(node) for node in nodes.items(entries["when"]))
        requires = self._requires(entries.get("requires"))
        evidence = self._evidence(entries.get(_EVIDENCE))
        metric_value = self._metric_value(entries.get("metric_value"), when[0])
        is_enabled = True
        if "enabled" in entries:
            is_enabled = nodes.scalar(entries["enabled"], (bool,), "true or false")
        return Rule(
            rule_id,
            self._kind,
            severity,
            when,
            requires,
            texts,
            evidence,
            metric_value,
            is_enabled,
            source=nodes.place(draft.key),
            version=_version(
                id=rule_id,
                kind=self._kind,
                severity=severity,
                when=[_content(each) for each in when],
                requires=requires,
                texts={name: text.text for name, text in texts.items()},
                evidence=evidence,
                metric_value=metric_value,
                **({} if unusual is None else {_UNUSUAL: asdict(unusual)}),
            ),
            unusual=unusual,
        )

    def cause(self, rule_id: str, draft: profiles.Draft, error: NodeError) -> NodeError:
        """The error where it was caused, of a draft that several files make together.

        What one file says and another makes wrong is told of the file that came last.
        """
        before = draft.before
        is_own = error.node.start_mark.name == draft.key.start_mark.name
        if before is None or (is_own and error.node is not draft.key):
            return error
        try:
            self.parse(rule_id, before)
        except NodeError as earlier:
            return self.cause(rule_id, before, earlier)
        return NodeError(draft.key, error.message)

    def _chosen_texts(
        self, draft: profiles.Draft, entries: Mapping[str, yaml.Node], words: Mapping[str, str]
    ) -> tuple[str, ...]:
        """The sentences that the chosen words ask for; those of another word are refused."""
        wanted = tuple(
            name for key, word in words.items() for name in self._shape.choices[key][word]
        )
        _check_missing(draft, entries, wanted)
        for name in self._shape.chosen_texts:
            if name in entries and name not in wanted:
                word = ", ".join(words.values())
                raise NodeError(draft.entries[name].key, f"a {word} has no {name}")
        return wanted

    def _times(self, entries: Mapping[str, nodes.Entry]) -> dict[str, Any]:
        for name in ("scatter", "means"):
            if name in entries:
                raise NodeError(entries[name].key, f"{name} is of an average: it goes with by")
        return {"times": _between(entries["times"].value, 1, 100, "a number over 1")}

    def _by(self, node: yaml.Node, entries: Mapping[str, nodes.Entry]) -> dict[str, Any]:
        by = nodes.scalar(entries["by"].value, (int, float), "a number")
        if not by:
            raise NodeError(entries["by"].value, "0 is not away from the others")
        if "scatter" not in entries:
            raise NodeError(
                node, "missing: scatter, the column with the standard deviation of a session"
            )
        scatter = self._column(entries["scatter"].value)
        if self._inputs.scale(scatter) is not Scale.NUMBER:
            raise NodeError(entries["scatter"].value, f"{scatter} is no number")
        means = _minimum(entries["means"].value) if "means" in entries else 1
        return {"by": by, "scatter": scatter, "means": means}

    def _template(self, node: yaml.Node) -> template.Template:
        text = nodes.scalar(node, (str,), "text")
        try:
            return template.parse(text, self._inputs)
        except ValueError as error:
            raise NodeError(node, str(error)) from error

    def _condition(self, node: yaml.Node) -> Condition:
        entries = nodes.mapping(node)
        nodes.check_names(entries, ("metric", "op", "value", "minimum_exposure", "minimum_share"))
        if missing := [name for name in ("metric", "op", "value") if name not in entries]:
            raise NodeError(node, f"missing: {', '.join(missing)}")
        metric = self._column(entries["metric"].value)
        scale = self._inputs.scale(metric)
        if scale not in _THRESHOLDS:
            raise NodeError(entries["metric"].value, f"{metric} can't be compared with a threshold")
        types, expected, operators = _THRESHOLDS[scale]
        op = nodes.scalar(entries["op"].value, (str,), "an operator")
        if op not in operators:
            allowed = " ".join(name for name in OPERATORS if name in operators)
            raise NodeError(
                entries["op"].value, f"operator {op} is not one of {allowed} for {metric}"
            )
        threshold = entries["value"].value
        value = nodes.scalar(threshold, types, f"{expected} (the threshold of {metric})")
        if (words := self._inputs.values(metric)) and value not in words:
            near = nearest(value, dict.fromkeys(words))
            raise NodeError(threshold, f"{metric} is one of {', '.join(words)}, not {value}{near}")
        exposure = self._inputs.exposure(metric)
        # A count of 0 over no session at all says nothing: by default one session is asked for.
        minimum = 1
        if "minimum_exposure" in entries:
            asked = entries["minimum_exposure"].value
            if exposure is None:
                raise NodeError(asked, f"{metric} has no exposure to ask a minimum of")
            minimum = _minimum(asked)
        share = 0.0
        if "minimum_share" in entries:
            asked = entries["minimum_share"].value
            if exposure is None or scale is not Scale.COUNT:
                raise NodeError(asked, f"{metric} is no count of sessions to ask a share of")
            share = _between(asked, 0, 1, "a share between 0 and 1")
        return Condition(metric, scale, op, value, exposure, minimum, share)

    def _unusual(self, node: yaml.Node | None) -> Unusual | None:
        """What the rule asks beside its conditions."""
        if node is None or nodes.is_null(node):
            return None
        entries = nodes.mapping(node)
        nodes.check_names(
            entries, ("metric", "times", "by", "scatter", "means", "level", "keeps", "most")
        )
        if "metric" not in entries:
            raise NodeError(node, "missing: metric")
        metric = self._column(entries["metric"].value)
        scale, exposure = self._inputs.scale(metric), self._inputs.exposure(metric)
        if scale not in NUMERIC or exposure is None:
            raise NodeError(
                entries["metric"].value,
                f"{metric} is no number with sessions behind it to compare with the others'",
            )
        if ("times" in entries) == ("by" in entries):
            raise NodeError(
                node,
                "one of times (of a count or a share) and by (of an average) says how far from the"
                " others",
            )
        given = self._times(entries) if "times" in entries else self._by(node, entries)
        for name in ("level", "keeps", "most"):
            if name in entries:
                given[name] = _between(entries[name].value, 0, 1, "a share between 0 and 1")
        found = Unusual(metric, exposure, scale is Scale.COUNT, **given)
        if found.keeps > found.level:
            raise NodeError(node, f"keeps {found.keeps} is over level {found.level}")
        return found

    def _column(self, node: yaml.Node) -> str:
        name: str = nodes.scalar(node, (str,), "the name of a metric")
        if name not in self._inputs:
            raise NodeError(node, f"unknown metric {name}{self._inputs.nearest(name)}")
        if self._kind is Kind.ALERT and name.startswith(f"{OPEN_ALERTS}."):
            raise NodeError(node, f"an alert can't read {name}: alerts are evaluated first")
        return name

    def _requires(self, node: yaml.Node | None) -> dict[str, int]:
        minimums: dict[str, int] = {}
        for key, value in nodes.mapping(node).values() if node is not None else ():
            name = self._column(key)
            if self._inputs.scale(name) is not Scale.COUNT:
                raise NodeError(key, f"{name} is no count to ask a minimum of")
            minimums[name] = _minimum(value)
        return minimums

    def _evidence(self, node: yaml.Node | None) -> str | None:
        if node is None:
            return None
        name = self._column(node)
        if self._inputs.scale(name) is not Scale.SESSIONS:
            raise NodeError(node, f"{name} holds no session ids")
        return name

    def _metric_value(self, node: yaml.Node | None, principal: Condition) -> str | None:
        """The metric that the rule shows: of itself its principal one, where that is a number."""
        if not self._shape.has_metric_value:
            return None
        if node is None:
            return principal.metric if principal.scale in NUMERIC else None
        name = self._column(node)
        if self._inputs.scale(name) not in NUMERIC:
            raise NodeError(node, f"{name} is no number to show")
        return name


def _check_missing(
    draft: profiles.Draft, entries: Mapping[str, yaml.Node], required: Iterable[str]
) -> None:
    if missing := [name + _WHY.get(name, "") for name in required if name not in entries]:
        raise NodeError(draft.key, f"missing: {', '.join(missing)}{draft.hint}")


def _minimum(node: yaml.Node) -> int:
    minimum: int = nodes.scalar(node, (int,), "a whole number")
    if minimum < 1:
        raise NodeError(node, f"a minimum of {minimum} asks for nothing: it is at least 1")
    return minimum


def _between(node: yaml.Node, least: float, most: float, expected: str) -> float:
    """A number between the two, neither of them."""
    value: float = nodes.scalar(node, (int, float), expected)
    if not least < value < most:
        raise NodeError(node, f"{value} is not {expected}")
    return value


def _content(condition: Condition) -> list[object]:
    """What of a condition makes the rule another one."""
    share = [condition.minimum_share] if condition.minimum_share else []
    return [condition.metric, condition.op, condition.value, condition.minimum_exposure, *share]


def _word(node: yaml.Node, key: str, allowed: Mapping[str, object]) -> str:
    word: str = nodes.scalar(node, (str,), f"a word for {key}")
    if word not in allowed:
        raise NodeError(
            node, f"{key} {word} is not one of {', '.join(allowed)}{nearest(word, allowed)}"
        )
    return word


def _version(**content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

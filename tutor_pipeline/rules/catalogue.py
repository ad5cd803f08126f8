"""The catalogue of rules: parsed from YAML and checked against the declared inputs.

Belongs here: what a profile may say, and the errors that tell its author file and line.
Does not belong here: the rules themselves (`catalogue/*.yml`), their evaluation.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tutor_pipeline.domain import Kind, Severity
from tutor_pipeline.errors import TutorPipelineError, UsageError
from tutor_pipeline.rules import template
from tutor_pipeline.rules.inputs import TUTOR_ID, Column, Inputs, Scale, nearest

SHIPPED = Path(__file__).parent / "catalogue"

OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "=": operator.eq,
}


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the rules of one kind look like in a profile."""

    section: str
    texts: tuple[str, ...]
    has_severity: bool


_SHAPES = {
    Kind.ALERT: _Shape("alerts", ("title", "description", "recommended_action"), True),
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
    """A metric beyond a threshold, with at least `minimum_exposure` sessions behind it."""

    metric: str
    scale: Scale
    op: str
    value: float | str | bool
    exposure: str | None
    minimum_exposure: int


@dataclass(frozen=True, slots=True)
class Rule:
    """All conditions of `when` hold: a finding. The first condition is the principal one.

    The principal condition is what a tutor's override changes and what `excess` measures.
    `version` is a hash of the rule's content.
    """

    id: str
    kind: Kind
    severity: Severity | None
    when: tuple[Condition, ...]
    texts: Mapping[str, template.Template]
    evidence: str | None
    version: str

    @property
    def columns(self) -> frozenset[str]:
        """The columns of a row that the rule reads."""
        of_conditions = {c.metric for c in self.when} | {c.exposure for c in self.when}
        of_texts = frozenset[str]().union(*(text.metrics for text in self.texts.values()))
        return frozenset(
            name for name in of_conditions | of_texts | {self.evidence} if name is not None
        )


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The rules of one profile, in the order of its file."""

    profile: str
    auto_resolve: bool
    rules: tuple[Rule, ...]

    def of(self, kind: Kind) -> tuple[Rule, ...]:
        """The rules of one kind."""
        return tuple(rule for rule in self.rules if rule.kind is kind)

    def columns(self, kind: Kind) -> tuple[str, ...]:
        """The columns that a row needs for the rules of one kind, `tutor_id` first."""
        names = frozenset[str]().union(*(rule.columns for rule in self.of(kind)))
        return (TUTOR_ID, *sorted(names))


def load_catalogue(profile: str | Path, inputs: Mapping[str, Mapping[str, Column]]) -> Catalogue:
    """Parse and check a shipped profile (by name) or a user's own file (by path).

    `inputs` are the relations that rules may name: relation -> column -> type and exposure, each
    with one row per tutor. Raises UsageError when there is no such profile, TutorPipelineError
    with file, line and all that is wrong when its content is.
    """
    path = _find(profile)
    return _Parser(path, Inputs(inputs)).parse()


def _find(profile: str | Path) -> Path:
    shipped = {path.stem: path for path in sorted(SHIPPED.glob("*.yml"))}
    path = shipped.get(str(profile), Path(profile))
    if not path.is_file():
        names = ", ".join(shipped)
        raise UsageError(
            f"there is no rule profile {profile}{nearest(str(profile), shipped)}\n"
            f"Name one that ships ({names}) or the path of your own YAML file."
        )
    return path


class _EntryError(Exception):
    """What is wrong with one node of the file."""

    def __init__(self, node: yaml.Node, message: str) -> None:
        super().__init__(message)
        self.line = node.start_mark.line + 1


class _Parser:
    """Reads one file. Every rule is read, so that one error tells all that is wrong."""

    def __init__(self, path: Path, inputs: Inputs) -> None:
        self._path = path
        self._inputs = inputs
        self._wrong: list[str] = []

    def parse(self) -> Catalogue:
        auto_resolve, rules = True, []
        try:
            root = self._compose()
            sections = {shape.section: kind for kind, shape in _SHAPES.items()}
            entries = _mapping(root, optional=("auto_resolve", *sections))
            if node := entries.pop("auto_resolve", None):
                auto_resolve = _scalar(node, (bool,), "true or false")
            for section, node in entries.items():
                rules += list(self._rules(node, sections[section]))
        except _EntryError as error:
            self._note(error)
        if self._wrong:
            raise TutorPipelineError("\n".join(["the rule catalogue is wrong:", *self._wrong]))
        return Catalogue(self._path.stem, auto_resolve, tuple(rules))

    def _note(self, error: _EntryError) -> None:
        self._wrong.append(f"{self._path}:{error.line}: {error}")

    def _compose(self) -> yaml.Node:
        try:
            root = yaml.compose(self._path.read_text("utf-8"), yaml.SafeLoader)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise TutorPipelineError(f"{self._path} is not YAML: {error}") from error
        if root is None:
            raise TutorPipelineError(f"{self._path} is empty: it needs at least one rule")
        return root

    def _rules(self, node: yaml.Node, kind: Kind) -> Iterator[Rule]:
        known: set[str] = set()
        for key, body in _pairs(node):
            try:
                rule_id = _scalar(key, (str,), "a rule's id")
                if rule_id in known:
                    raise _EntryError(key, f"{kind} {rule_id} is there twice")
                known.add(rule_id)
                yield self._rule(rule_id, body, kind)
            except _EntryError as error:
                self._note(error)

    def _rule(self, rule_id: str, body: yaml.Node, kind: Kind) -> Rule:
        shape = _SHAPES[kind]
        entries = _mapping(
            body,
            required=("when", *shape.texts, *(("severity",) if shape.has_severity else ())),
            optional=("evidence",),
        )
        severity = _severity(entries["severity"]) if shape.has_severity else None
        when = tuple(self._condition(node) for node in _items(entries["when"]))
        texts = {name: self._template(entries[name]) for name in shape.texts}
        evidence = self._evidence(entries.get("evidence"))
        return Rule(
            rule_id,
            kind,
            severity,
            when,
            texts,
            evidence,
            version=_version(rule_id, kind, severity, when, texts, evidence),
        )

    def _condition(self, node: yaml.Node) -> Condition:
        entries = _mapping(node, required=("metric", "op", "value"), optional=("minimum_exposure",))
        metric = self._column(entries["metric"])
        scale = self._inputs.scale(metric)
        if scale not in _THRESHOLDS:
            raise _EntryError(entries["metric"], f"{metric} can't be compared with a threshold")
        types, expected, operators = _THRESHOLDS[scale]
        op = _scalar(entries["op"], (str,), "an operator")
        if op not in operators:
            allowed = " ".join(name for name in OPERATORS if name in operators)
            raise _EntryError(entries["op"], f"operator {op} is not one of {allowed} for {metric}")
        value = _scalar(entries["value"], types, f"{expected} (the threshold of {metric})")
        exposure = self._inputs.exposure(metric)
        # A count of 0 over no session at all says nothing: by default one session is asked for.
        minimum = 1
        if asked := entries.get("minimum_exposure"):
            if exposure is None:
                raise _EntryError(asked, f"{metric} has no exposure to ask a minimum of")
            minimum = _scalar(asked, (int,), "a whole number")
        return Condition(metric, scale, op, value, exposure, minimum)

    def _column(self, node: yaml.Node) -> str:
        name: str = _scalar(node, (str,), "the name of a metric")
        if name not in self._inputs:
            raise _EntryError(node, f"unknown metric {name}{self._inputs.nearest(name)}")
        return name

    def _template(self, node: yaml.Node) -> template.Template:
        text = _scalar(node, (str,), "text")
        try:
            return template.parse(text, self._inputs)
        except ValueError as error:
            raise _EntryError(node, str(error)) from error

    def _evidence(self, node: yaml.Node | None) -> str | None:
        if node is None:
            return None
        name = self._column(node)
        if self._inputs.scale(name) is not Scale.SESSIONS:
            raise _EntryError(node, f"{name} holds no session ids")
        return name


def _pairs(node: yaml.Node) -> list[tuple[yaml.Node, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        raise _EntryError(node, "a mapping (key: value) is expected here")
    pairs: list[tuple[yaml.Node, yaml.Node]] = node.value
    return pairs


def _items(node: yaml.Node) -> list[yaml.Node]:
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        raise _EntryError(node, "a list with at least one entry is expected here")
    items: list[yaml.Node] = node.value
    return items


def _mapping(
    node: yaml.Node, required: tuple[str, ...] = (), optional: tuple[str, ...] = ()
) -> dict[str, yaml.Node]:
    known = dict.fromkeys((*required, *optional))
    entries: dict[str, yaml.Node] = {}
    for key, value in _pairs(node):
        name = _scalar(key, (str,), "a key")
        if name not in known:
            raise _EntryError(key, f"unknown key {name}{nearest(name, known)}")
        if name in entries:
            raise _EntryError(key, f"key {name} is there twice")
        entries[name] = value
    if missing := [name for name in required if name not in entries]:
        raise _EntryError(node, f"missing: {', '.join(missing)}")
    return entries


def _scalar(node: yaml.Node, types: tuple[type, ...], expected: str) -> Any:
    value = yaml.SafeLoader("").construct_object(node, deep=True)
    is_flag = isinstance(value, bool)
    is_finite = not isinstance(value, float) or math.isfinite(value)
    if isinstance(value, types) and is_finite and (bool in types or not is_flag):
        return value
    raise _EntryError(node, f"{value!r} is not {expected}")


def _severity(node: yaml.Node) -> Severity:
    name = _scalar(node, (str,), "a severity")
    if name not in list(Severity):
        raise _EntryError(node, f"severity {name} is not one of {', '.join(Severity)}")
    return Severity(name)


def _version(
    rule_id: str,
    kind: Kind,
    severity: Severity | None,
    when: tuple[Condition, ...],
    texts: Mapping[str, template.Template],
    evidence: str | None,
) -> str:
    content = [
        rule_id,
        kind,
        severity,
        [[c.metric, c.op, c.value, c.minimum_exposure] for c in when],
        {name: text.text for name, text in texts.items()},
        evidence,
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

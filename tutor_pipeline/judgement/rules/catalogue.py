"""The catalogue: the rules of one profile, read from YAML and checked against declared inputs.

Belongs here: the catalogue and how it is loaded.
Does not belong here: the rules themselves (`catalogue/*.yml`), how files extend each other
(`profiles`), what a rule may say (`rule_schema`), evaluation (`evaluate`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tutor_pipeline.core.errors import TutorPipelineError
from tutor_pipeline.core.findings import Kind
from tutor_pipeline.core.thresholds import Threshold
from tutor_pipeline.judgement.rules import profiles, rule_schema, template
from tutor_pipeline.judgement.rules.inputs import (
    NUMERIC,
    OPEN_ALERTS,
    TUTOR_ID,
    Column,
    Inputs,
    open_alerts,
)
from tutor_pipeline.judgement.rules.rule import Rule
from tutor_pipeline.judgement.rules.yaml_nodes import NodeError

AT_THRESHOLD = "at_threshold"
"""The type of insight about tutors who meet an alert's conditions but are not unusual enough."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The rules of one profile, starting with those of the profile it extends, in file order.

    `auto_resolve` says whether an alert is closed when its rule no longer holds.
    """

    profile: str
    auto_resolve: bool
    rules: tuple[Rule, ...]

    def of(self, kind: Kind) -> tuple[Rule, ...]:
        """The enabled rules of one kind."""
        return tuple(rule for rule in self.rules if rule.kind is kind and rule.is_enabled)

    def columns(self, kind: Kind) -> tuple[str, ...]:
        """The columns that a row needs for the rules of one kind, `tutor_id` first."""
        names = frozenset[str]().union(*(rule.columns for rule in self.of(kind)))
        return (TUTOR_ID, *sorted(names))

    @property
    def asking(self) -> tuple[Rule, ...]:
        """The enabled alerts that require something unusual (`Rule.unusual`)."""
        return tuple(rule for rule in self.of(Kind.ALERT) if rule.unusual is not None)


def load_catalogue(
    profile: str | Path,
    inputs: Mapping[str, Mapping[str, Column]],
    thresholds: Mapping[str, Threshold] = template.NONE,
) -> Catalogue:
    """Read and check a shipped profile (by name) or a user's own file (by path).

    `inputs` are the relations that rules may name, each with one row per tutor: relation -> column
    -> type and exposure. The relation `open_alerts` is added, with a flag per alert of the profile,
    for insights and achievements. `thresholds` are those of the metrics, which texts name as
    `{threshold.name}`. Raises UsageError if there is no such profile, and
    TutorPipelineError with file, line and all errors if its content is wrong.
    """
    path = profiles.find(profile)
    errors: list[NodeError] = []
    auto_resolve, rules = None, []
    try:
        files = profiles.read(path, errors.append)
        auto_resolve = files.auto_resolve
        every_input = Inputs({**inputs, OPEN_ALERTS: open_alerts(files.drafts[Kind.ALERT])})
        for kind in Kind:
            for rule_id, draft in files.drafts[kind].items():
                try:
                    rules.append(rule_schema.parse(rule_id, draft, kind, every_input, thresholds))
                except NodeError as error:
                    errors.append(
                        rule_schema.cause(rule_id, draft, kind, every_input, thresholds, error)
                    )
    except NodeError as error:
        errors.append(error)
    if errors:
        raise TutorPipelineError("\n".join(["the rule catalogue is wrong:", *map(str, errors)]))
    beside = [_beside(rule) for rule in rules if rule.unusual is not None and rule.is_enabled]
    return Catalogue(profiles.name_of(path), auto_resolve is not False, (*rules, *beside))


def at_threshold(rule_id: str) -> str:
    """Return the id of the insight that belongs to an alert (`Rule.beside`)."""
    return f"{rule_id}_{AT_THRESHOLD}"


def _beside(alert: Rule) -> Rule:
    """Return the insight about tutors who meet the alert's conditions but are not unusual enough.

    Evaluation adds the tutor's figure and that of the others to its text.
    """
    title = alert.texts["title"]
    principal = alert.when[0]
    return replace(
        alert,
        id=at_threshold(alert.id),
        kind=Kind.INSIGHT,
        severity=None,
        texts={
            "insight_type": template.Template(AT_THRESHOLD, (), AT_THRESHOLD),
            "display_text": replace(title, tail=title.tail.removesuffix(" Detected")),
        },
        metric_value=principal.metric if principal.scale in NUMERIC else None,
        beside=alert.id,
    )

"""Preview: what other rules, another threshold or an exception would do to the stored rows. Writes
nothing: it evaluates and reconciles as a run would, on the tables as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from tutor_pipeline.core.errors import UsageError
from tutor_pipeline.core.findings import Change, Evaluation, Kind, Override, Step
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.judgement.lifecycle import store
from tutor_pipeline.judgement.rules.catalogue import Catalogue
from tutor_pipeline.judgement.rules.evaluate import evaluate
from tutor_pipeline.judgement.rules.rule import Rule
from tutor_pipeline.metrics import wide_rows
from tutor_pipeline.metrics.wide_rows import WideRows
from tutor_pipeline.steps.usual import exceptions_of, usual_here


@dataclass(frozen=True, slots=True)
class Effect:
    """What would become of the alerts of one rule: those that open and close, and how many stay."""

    opens: tuple[Change, ...]
    closes: tuple[Change, ...]
    stays: int
    as_of: datetime


def changes(
    database: Database,
    catalogue: Catalogue,
    kind: Kind,
    wide: WideRows,
    exceptions: Sequence[Override] | None = None,
) -> tuple[Evaluation, tuple[Change, ...]]:
    """Returns what the rules of a kind find on these rows, and how that would change the stored
    ones. `exceptions` None = those in force.
    """
    if exceptions is None:
        exceptions = exceptions_of(database, kind, wide.as_of)
    usual = usual_here(database, catalogue, kind, wide, keep=False)
    # A pass over others may have been applied since these rows were made.
    as_of = max(wide.as_of, store.last_applied(database, kind) or wide.as_of)
    found = evaluate(catalogue, kind, wide.rows, as_of, exceptions, usual)
    reconciled = store.preview(database, found, active_tutors=wide.active_tutors, scope=wide.scope)
    return found, reconciled.changes


def of_exception(
    database: Database, catalogue: Catalogue, tutor_id: str, rule: Rule, wanted: Override | None
) -> Effect:
    """Returns what an exception of a tutor (None = that there is none) would do to the alert of a
    rule, as the next pass does it.
    """
    wide = wide_rows.read(database, "", catalogue.columns(Kind.ALERT), tutors=[tutor_id])
    others = [
        each
        for each in exceptions_of(database, Kind.ALERT, wide.as_of)
        if (each.tutor_id, each.rule_id) != (tutor_id, rule.id)
    ]
    exceptions = [*others, *([] if wanted is None else [wanted])]
    _, changed = changes(database, catalogue, Kind.ALERT, wide, exceptions)
    return _effect(changed, rule.id, wide.as_of)


def of_threshold(database: Database, catalogue: Catalogue, rule: Rule, value: float) -> Effect:
    """Returns what another threshold of a rule's first condition would do, for all tutors, as a
    full refresh under it does.
    """
    principal, *rest = rule.when
    other = replace(rule, when=(replace(principal, value=value), *rest))
    tried = replace(
        catalogue,
        rules=tuple(
            # The insight beside it has the conditions of its alert.
            replace(each, when=other.when) if each.alert == rule.id else each
            for each in catalogue.rules
        ),
    )
    wide = wide_rows.read(database, "", tried.columns(Kind.ALERT))
    _, changed = changes(database, tried, Kind.ALERT, wide)
    return _effect(changed, rule.id, wide.as_of)


def alert_rule(catalogue: Catalogue, rule_id: str) -> Rule:
    """Returns an alert's rule. Raises UsageError for one that is not there or off."""
    for rule in catalogue.of(Kind.ALERT):
        if rule.id == rule_id:
            return rule
    raise UsageError(f"the rules in force have no alert {rule_id}")


def _effect(changed: Iterable[Change], rule_id: str, as_of: datetime) -> Effect:
    own = [each for each in changed if each.rule_id == rule_id]
    opens = tuple(each for each in own if each.step in (Step.OPENED, Step.REOPENED))
    closes = tuple(each for each in own if each.step is Step.RESOLVED)
    return Effect(opens, closes, len(own) - len(opens) - len(closes), as_of)

"""Rules: the thresholds in force, and what another one would do. It is tried here and changed where
it stands: in the profile's file.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from tutor_pipeline.core.errors import TutorPipelineError, UsageError
from tutor_pipeline.core.findings import Kind
from tutor_pipeline.core.formatting import visible
from tutor_pipeline.desk import queries
from tutor_pipeline.desk.formats import closed, metric
from tutor_pipeline.desk.site import Limit, Place, Visit
from tutor_pipeline.judgement.lifecycle.store import profile_in_force
from tutor_pipeline.judgement.rules import describe
from tutor_pipeline.judgement.rules.catalogue import Catalogue, load_catalogue
from tutor_pipeline.judgement.rules.inputs import NUMERIC
from tutor_pipeline.metrics import wide_rows
from tutor_pipeline.metrics.thresholds import thresholds
from tutor_pipeline.people.access.roles import Role
from tutor_pipeline.steps import preview

_SHOWN = 20
_SIGNS = {">=": "≥", "<=": "≤", ">": "over", "<": "under", "=": "is"}


def show(visit: Visit) -> Response:
    """GET /settings/rules; `rule` and `value` in the address try another threshold."""
    if not visit.is_built:
        return visit.page("empty.html.j2")
    catalogue = rules_in_force(visit)
    tried, problem, names, status = None, None, {}, 200
    if visit.asked.get("rule"):
        try:
            tried = _tried(visit, catalogue)
        except TutorPipelineError as error:
            problem, status = closed(str(error)), 400
    if tried is not None:
        changed = (*tried["effect"].opens, *tried["effect"].closes)
        names = queries.tutor_names(visit.database, {each.tutor_id for each in changed})
    return visit.page(
        "rules.html.j2",
        status,
        profile=catalogue.profile,
        in_force=profile_in_force(visit.database),
        rules=[
            {
                "rule": rule,
                "unusual": describe.unusual(rule, _within),
                "is_number": rule.when[0].scale in NUMERIC,
            }
            for rule in catalogue.rules
            if rule.kind is Kind.ALERT
        ],
        tried=tried,
        problem=problem,
        asked={name: visit.asked.get(name, "") for name in ("rule", "value")},
        names=names,
        most=_SHOWN,
        SIGNS=_SIGNS,
        limits=sorted(thresholds().items()),
    )


def _within(name: str) -> str:
    """Returns a metric in words, as they stand within a sentence."""
    words = metric(name)
    return words[:1].lower() + words[1:]


def rules_in_force(visit: Visit) -> Catalogue:
    """Returns the rules of the profile that the desk's settings name. Raises UsageError."""
    try:
        return load_catalogue(
            visit.site.options.rule_profile, wide_rows.rule_inputs(), thresholds()
        )
    except TutorPipelineError as error:
        raise UsageError(
            "the rules cannot be read here: TUTOR_RULE_PROFILE of the desk names a profile that is"
            f" not there or is wrong ({str(error).splitlines()[0]})"
        ) from error


def _tried(visit: Visit, catalogue: Catalogue) -> dict[str, Any]:
    rule = preview.alert_rule(catalogue, visit.asked.get("rule", ""))
    text = visit.asked.get("value", "").strip()
    try:
        value = float(text.replace(",", "."))
    except ValueError as error:
        raise UsageError(f"{visible(text, 40)!r} is no number: write 8 or 0.25") from error
    if (why := rule.refusal(value)) is not None:
        raise UsageError(why)
    return {
        "rule": rule, "value": value,
        "effect": preview.of_threshold(visit.database, catalogue, rule, value),
    }  # fmt: skip


PLACES = (Place("/settings/rules", show, Role.ADMIN, limit=Limit.LARGE),)

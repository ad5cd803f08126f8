"""Exceptions: another threshold for one tutor, or a rule off. Each shows its effect first."""

from __future__ import annotations

from datetime import date, datetime, time

from starlette.responses import Response

from tutor_pipeline.core.errors import TutorPipelineError, UsageError
from tutor_pipeline.core.findings import Kind, Override
from tutor_pipeline.core.formatting import visible
from tutor_pipeline.core.warehouse.database import Row
from tutor_pipeline.desk import queries
from tutor_pipeline.desk.formats import closed
from tutor_pipeline.desk.pages.rules import rules_in_force
from tutor_pipeline.desk.site import Limit, NotFoundError, Place, Visit
from tutor_pipeline.judgement.lifecycle import overrides
from tutor_pipeline.judgement.rules.rule import Rule
from tutor_pipeline.people.access.roles import Role
from tutor_pipeline.people.reports import tutor_queries
from tutor_pipeline.steps import preview

_FIELDS = ("tutor", "rule", "how", "threshold", "reason", "until")


def show(visit: Visit) -> Response:
    """GET /settings/exceptions: those there are, and the effect of the one that is asked about."""
    return _page(visit, {name: visit.asked.get(name, "").strip() for name in _FIELDS})


def save(visit: Visit) -> Response:
    """POST /settings/exceptions: makes the exception."""
    asked = {name: visit.text(name).strip() for name in _FIELDS}
    try:
        wanted, _ = _wanted(visit, asked)
        if not asked["reason"]:
            raise UsageError("say why: the reason stands beside the exception")
        overrides.put(
            visit.database, Kind.ALERT, wanted, reason=asked["reason"], by=visit.account,
            at=visit.now, expires_at=_until(visit, asked["until"]),
        )  # fmt: skip
    except UsageError as error:
        return _page(visit, asked, 400, f"{closed(str(error))} Nothing was changed.")
    return visit.back("/settings/exceptions", saved=wanted.tutor_id)


def remove(visit: Visit) -> Response:
    """POST /settings/exceptions/remove: the rule counts for the tutor as for everybody."""
    kind = visit.text("kind") or Kind.ALERT
    if kind not in list(Kind):
        raise UsageError("The form names no kind of rule: open its page anew")
    overrides.remove(visit.database, Kind(kind), visit.text("tutor"), visit.text("rule"), visit.now)
    return visit.back("/settings/exceptions")


def _page(
    visit: Visit, asked: dict[str, str], status: int = 200, problem: str | None = None
) -> Response:
    if not visit.is_built:
        return visit.page("empty.html.j2")
    catalogue = rules_in_force(visit)
    effect, about, rule = None, None, None
    if asked["tutor"] and asked["rule"] and problem is None:
        try:
            wanted, about = _wanted(visit, asked)
            rule = preview.alert_rule(catalogue, wanted.rule_id)
            effect = preview.of_exception(visit.database, catalogue, wanted.tutor_id, rule, wanted)
        except TutorPipelineError as error:
            status, problem = 400, closed(str(error))
    rows = overrides.list_all(visit.database)
    return visit.page(
        "exceptions.html.j2",
        status,
        asked=asked,
        effect=effect,
        about=about,
        chosen=rule,
        problem=problem,
        rows=rows,
        names=queries.tutor_names(visit.database, {row["tutor_id"] for row in rows}),
        rules=catalogue.of(Kind.ALERT),
        saved=visit.asked.get("saved") in {row["tutor_id"] for row in rows},
    )


def _wanted(visit: Visit, asked: dict[str, str]) -> tuple[Override, Row]:
    """What is asked for, with the profile of the tutor. Raises UsageError."""
    try:
        profile = tutor_queries.find(visit.database, asked["tutor"])
    except UsageError as error:
        raise UsageError(str(error).partition(" Name one by")[0].removesuffix(".")) from error
    except TutorPipelineError as error:
        raise NotFoundError("Nothing is computed yet.") from error
    rule = preview.alert_rule(rules_in_force(visit), asked["rule"])
    if asked["how"] == "off":
        return Override(profile["tutor_id"], rule.id, disabled=True), profile
    return Override(profile["tutor_id"], rule.id, _number(rule, asked["threshold"])), profile


def _number(rule: Rule, text: str) -> float:
    try:
        number = float(text.replace(",", "."))
    except ValueError as error:
        raise UsageError(
            f"{visible(text, 40)!r} is no number: write the threshold as 8 or 0.25" if text
            else "write the threshold, or switch the rule off for the tutor"
        ) from error  # fmt: skip
    if (why := rule.refusal(number)) is not None:
        raise UsageError(why)
    return number


def _until(visit: Visit, text: str) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.combine(date.fromisoformat(text), time(), visit.zone)
    except ValueError as error:
        raise UsageError("until when? Write a day as 2027-01-31, or leave it empty") from error


PLACES = (
    Place("/settings/exceptions", show, Role.ADMIN, limit=Limit.LARGE),
    Place("/settings/exceptions", save, Role.ADMIN, "POST", limit=Limit.ACTS),
    Place("/settings/exceptions/remove", remove, Role.ADMIN, "POST", limit=Limit.ACTS),
)

"""Alerts, insights and achievements as assets, each with a check that no tutor was skipped."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from tutor_pipeline.core.findings import Applied, Change, Kind, Step
from tutor_pipeline.core.formatting import agree, count
from tutor_pipeline.defs.common.assets import (
    asset_key,
    column_schema,
    table,
    table_asset,
    with_code_references,
)
from tutor_pipeline.defs.common.checks import check_result
from tutor_pipeline.defs.common.guarded import GuardedConfig, guarded
from tutor_pipeline.defs.common.project import load_project
from tutor_pipeline.defs.common.required import required
from tutor_pipeline.defs.common.warehouse_resource import WarehouseResource
from tutor_pipeline.judgement.lifecycle import store
from tutor_pipeline.judgement.quality import coverage
from tutor_pipeline.judgement.quality.guard import Required
from tutor_pipeline.judgement.rules.catalogue import Catalogue
from tutor_pipeline.people.reports import finding_queries
from tutor_pipeline.steps import check as checks
from tutor_pipeline.steps.judge import FINDINGS, Findings, Judged, judge
from tutor_pipeline.steps.names import Group
from tutor_pipeline.steps.order import FINDINGS_REST_ON

_ABOUT = {
    Kind.ALERT: "Tutors who need attention: one open alert per tutor and rule at most, with the"
    " reason in numbers, the evidence sessions and what to do. Resolved when the rule no longer"
    " holds.",
    Kind.INSIGHT: "What each tutor does well and could improve, with the value behind it, a"
    " coaching tip for what could improve, and sessions to look at.",
    Kind.ACHIEVEMENT: "Badges: earned once and kept, active while the tutor still meets the"
    " criterion.",
}


@dg.definitions
def definitions() -> dg.Definitions:
    """`ops/alerts`, `ops/tutor_insights`, `ops/achievements` under the rules in force."""
    project = load_project()
    blocking = required(project, FINDINGS_REST_ON)
    return dg.Definitions(
        assets=with_code_references(
            *(_build_asset(findings, project.catalogue, blocking) for findings in FINDINGS)
        ),
        asset_checks=[_build_check(findings) for findings in FINDINGS],
    )


def _build_asset(
    findings: Findings, catalogue: Catalogue, blocking: Sequence[Required]
) -> dg.AssetsDefinition:
    kind, name = findings.kind, f"ops/{findings.table}"
    rules = {"rule_profile": catalogue.profile, "rules": len(catalogue.of(kind))}

    @table_asset(name, Group.FINDINGS, _ABOUT[kind], metadata=rules)
    def asset(
        context: dg.AssetExecutionContext, config: GuardedConfig, warehouse: WarehouseResource
    ) -> dg.MaterializeResult[None]:
        run_id = context.run.run_id
        with guarded(context, config, warehouse.warehouse, blocking, name) as (database, forced):
            # Locked from reading to writing, so that of two concurrent runs the later one reads
            # what the earlier one wrote.
            store.lock(database, kind)
            judged = judge(database, catalogue, kind, run_id)
            if judged.is_full:
                coverage.record(database, run_id, judged.evaluation)
            now = finding_queries.open_findings(database, findings.table)
            schema = column_schema(database, database.schemas.ops, findings.table)
        return dg.MaterializeResult(
            metadata={
                **numbers(judged),
                **now,
                "what_changed": what_changed([judged.applied], findings.says),
                "rule_profile": catalogue.profile,
                **forced,
                "dagster/column_schema": schema,
            }
        )

    return asset


def _build_check(findings: Findings) -> dg.AssetChecksDefinition:
    """A separate step: its failure fails the run but stops no later step."""
    name = f"ops/{findings.table}"

    @dg.asset_check(
        asset=asset_key(name), name=checks.EVERY_TUTOR, description=checks.EVERY_TUTOR_SAYS
    )
    def check(context: dg.AssetCheckExecutionContext, warehouse: WarehouseResource) -> Any:
        outcome, too_many = checks.every_tutor(
            warehouse.warehouse, context.run.run_id, findings.kind, name
        )
        yield check_result(outcome)
        if too_many:
            raise dg.Failure(
                f"{outcome.rows_failing:,} of {count(outcome.rows_checked or 0, 'tutor')}"
                f" {agree(outcome.rows_failing or 0, 'was', 'were')} skipped because their metrics"
                " could not be read; the others are done",
                allow_retries=False,
            )

    return check


def numbers(judged: Judged) -> dict[str, Any]:
    """Metadata that Dagster plots."""
    evaluation, applied = judged.evaluation, judged.applied
    return {
        "as_of": dg.MetadataValue.timestamp(evaluation.as_of),
        "tutors": evaluation.tutors,
        "pairs_evaluated": applied.evaluated,
        "opened": applied.opened,
        "confirmed": applied.confirmed,
        "escalated": applied.escalated,
        "resolved": applied.resolved,
        "suppressed": applied.suppressed,
        "skipped": len(applied.skipped),
        **({"unreadable": dict(applied.skipped)} if applied.skipped else {}),
        "rules_seconds": round(judged.rules_seconds, 3),
        "write_seconds": round(judged.write_seconds, 3),
    }


def what_changed(applied: Iterable[Applied], says: str) -> dg.MetadataValue[Any]:
    """A table of opened, escalated and resolved alerts, newly opened ones first."""
    changes = sorted(
        (change for each in applied for change in each.changes), key=_most_telling_first
    )
    return table(_row(change, says) for change in changes)


_ORDER: Mapping[Step, int] = {
    step: number
    for number, step in enumerate(
        (Step.OPENED, Step.REOPENED, Step.ESCALATED, Step.EASED, Step.RESOLVED)
    )
}


def _most_telling_first(change: Change) -> tuple[int, int]:
    severity = change.finding.severity if change.finding is not None else None
    return _ORDER[change.step], -(severity.rank if severity is not None else 0)


def _row(change: Change, says: str) -> dict[str, str]:
    return {
        "what": str(change.step),
        "tutor": change.tutor_id,
        "rule": change.rule_id,
        "why": str(change.resolution) if change.finding is None else change.finding.texts[says],
    }

"""Alerts, insights and achievements as assets: rules evaluated over the wide rows, reconciled with
the rows that are there. One adapter for the three; what differs between them is data.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from time import perf_counter
from typing import Any

import dagster as dg

from tutor_pipeline.core.findings import (
    MAX_SKIPPED_SHARE,
    Applied,
    Change,
    Evaluation,
    Kind,
    Step,
)
from tutor_pipeline.core.warehouse.database import Database
from tutor_pipeline.core.warehouse.refresh_runs import moment
from tutor_pipeline.defs.checks import asset_key, check_result
from tutor_pipeline.defs.columns import column_schema
from tutor_pipeline.defs.guarded import METRICS, GuardedConfig, await_checks, cell, overridden
from tutor_pipeline.defs.metrics import OWNER
from tutor_pipeline.defs.resources import WarehouseResource
from tutor_pipeline.defs.usual import exceptions_of, usual_here
from tutor_pipeline.judgement.lifecycle import store
from tutor_pipeline.judgement.quality import coverage, guard, results
from tutor_pipeline.judgement.quality.outcome import MAX_SAMPLE, Outcome, Status, plain
from tutor_pipeline.judgement.rules.catalogue import Catalogue
from tutor_pipeline.judgement.rules.evaluate import evaluate
from tutor_pipeline.judgement.rules.profiles import shipped
from tutor_pipeline.metrics import wide_rows
from tutor_pipeline.people.notify import outbox
from tutor_pipeline.people.reports import queries

GROUP = "findings"
EVERY_TUTOR = "every_tutor_was_evaluated"
_EVERY_TUTOR_SAYS = (
    "No tutor was left out because the metrics could not be read (a few are a warning; over"
    f" {MAX_SKIPPED_SHARE:.0%} fail the run, after the others were done)."
)

_READ = (
    "marts/tutor_aggregates",
    "marts/dim_tutors",
    "ops/current_tutor_risk",
    "ops/tutor_student_churn",
)
_CHECKED = ("marts/fct_sessions", "ops/quarantine")
INPUTS = (*METRICS, "ops/current_tutor_risk")
"""What findings rest on: while a blocking check of one of these does not hold, none is made."""

_SHOWN_CHANGES = 50


@dataclass(frozen=True, slots=True)
class _Findings:
    """One kind as an asset. `says` is the text that tells a finding in one sentence."""

    kind: Kind
    table: str
    says: str
    after: tuple[str, ...]
    description: str


FINDINGS = (
    _Findings(
        Kind.ALERT,
        "alerts",
        "description",
        (),
        "Tutors who need attention: one open alert per tutor and rule at most, with the reason in"
        " numbers, the evidence sessions and what to do. Resolved when the rule no longer holds.",
    ),
    _Findings(
        Kind.INSIGHT,
        "tutor_insights",
        "display_text",
        # An insight may keep quiet where an alert says the same, louder.
        ("alerts",),
        "What each tutor does well and could do better, with the value behind it, a coaching tip"
        " for what could be better, and sessions to look at.",
    ),
    _Findings(
        Kind.ACHIEVEMENT,
        "achievements",
        "description",
        (),
        "Badges: earned once and kept, active while the tutor still meets the criterion.",
    ),
)


def build_findings_assets(
    catalogue: Catalogue, required: Sequence[guard.Required]
) -> list[dg.AssetsDefinition]:
    """`ops/alerts`, `ops/tutor_insights`, `ops/achievements` under the rules of a catalogue.

    `required` are the blocking checks without which none is made.
    """
    return [_build_asset(findings, catalogue, required) for findings in FINDINGS]


def build_findings_checks() -> list[dg.AssetChecksDefinition]:
    """That no tutor was left out, for each of them."""
    return [_build_check(findings) for findings in FINDINGS]


def _build_asset(
    findings: _Findings, catalogue: Catalogue, required: Sequence[guard.Required]
) -> dg.AssetsDefinition:
    kind, table = findings.kind, findings.table

    @dg.asset(
        key=["ops", table],
        deps=[
            *map(asset_key, _READ + _CHECKED),
            *(["ops", other] for other in findings.after),
        ],
        group_name=GROUP,
        kinds={"python", "postgres"},
        owners=[OWNER],
        description=findings.description,
        metadata={
            "dagster/table_name": f"ops.{table}",
            "rule_profile": catalogue.profile,
            "rules": len(catalogue.of(kind)),
        },
    )
    def asset(
        context: dg.AssetExecutionContext, config: GuardedConfig, warehouse: WarehouseResource
    ) -> dg.MaterializeResult[None]:
        target = warehouse.warehouse
        await_checks(context, target, required)
        with target.connect() as database:
            # Under the lock from reading to writing: of two runs at once the later one reads
            # what the earlier one has written.
            store.lock(database, kind)
            objections = guard.require(
                database,
                required,
                asset=f"ops/{table}",
                run_id=context.run.run_id,
                forced_by=config.forced_by,
            )
            made = make(database, catalogue, kind, context.run.run_id)
            if made.is_full:
                coverage.record(database, context.run.run_id, made.evaluation)
            now = queries.open_findings(database, table)
            schema = column_schema(database, target.schemas.ops, table)
        return dg.MaterializeResult(
            metadata={
                **made.metadata(),
                **now,
                "what_changed": dg.MetadataValue.md(what_changed([made.applied], findings.says)),
                "rule_profile": catalogue.profile,
                **overridden(objections, config.forced_by),
                "dagster/column_schema": schema,
            }
        )

    return asset


@dataclass(frozen=True, slots=True)
class Made:
    """What the rules of one kind said in a run, and what became of it."""

    evaluation: Evaluation
    applied: Applied
    is_full: bool
    rules_seconds: float
    write_seconds: float

    def metadata(self) -> dict[str, Any]:
        """Numbers that Dagster plots."""
        return {
            **_metadata(self.evaluation, self.applied),
            "rules_seconds": round(self.rules_seconds, 3),
            "write_seconds": round(self.write_seconds, 3),
        }


def make(database: Database, catalogue: Catalogue, kind: Kind, run_id: str) -> Made:
    """Evaluate the rules of one kind over the rows of a refresh, reconcile, and note what people
    are to be told, in the connection's transaction. The caller holds the kind's lock.
    """
    began = perf_counter()
    wide = wide_rows.read(database, run_id, catalogue.columns(kind))
    exceptions = exceptions_of(database, kind, wide.as_of)
    usual = usual_here(database, catalogue, kind, wide)
    evaluation = evaluate(catalogue, kind, wide.rows, wide.as_of, exceptions, usual)
    evaluated = perf_counter()
    before = None
    if kind is Kind.ALERT and wide.scope is None:
        before = store.last_profile(database)
    applied = store.apply(
        database, evaluation, run_id=run_id, active_tutors=wide.active_tutors, scope=wide.scope
    )
    if kind is Kind.ALERT:
        outbox.note_alerts(
            database, applied.changes, as_of=wide.as_of, now=datetime.now(UTC), run_id=run_id
        )
        if before is not None and before[0] != catalogue.profile:
            outbox.note_switch(
                database,
                {
                    "before": before[0],
                    "profile": catalogue.profile,
                    "is_shipped": before[0] in shipped(),
                    **store.adopt(database, catalogue.profile, before[1]),
                },
                as_of=wide.as_of,
                now=datetime.now(UTC),
                run_id=run_id,
            )
    written = perf_counter()
    return Made(evaluation, applied, wide.scope is None, evaluated - began, written - evaluated)


def _build_check(findings: _Findings) -> dg.AssetChecksDefinition:
    """A step of its own, so that its failure fails the run and yet stops nothing that follows."""

    @dg.asset_check(
        asset=dg.AssetKey(["ops", findings.table]),
        name=EVERY_TUTOR,
        description=_EVERY_TUTOR_SAYS,
    )
    def check(context: dg.AssetCheckExecutionContext, warehouse: WarehouseResource) -> Any:
        target = warehouse.warehouse
        with target.connect() as database:
            tutors, skipped = queries.skipped_tutors(database, findings.kind, context.run.run_id)
            too_many = len(skipped) > MAX_SKIPPED_SHARE * tutors
            outcome = Outcome(
                f"ops/{findings.table}",
                EVERY_TUTOR,
                "pipeline",
                _EVERY_TUTOR_SAYS,
                "error" if too_many else "warn",
                False,
                Status.FAILED if skipped else Status.PASSED,
                rows_checked=tutors,
                rows_failing=len(skipped),
                sample=[
                    plain({"tutor_id": tutor, "why": why})
                    for tutor, why in islice(skipped.items(), MAX_SAMPLE)
                ],
            )
            run_id = context.run.run_id
            results.record(database, run_id, moment(database, run_id), [outcome])
        yield check_result(outcome)
        if skipped and too_many:
            raise dg.Failure(
                f"{len(skipped)} of {tutors} tutors were skipped because their metrics could not"
                " be read; the others are done",
                allow_retries=False,
            )

    return check


def _metadata(evaluation: Evaluation, applied: Applied) -> dict[str, Any]:
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
    }


def what_changed(applied: Iterable[Applied], says: str) -> str:
    """A Markdown table of what opened, escalated and resolved, the newly opened first."""
    changes = sorted(
        (change for each in applied for change in each.changes), key=_most_telling_first
    )
    if not changes:
        return "Nothing changed."
    lines = ["| what | tutor | rule | why |", "| --- | --- | --- | --- |"]
    lines += [_line(change, says) for change in changes[:_SHOWN_CHANGES]]
    if len(changes) > _SHOWN_CHANGES:
        lines.append(f"| … | | | {len(changes) - _SHOWN_CHANGES} more |")
    return "\n".join(lines)


_ORDER: Mapping[Step, int] = {
    step: number
    for number, step in enumerate(
        (Step.OPENED, Step.REOPENED, Step.ESCALATED, Step.EASED, Step.RESOLVED)
    )
}


def _most_telling_first(change: Change) -> tuple[int, int]:
    severity = change.finding.severity if change.finding is not None else None
    return _ORDER[change.step], -(severity.rank if severity is not None else 0)


def _line(change: Change, says: str) -> str:
    why = str(change.resolution) if change.finding is None else change.finding.texts[says]
    step = f"**{change.step}**" if change.step is Step.OPENED else str(change.step)
    return f"| {step} | {cell(change.tutor_id)} | {change.rule_id} | {cell(why)} |"

"""Alerts as an asset: the rules evaluated over the wide rows, reconciled with the open alerts."""

from time import perf_counter
from typing import Any

import dagster as dg

from tutor_pipeline.defs.columns import column_schema
from tutor_pipeline.defs.metrics import OWNER
from tutor_pipeline.defs.resources import WarehouseResource
from tutor_pipeline.domain import Applied, Evaluation, Kind, Step
from tutor_pipeline.lifecycle import store
from tutor_pipeline.metrics import wide_rows
from tutor_pipeline.rules.catalogue import Catalogue
from tutor_pipeline.rules.evaluate import evaluate

GROUP = "findings"
MAX_SKIPPED_SHARE = 0.01
"""More tutors than this with unusable data, and the run fails (after it did the others)."""

_SHOWN_CHANGES = 50


def build_alerts_asset(catalogue: Catalogue) -> dg.AssetsDefinition:
    """`ops/alerts` under the rules of a catalogue."""

    @dg.asset(
        key=["ops", "alerts"],
        deps=[["marts", "tutor_aggregates"], ["marts", "dim_tutors"]],
        group_name=GROUP,
        kinds={"python", "postgres"},
        owners=[OWNER],
        metadata={"dagster/table_name": "ops.alerts", "rule_profile": catalogue.profile},
    )
    def alerts(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource
    ) -> dg.MaterializeResult[None]:
        """Tutors who need attention: one open alert per tutor and rule at most, with the reason in
        numbers, the evidence sessions and what to do. Resolved when the rule no longer holds.
        """
        target = warehouse.warehouse
        began = perf_counter()
        with target.connect() as connection:
            # Under the lock from reading to writing: of two runs at once the later one reads
            # what the earlier one has written.
            store.lock(connection, target, Kind.ALERT)
            wide = wide_rows.read(connection, target, context.run_id)
            overrides = store.read_overrides(connection, target, Kind.ALERT, wide.as_of)
            evaluation = evaluate(catalogue, Kind.ALERT, wide.rows, wide.as_of, overrides)
            evaluated = perf_counter()
            applied = store.apply(
                connection,
                target,
                evaluation,
                run_id=context.run_id,
                active_tutors=wide.active_tutors,
                scope=wide.scope,
            )
            columns = column_schema(connection, target.schemas.ops, "alerts")
        written = perf_counter()
        for tutor_id, reason in applied.skipped.items():
            context.log.warning(f"tutor {tutor_id} skipped: {reason}")
        metadata = _metadata(evaluation, applied)
        metadata |= {
            "rules_seconds": round(evaluated - began, 3),
            "write_seconds": round(written - evaluated, 3),
            "rule_profile": catalogue.profile,
            "dagster/column_schema": columns,
        }
        if evaluation.skipped_share > MAX_SKIPPED_SHARE:
            context.log_event(
                dg.AssetMaterialization(asset_key=context.asset_key, metadata=metadata)
            )
            raise dg.Failure(
                f"{len(applied.skipped)} of {evaluation.tutors} tutors were skipped because their"
                " metrics could not be read; the others are done",
                metadata={"skipped": dg.MetadataValue.json(dict(applied.skipped))},
                allow_retries=False,
            )
        return dg.MaterializeResult(metadata=metadata)

    return alerts


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
        "what_changed": dg.MetadataValue.md(_what_changed(applied)),
    }


def _what_changed(applied: Applied) -> str:
    """A Markdown table of what opened, escalated and resolved."""
    if not applied.changes:
        return "Nothing changed."
    lines = ["| what | tutor | rule | why |", "| --- | --- | --- | --- |"]
    for change in applied.changes[:_SHOWN_CHANGES]:
        if change.finding is not None:
            why = change.finding.texts["description"]
        else:
            why = str(change.resolution)
        step = f"**{change.step}**" if change.step is Step.OPENED else str(change.step)
        lines.append(f"| {step} | {change.tutor_id} | {change.rule_id} | {_cell(why)} |")
    if len(applied.changes) > _SHOWN_CHANGES:
        lines.append(f"| … | | | {len(applied.changes) - _SHOWN_CHANGES} more |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

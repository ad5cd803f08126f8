"""Converts the outcome of any check to a Dagster check result."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from tutor_pipeline.defs.common.assets import asset_key, table
from tutor_pipeline.judgement.quality.outcome import Outcome


def check_result(outcome: Outcome) -> dg.AssetCheckResult:
    """The outcome with its metadata in Dagster: counts, failing rows, the SQL that finds them."""
    severity = dg.AssetCheckSeverity.ERROR if outcome.is_error else dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(
        passed=outcome.passed,
        asset_key=asset_key(outcome.asset),
        check_name=outcome.check,
        severity=severity,
        metadata=_metadata(outcome),
    )


def _metadata(outcome: Outcome) -> Mapping[str, Any]:
    percent = outcome.percent_failing
    shown = {
        "rule": outcome.says,
        "status": str(outcome.status),
        "blocks": outcome.blocking,
        "observed": _number_or_text(outcome.observed),
        "rows_checked": outcome.rows_checked,
        "rows_failing": outcome.rows_failing,
        "percent_failing": None if percent is None else round(percent, 3),
        "why": outcome.message,
    }
    metadata: dict[str, Any] = {name: value for name, value in shown.items() if value is not None}
    if outcome.sample:
        metadata["failing_rows"] = table(outcome.sample)
    if outcome.query is not None:
        metadata["query"] = dg.MetadataValue.md(f"```sql\n{outcome.query}\n```")
    return metadata


def _number_or_text(observed: str | None) -> float | str | None:
    """The observed value, as a number if possible, so that Dagster plots it."""
    try:
        return None if observed is None else float(observed.replace(",", ""))
    except ValueError:
        return observed

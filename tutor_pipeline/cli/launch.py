"""Launch Dagster runs from the command line, on the instance that the UI shows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import psutil

from tutor_pipeline.cli.console import done, note, warn
from tutor_pipeline.errors import RefusedError, TutorPipelineError

FINDINGS = {
    "alerts": "ops/alerts",
    "insights": "ops/tutor_insights",
    "achievements": "ops/achievements",
}
"""What people call the tables of findings -> the asset."""

DAILY_REFRESH = "daily_refresh"
DAILY_SNAPSHOTS = "daily_snapshots"

_IN_THE_UI = {".dagster/repository": "__repository__@tutor_pipeline"}
"""Shows a run on the pages of its job and on the timeline (location name of workspace.yaml)."""


@dataclass(slots=True)
class Outcome:
    """What a run did. `seconds` splits its time; `failed` names steps, `skipped` the assets
    that were not made, `unreadable` the tutors whose metrics could not be read, and why.
    """

    run_id: str
    success: bool
    seconds: dict[str, float] = field(default_factory=dict)
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failed_checks: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "run_id": self.run_id,
            "success": self.success,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            **{
                name: {
                    count: self.metadata.get(key, {}).get(count)
                    for count in ("opened", "confirmed", "escalated", "resolved", "skipped")
                }
                for name, key in FINDINGS.items()
            },
            "unreadable": self.unreadable,
            "failed": self.failed,
            "left_out": self.skipped,
            "failed_checks": self.failed_checks,
        }


def refresh(
    *,
    as_of: str | None = None,
    tutors: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
    report: Callable[[str], None] = done,
) -> Outcome:
    """Run `daily_refresh`, or the assets named by `only`, and wait for it.

    Raises RefusedError (exit 3) when the data or the as-of was refused, TutorPipelineError when
    the definitions can't be loaded.
    """
    config = {
        "ops": {
            "metrics": {
                "config": {"as_of": as_of, "tutors": None if tutors is None else list(tutors)}
            }
        }
    }
    return _execute(DAILY_REFRESH, config if only is None else {}, {}, only, report)


def snapshots(first: date, last: date, report: Callable[[str], None] = done) -> Outcome:
    """Run `daily_snapshots` for the days from first to last, in one run."""
    tags = {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
    }
    return _execute(DAILY_SNAPSHOTS, {}, tags, None, report)


def _execute(
    job_name: str,
    run_config: Mapping[str, Any],
    tags: Mapping[str, str],
    only: Sequence[str] | None,
    report: Callable[[str], None],
) -> Outcome:
    note("Loading the pipeline (some seconds)")
    import dagster as dg

    from tutor_pipeline.definitions import defs
    from tutor_pipeline.defs import progress

    with dg.DagsterInstance.get() as instance:
        outcome = Outcome(run_id="", success=False)
        began = time.time()
        outcome.seconds["start"] = began - psutil.Process().create_time()
        stop = progress.listen(lambda event: _follow(event, outcome, report))
        try:
            job = defs.resolve_job_def(job_name)
            planned = only or [key.to_user_string() for key in job.asset_layer.selected_asset_keys]
            result = job.execute_in_process(
                instance=instance,
                run_config={**run_config, "loggers": {"progress": {}}},
                tags={**_IN_THE_UI, **tags},
                asset_selection=None
                if only is None
                else [dg.AssetKey(name.split("/")) for name in only],
                raise_on_error=False,
            )
        finally:
            stop()
        outcome.run_id = result.run_id
        outcome.success = result.success and not outcome.failed
        outcome.skipped = sorted(set(planned) - set(outcome.metadata))
        outcome.seconds["run"] = time.time() - began
    for name in ("rules", "write"):
        outcome.seconds[name] = sum(
            float(outcome.metadata.get(key, {}).get(f"{name}_seconds") or 0.0)
            for key in FINDINGS.values()
        )
    _raise_refusals(outcome)
    return outcome


def _follow(event: Any, outcome: Outcome, report: Callable[[str], None]) -> None:
    """Keep what matters of an event and tell it."""
    kind = event.event_type_value
    if kind == "ASSET_MATERIALIZATION":
        key = event.asset_key.to_user_string()
        metadata = {name: entry.value for name, entry in event.materialization.metadata.items()}
        # A range of partitions is one write, told once though Dagster records each day.
        if key not in outcome.metadata:
            report(_line(key, metadata))
        outcome.metadata[key] = metadata
        outcome.unreadable |= metadata.get("unreadable") or {}
    elif kind == "ASSET_CHECK_EVALUATION":
        check = event.asset_check_evaluation_data
        if not check.passed:
            name = f"{check.asset_key.to_user_string()}: {check.check_name}"
            outcome.failed_checks.append(name)
            warn(f"check failed: {name}")
    elif kind == "STEP_FAILURE":
        error = event.step_failure_data.error
        cause = error.cause or error
        outcome.failed[event.step_key] = _message(event.step_failure_data) or str(cause.message)
    elif kind == "STEP_SUCCESS":
        outcome.seconds[_stage(event.step_key)] = event.step_success_data.duration_ms / 1000


def _stage(step: str) -> str:
    return "dbt" if step == "metrics" else step


def _line(key: str, metadata: Mapping[str, Any]) -> str:
    if key in FINDINGS.values():
        counts = (
            f"{metadata[name]} {name}"
            for name in ("opened", "confirmed", "escalated", "resolved")
            if metadata[name] or name != "escalated"
        )
        return f"{key}: {', '.join(counts)}"
    if key == "ops/quarantine":
        return f"{key}: {metadata['quarantined']:,} of {metadata['rows_in']:,} incoming rows"
    rows = metadata.get("dagster/row_count")
    seconds = metadata.get("seconds")
    return (
        key
        + (f": {rows:,} rows" if rows is not None else "")
        + (f" in {seconds:.1f} s" if seconds is not None else "")
    )


def _message(data: Any) -> str | None:
    failure = data.user_failure_data
    return failure.description if failure is not None else None


_REFUSED = f"{RefusedError.__module__}.{RefusedError.__name__}: "
_FAILED = f"{TutorPipelineError.__module__}.{TutorPipelineError.__name__}: "


def _raise_refusals(outcome: Outcome) -> None:
    """Our own errors come back as text from a run: give them their class, and so their status."""
    for step, message in outcome.failed.items():
        for marker, error in ((_REFUSED, RefusedError), (_FAILED, TutorPipelineError)):
            if message.startswith(marker):
                text = message.removeprefix(marker).strip()
                outcome.failed[step] = text
                if error is RefusedError:
                    raise RefusedError(text)

"""Launch Dagster runs from the command line, on the instance that the UI shows."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import psutil

from tutor_pipeline.cli.console import done, note, warn
from tutor_pipeline.cli.installation import check_dagster_database
from tutor_pipeline.core.errors import RefusedError
from tutor_pipeline.core.formatting import agree, count
from tutor_pipeline.steps.names import Job
from tutor_pipeline.steps.order import TABLES, Step

FINDINGS = {
    "alerts": "ops/alerts",
    "insights": "ops/tutor_insights",
    "achievements": "ops/achievements",
}
"""Name of a table of findings on the command line -> its asset."""

SCORES = tuple(name for name, table in TABLES.items() if table.step is Step.SCORE)
"""The assets of scores and their configuration."""

_GUARDED = {
    "ops/tutor_scores": "score_tutors",
    "ops/student_scores": "score_students",
    **{key: key.replace("/", "__") for key in FINDINGS.values()},
}
"""Asset that is not made while checks of its inputs fail -> its step."""

DIGEST = "digest"
"""The asset of the digest."""

REPORT = "validation_report"
"""The asset of the validation report."""

SESSION_LEDGER = "ops/session_ledger"

STOPPED_BY_A_CHECK = "a blocking check does not hold"

_IN_THE_UI = {".dagster/repository": "__repository__@tutor_pipeline"}
"""Shows a run on the page of its job and on the timeline (location name of workspace.yaml)."""


@dataclass(slots=True)
class Outcome:
    """The outcome of a run. `seconds`: its time by part; `failed`: failed steps; `skipped`: assets
    that were not made; `blocking`: failed checks that stopped assets, with their texts;
    `unreadable`: tutors whose metrics could not be read, with reasons.
    """

    run_id: str
    success: bool
    seconds: dict[str, float] = field(default_factory=dict)
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failed_checks: list[str] = field(default_factory=list)
    blocking: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def report(self) -> str | None:
        """The file of the validation report, if one was written."""
        file: str | None = self.metadata.get(REPORT, {}).get("file")
        return file

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
            **{
                name: self.metadata.get(f"ops/{name}", {}).get("counts")
                for name in ("tutor_scores", "student_scores", "tutor_health", "student_health")
            },
            "unreadable": self.unreadable,
            "failed": self.failed,
            "left_out": self.skipped,
            "failed_checks": self.failed_checks,
            "blocking": self.blocking,
            "report": self.report,
        }


def refresh(
    *,
    as_of: str | None = None,
    tutors: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
    forced_by: str | None = None,
    accept_loss_by: str | None = None,
    report: Callable[[str], None] = done,
) -> Outcome:
    """Run `daily_refresh`, or the assets named by `only`, and wait for it.

    `forced_by`: who forces scores and findings although checks of their inputs fail; a second run
    then makes what the first one stopped. `accept_loss_by`: who accepts that rows of the platform
    are gone.

    Raises RefusedError (exit 3) if the data or the as-of is refused, TutorPipelineError if the
    definitions cannot be loaded.
    """
    scope = {
        "as_of": as_of,
        "tutors": None if tutors is None else list(tutors),
        "accept_loss_by": accept_loss_by,
    }
    if only is not None:
        return _execute(Job.DAILY_REFRESH, _forced(only, forced_by), {}, only, report)
    config = {"ops": {"metrics": {"config": scope}}}
    outcome = _execute(Job.DAILY_REFRESH, config, {}, None, report)
    stopped = [key for key in (*SCORES, *FINDINGS.values()) if key in outcome.skipped]
    if forced_by is not None and stopped and not outcome.blocking:
        warn("not forced: no check stopped them, a step failed; see what it says")
    elif forced_by is not None and stopped:
        warn(f"forced by {forced_by}: {', '.join(stopped)}")
        rest = [*stopped, SESSION_LEDGER, REPORT]
        again = _execute(Job.DAILY_REFRESH, _forced(stopped, forced_by), {}, rest, report)
        outcome = _joined(outcome, again)
    return outcome


def _forced(only: Sequence[str], forced_by: str | None) -> dict[str, Any]:
    steps = [_GUARDED[key] for key in only if key in _GUARDED]
    if forced_by is None or not steps:
        return {}
    return {"ops": {step: {"config": {"forced_by": forced_by}} for step in steps}}


def _joined(first: Outcome, second: Outcome) -> Outcome:
    """Merge two outcomes: the second run made what the checks of the first one stopped. Other
    failures of the first run remain.
    """
    failed = {step: why for step, why in first.failed.items() if not _is_of_checks(step)}
    failed |= second.failed
    return Outcome(
        run_id=second.run_id,
        success=second.success and not failed,
        seconds={**second.seconds, **first.seconds},
        metadata={**first.metadata, **second.metadata},
        failed=failed,
        skipped=[key for key in first.skipped if key not in second.metadata],
        failed_checks=first.failed_checks + second.failed_checks,
        blocking=first.blocking,
        unreadable={**first.unreadable, **second.unreadable},
    )


def _is_of_checks(step: str) -> bool:
    return step.startswith("check_")


def run_checks(report: Callable[[str], None] = done) -> Outcome:
    """Evaluate the suites on the current tables, and write the validation report."""
    return _execute(Job.DATA_QUALITY, {}, {}, None, report)


def snapshots(first: date, last: date, report: Callable[[str], None] = done) -> Outcome:
    """Run `daily_snapshots` for the days from first to last, in one run."""
    tags = {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
    }
    return _execute(Job.DAILY_SNAPSHOTS, {}, tags, None, report)


def learn(weeks: int, report: Callable[[str], None] = done) -> Outcome:
    """Run `weekly_learning` over this many weekly dates of the existing history."""
    config = {"ops": {"learn_departures": {"config": {"weeks": weeks}}}}
    return _execute(Job.WEEKLY_LEARNING, config, {}, None, report)


def deliver_messages(
    *, digest: bool = False, week: str | None = None, report: Callable[[str], None] = done
) -> Outcome:
    """Send what is due; optionally with a week's digest (None = of the last whole week)."""
    config: dict[str, Any] = {"ops__messages": {"config": {"linger_seconds": 0}}}
    if digest:
        config[DIGEST] = {"config": {} if week is None else {"week": week}}
    job = Job.WEEKLY_DIGEST if digest else Job.DELIVER_MESSAGES
    return _execute(job, {"ops": config}, {}, None, report)


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
    from tutor_pipeline.defs.common import progress, run_records

    check_dagster_database()
    with dg.DagsterInstance.get() as instance:
        _keep_connections(instance)
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
                tags={**_IN_THE_UI, run_records.PROCESS_TAG: run_records.this_process(), **tags},
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
    outcome.seconds["checks"] = sum(
        seconds for step, seconds in outcome.seconds.items() if _is_of_checks(step)
    )
    for name in ("rules", "write"):
        outcome.seconds[name] = sum(
            float(outcome.metadata.get(key, {}).get(f"{name}_seconds") or 0.0)
            for key in FINDINGS.values()
        )
    _raise_refusals(outcome)
    return outcome


def _keep_connections(instance: Any) -> None:
    """Let the instance keep its connections for a minute each.

    By default it opens one per event, about a thousand in a refresh.
    """
    instance.optimize_for_webserver(statement_timeout=0, pool_recycle=60, max_overflow=-1)


def _follow(event: Any, outcome: Outcome, report: Callable[[str], None]) -> None:
    """Record the relevant parts of an event and print them."""
    if isinstance(event, str):
        note(event)
        return
    kind = event.event_type_value
    if kind == "ASSET_MATERIALIZATION":
        key = event.asset_key.to_user_string()
        metadata = {name: entry.value for name, entry in event.materialization.metadata.items()}
        # A range of partitions is one write: print it once, though Dagster records each day.
        if key not in outcome.metadata:
            report(_line(key, metadata))
        outcome.metadata[key] = metadata
        outcome.unreadable |= metadata.get("unreadable") or {}
    elif kind == "ASSET_CHECK_EVALUATION":
        check = event.asset_check_evaluation_data
        if not check.passed:
            name = f"{check.asset_key.to_user_string()}: {check.check_name}"
            says = check.metadata["rule"].value
            outcome.failed_checks.append(name)
            if check.blocking and check.severity.value == "ERROR":
                outcome.blocking[name] = says
            warn(f"{_failing(check.metadata)} {name}: {says}")
    elif kind == "STEP_FAILURE":
        error = event.step_failure_data.error
        cause = error.cause or error
        outcome.failed[event.step_key] = (
            STOPPED_BY_A_CHECK
            if error.cls_name == "DagsterAssetCheckFailedError"
            else _message(event.step_failure_data) or str(cause.message)
        )
    elif kind == "STEP_SUCCESS":
        outcome.seconds[_stage(event.step_key)] = event.step_success_data.duration_ms / 1000


def _failing(metadata: Mapping[str, Any]) -> str:
    shown = {name: entry.value for name, entry in metadata.items()}
    if shown.get("rows_failing"):
        rows = shown["rows_failing"]
        return f"{count(rows, 'row')} {agree(rows, 'fails', 'fail')}"
    if "observed" in shown:
        return f"observed {shown['observed']}, against"
    return "cannot be evaluated:" if shown.get("status") == "errored" else "fails"


def _stage(step: str) -> str:
    return "dbt" if step == "metrics" else step


def _line(key: str, metadata: Mapping[str, Any]) -> str:
    if key in FINDINGS.values():
        counts = (
            f"{metadata[name]:,} {name}"
            for name in ("opened", "confirmed", "escalated", "resolved")
            if metadata[name] or name != "escalated"
        )
        return f"{key}: {', '.join(counts)}"
    if key == "ops/quarantine":
        return f"{key}: {metadata['quarantined']:,} of {count(metadata['rows_in'], 'incoming row')}"
    if key == "ops/messages":
        return f"{key}: {metadata['sent']:,} sent, {metadata['failed']:,} failed"
    if "counts" in metadata:
        numbers = (f"{name} {number:,}" for name, number in metadata["counts"].items())
        return f"{key}: {', '.join(numbers)}"
    rows = metadata.get("dagster/row_count")
    seconds = metadata.get("seconds")
    return (
        key
        + (f": {count(rows, 'row')}" if rows is not None else "")
        + (f" in {seconds:.1f} s" if seconds is not None else "")
    )


def _message(data: Any) -> str | None:
    failure = data.user_failure_data
    return failure.description if failure is not None else None


_CLASS = re.compile(r"(?P<path>(?:tutor_pipeline|psycopg)(?:\.\w+)*)\.(?P<name>\w+): ")
"""How the message of a failed step begins: the error's class."""


def _raise_refusals(outcome: Outcome) -> None:
    """A run returns errors as text: leave their class out, and raise what was refused."""
    for step, message in outcome.failed.items():
        if found := _CLASS.match(message):
            text = message[found.end() :].strip()
            outcome.failed[step] = text
            if found["name"] == RefusedError.__name__:
                raise RefusedError(text)

"""Schedules, in the pipeline's time zone.

When clocks change, each schedule still runs once: if its time does not exist, Dagster runs it right
after the change; if its time exists twice, Dagster runs it once.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import dagster as dg

from tutor_pipeline.defs.common.project import load_project
from tutor_pipeline.defs.jobs import asset_jobs
from tutor_pipeline.defs.metrics import metrics_assets
from tutor_pipeline.steps.names import Job
from tutor_pipeline.steps.rebuild_history import DAYS_REBUILT

DAYS_MADE_UP = 90
"""Missed nights of this many days are made automatically; older ones need a backfill."""


@dataclass(frozen=True, slots=True)
class _Nightly:
    job: str
    cron: str
    description: str


_SCHEDULES = (
    _Nightly(
        Job.DAILY_REFRESH,
        "0 3 * * *",
        "Everything, for all tutors: windows move even without new sessions.",
    ),
    _Nightly(
        Job.DAILY_SNAPSHOTS,
        "30 3 * * *",
        "Yesterday's partition of the tables with a row per day, and those of missed nights.",
    ),
    _Nightly(
        Job.RECONCILE_HISTORY,
        "0 4 * * 0",
        f"Compares the last {DAYS_REBUILT} days with a rebuild, and keeps the rebuilt rows.",
    ),
    _Nightly(
        Job.WEEKLY_LEARNING,
        "30 4 * * 0",
        "Back-tests scorers and learns from departures, after the comparison of the history.",
    ),
    _Nightly(Job.HOUSEKEEPING, "0 5 * * *", "Deletes old rows and runs."),
    _Nightly(Job.WEEKLY_DIGEST, "0 7 * * 1", "The digest of the last whole week."),
)


@dg.definitions
def definitions() -> dg.Definitions:
    """All schedules."""
    project = load_project()
    _, snapshots, _ = metrics_assets(project)
    return dg.Definitions(
        schedules=build_schedules(
            asset_jobs(project),
            snapshots.keys,
            project.settings.history_start,
            project.settings.timezone,
            project.schedules,
        )
    )


def build_schedules(
    jobs: Mapping[str, Any],
    by_day: Collection[dg.AssetKey],
    first_day: date,
    timezone: str,
    status: dg.DefaultScheduleStatus,
) -> list[dg.ScheduleDefinition]:
    """The schedules of the given jobs, by name. `by_day`: the tables with a row per day, which have
    partitions from `first_day` on.
    """
    return [
        _build(each, jobs[each.job], by_day, first_day, timezone, status)
        for each in _SCHEDULES
        if each.job in jobs
    ]


def _build(
    nightly: _Nightly,
    job: Any,
    by_day: Collection[dg.AssetKey],
    first_day: date,
    timezone: str,
    status: dg.DefaultScheduleStatus,
) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=nightly.job,
        job=job,
        cron_schedule=nightly.cron,
        execution_timezone=timezone,
        default_status=status,
        description=nightly.description,
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if nightly.job != Job.DAILY_SNAPSHOTS:
            return dg.RunRequest()
        yesterday = context.scheduled_execution_time.date() - timedelta(days=1)
        if yesterday < first_day:
            return dg.SkipReason(f"the first day is {first_day}")
        built = set.intersection(
            *(set(context.instance.get_materialized_partitions(key)) for key in by_day)
        )
        return days_request(days_due(built, first_day, yesterday))

    return schedule


def days_due(built: Collection[str], first_day: date, yesterday: date) -> tuple[date, date]:
    """Return the first and last day to make tonight: from the first day that is not in `built`
    (days as 2026-01-31), within the last 90 days, to yesterday, which is always made.
    """
    first = max(first_day, yesterday - timedelta(days=DAYS_MADE_UP - 1))
    while first < yesterday and first.isoformat() in built:
        first += timedelta(days=1)
    return first, yesterday


def days_request(days: tuple[date, date]) -> dg.RunRequest:
    """One run for all partitions from first to last."""
    first, last = days
    return dg.RunRequest(
        tags={
            "dagster/asset_partition_range_start": first.isoformat(),
            "dagster/asset_partition_range_end": last.isoformat(),
            # Nobody waits for history.
            "dagster/priority": "-10",
        }
    )

"""What runs by the clock, in the pipeline's time zone.

On a day on which clocks change each of them runs once: where its time does not exist, Dagster runs
it when the clocks have moved, where it exists twice, one time.
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

DAYS_MADE_UP = 90
"""A night that was missed is made up for within so many days; older ones take a backfill."""


@dataclass(frozen=True, slots=True)
class _Nightly:
    job: str
    cron: str
    description: str


_SCHEDULES = (
    _Nightly(
        Job.DAILY_REFRESH,
        "0 3 * * *",
        "Everything, for all tutors: windows age without new sessions.",
    ),
    _Nightly(
        Job.DAILY_SNAPSHOTS,
        "30 3 * * *",
        "Yesterday's rows of the tables with a row per day, and those of nights that were missed.",
    ),
    _Nightly(
        Job.RECONCILE_HISTORY,
        "0 4 * * 0",
        "Compare the last 90 days with a rebuild, and keep the rebuilt rows.",
    ),
    _Nightly(
        Job.WEEKLY_LEARNING,
        "30 4 * * 0",
        "How well scorers do, what is learned from who left; after the history was compared.",
    ),
    _Nightly(Job.HOUSEKEEPING, "0 5 * * *", "Delete what is old."),
    _Nightly(Job.WEEKLY_DIGEST, "0 7 * * 1", "The digest of the week that is over."),
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
    """The schedules of those jobs that are there, by name. `by_day` are the tables with a row per
    day, which can be made from `first_day` on.
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
    """The days to make tonight, first and last: from the first one that was not `built` (days as
    2026-01-31), of the last 90 at most, to yesterday, which is always made.
    """
    first = max(first_day, yesterday - timedelta(days=DAYS_MADE_UP - 1))
    while first < yesterday and first.isoformat() in built:
        first += timedelta(days=1)
    return first, yesterday


def days_request(days: tuple[date, date]) -> dg.RunRequest:
    """One run for all days from first to last."""
    first, last = days
    return dg.RunRequest(
        tags={
            "dagster/asset_partition_range_start": first.isoformat(),
            "dagster/asset_partition_range_end": last.isoformat(),
            # Nobody waits for history.
            "dagster/priority": "-10",
        }
    )

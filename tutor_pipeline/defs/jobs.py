"""Jobs: what runs together. The tag `cadence` of an asset says which job makes it."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import dagster as dg

from tutor_pipeline.defs.common.project import Project, load_project
from tutor_pipeline.defs.metrics import PARTITIONED
from tutor_pipeline.defs.quality import REPORT, suite_check_keys
from tutor_pipeline.steps.names import Cadence, Job
from tutor_pipeline.steps.rebuild_history import DAYS_REBUILT, HISTORY_CHECKS


@dg.definitions
def definitions() -> dg.Definitions:
    """All jobs except the refresh after sessions, which is not a selection of assets."""
    return dg.Definitions(jobs=list(asset_jobs(load_project()).values()))


@cache
def asset_jobs(project: Project) -> Mapping[str, Any]:
    """The jobs by name, for sensors and schedules."""
    suites = dg.AssetSelection.checks(*suite_check_keys(project))
    report = dg.AssetSelection.assets(REPORT)
    history = dg.AssetSelection.checks(*history_check_keys())
    jobs = (
        _job(
            Job.DAILY_REFRESH,
            _made(Cadence.REFRESH) | suites,
            "Computes everything as of now, for all tutors: metrics, quarantine, checks, findings,"
            " validation report.",
        ),
        # A separate job, because a job has one partitions definition.
        _job(
            Job.DAILY_SNAPSHOTS,
            _made(Cadence.DAY) - history,
            f"Builds the requested days of the tables with a row per day ({PARTITIONED}).",
        ),
        _job(
            Job.DATA_QUALITY,
            suites | report,
            "Evaluates the suites on the current tables and writes the validation report.",
        ),
        _job(
            Job.RECONCILE_HISTORY,
            history,
            f"Rebuilds the last {DAYS_REBUILT} days of the tables with a row per day and"
            " reports which rows differed.",
        ),
        _job(
            Job.WEEKLY_LEARNING,
            _made(Cadence.WEEK),
            "Back-tests every scorer once a week, learns departure_v1 from departures, and"
            " replaces the weights of the student churn score only if others are proved better.",
        ),
        _job(
            Job.HOUSEKEEPING,
            _made(Cadence.HOUSEKEEPING),
            "Deletes old outcomes of checks, passes, the ledger, runs of Dagster.",
        ),
        _job(
            Job.DELIVER_MESSAGES,
            dg.AssetSelection.assets("ops/messages"),
            "Makes messages from the outbox and sends them.",
            # People wait for messages.
            {"dagster/priority": "5", "dagster/max_retries": "0"},
        ),
        _job(
            Job.WEEKLY_DIGEST,
            _made(Cadence.DELIVERY),
            "Makes and sends the digest of the last whole week.",
        ),
    )
    return {job.name: job for job in jobs}


def history_check_keys() -> list[dg.AssetCheckKey]:
    """The checks that compare tables with a row per day with a rebuild."""
    return [dg.AssetCheckKey(dg.AssetKey(asset.split("/")), name) for asset, name in HISTORY_CHECKS]


def _made(cadence: str) -> dg.AssetSelection:
    return dg.AssetSelection.tag("cadence", cadence)


def _job(
    name: str, selection: dg.AssetSelection, description: str, tags: dict[str, str] | None = None
) -> Any:
    return dg.define_asset_job(name, selection=selection, description=description, tags=tags)

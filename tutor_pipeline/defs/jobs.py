"""Jobs: what runs together. Assets say by their tag `cadence` with what they are made."""

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
    """All jobs but the refresh after sessions, which is no selection of assets."""
    return dg.Definitions(jobs=list(asset_jobs(load_project()).values()))


@cache
def asset_jobs(project: Project) -> Mapping[str, Any]:
    """The jobs by name: what sensors and schedules start."""
    suites = dg.AssetSelection.checks(*suite_check_keys(project))
    report = dg.AssetSelection.assets(REPORT)
    history = dg.AssetSelection.checks(*history_check_keys())
    jobs = (
        _job(
            Job.DAILY_REFRESH,
            _made(Cadence.REFRESH) | suites,
            "Everything as of now, for all tutors: metrics, quarantine, checks, findings,"
            " validation report.",
        ),
        # Apart, because a job has one partitions definition.
        _job(
            Job.DAILY_SNAPSHOTS,
            _made(Cadence.DAY) - history,
            f"Tables with a row per day ({PARTITIONED}): the days asked for.",
        ),
        _job(
            Job.DATA_QUALITY,
            suites | report,
            "The suites' checks of the tables as they are, and the validation report.",
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
            "Once a week: the back-test of every scorer, what departures teach departure_v1,"
            " and the weights of the student churn score, replaced only where that is proved"
            " better.",
        ),
        _job(
            Job.HOUSEKEEPING,
            _made(Cadence.HOUSEKEEPING),
            "Delete what is old: outcomes of checks, passes, the ledger, runs of Dagster.",
        ),
        _job(
            Job.DELIVER_MESSAGES,
            dg.AssetSelection.assets("ops/messages"),
            "Make messages of what people are to be told, and send them.",
            # A person waits for it.
            {"dagster/priority": "5", "dagster/max_retries": "0"},
        ),
        _job(
            Job.WEEKLY_DIGEST,
            _made(Cadence.DELIVERY),
            "The digest of the last whole week, made and sent.",
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

"""Jobs: what runs together."""

from typing import Any

import dagster as dg

from tutor_pipeline.defs.metrics import PARTITIONED


def build_jobs(current: list[dg.AssetsDefinition], by_day: list[dg.AssetsDefinition]) -> list[Any]:
    """One job for everything as of now, one for the tables with a row per day.

    They are apart because a job has one partitions definition.
    """
    return [
        dg.define_asset_job(
            "daily_refresh",
            selection=dg.AssetSelection.assets(*current),
            description="Everything as of now, for all tutors: metrics, quarantine, findings.",
        ),
        dg.define_asset_job(
            "daily_snapshots",
            selection=dg.AssetSelection.assets(*by_day),
            description=f"Tables with a row per day ({PARTITIONED}): the days asked for.",
        ),
    ]

"""Jobs: what runs together."""

from typing import Any

import dagster as dg

from tutor_pipeline.defs.metrics import PARTITIONED


def build_jobs(
    current: list[dg.AssetsDefinition],
    by_day: list[dg.AssetsDefinition],
    checks: list[dg.AssetChecksDefinition],
    report: dg.AssetsDefinition,
    checks_of_history: list[dg.AssetChecksDefinition],
) -> list[Any]:
    """One job for everything as of now, one for the tables with a row per day (they are apart
    because a job has one partitions definition), one for the checks alone.
    """
    checked = dg.AssetSelection.checks(*checks)
    reported = dg.AssetSelection.assets(report)
    return [
        dg.define_asset_job(
            "daily_refresh",
            selection=dg.AssetSelection.assets(*current) | checked | reported,
            description="Everything as of now, for all tutors: metrics, quarantine, checks,"
            " findings, validation report.",
        ),
        dg.define_asset_job(
            "daily_snapshots",
            selection=dg.AssetSelection.assets(*by_day)
            - dg.AssetSelection.checks(*checks_of_history),
            description=f"Tables with a row per day ({PARTITIONED}): the days asked for.",
        ),
        dg.define_asset_job(
            "data_quality",
            selection=checked | reported,
            description="The suites' checks of the tables as they are, and the validation report.",
        ),
    ]

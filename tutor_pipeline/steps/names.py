"""Names of jobs and groups that people choose in the UI and that the command line launches.

They are plain strings, as Dagster stores them.
"""

from __future__ import annotations


class Job:
    """Names of jobs."""

    DAILY_REFRESH = "daily_refresh"
    DAILY_SNAPSHOTS = "daily_snapshots"
    DATA_QUALITY = "data_quality"
    POST_SESSION_REFRESH = "post_session_refresh"
    RECONCILE_HISTORY = "reconcile_history"
    WEEKLY_LEARNING = "weekly_learning"
    HOUSEKEEPING = "housekeeping"
    DELIVER_MESSAGES = "deliver_messages"
    WEEKLY_DIGEST = "weekly_digest"


class Group:
    """Groups of assets. dbt models are grouped by their schema."""

    SOURCE = "source"
    QUALITY = "quality"
    SCORES = "scores"
    FINDINGS = "findings"
    DELIVERY = "delivery"
    OPERATIONS = "operations"


class Cadence:
    """Values of the tag `cadence`: what makes an asset."""

    REFRESH = "refresh"  # every full refresh
    DAY = "day"  # a row per day
    WEEK = "week"  # what learning reads and writes
    DELIVERY = "delivery"
    HOUSEKEEPING = "housekeeping"

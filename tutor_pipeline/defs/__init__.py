"""What Dagster runs and shows: one file per concern, loaded by itself.

Belongs here: declarations of assets, checks, jobs, schedules and sensors, and what the UI shows of
them. `common` holds what they share. Does not belong here: what runs inside; that is in `steps`.
"""

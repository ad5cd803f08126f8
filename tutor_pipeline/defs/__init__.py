"""The Dagster definitions: one module per concern, loaded automatically.

Belongs here: declarations of assets, checks, jobs, schedules and sensors, and their metadata for
the UI. `common` holds what they share. Does not belong here: what they run, which is in `steps`.
"""

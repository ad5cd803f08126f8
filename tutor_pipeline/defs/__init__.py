"""Dagster only: one adapter per stage over the rooms, plus resources and automation.

Belongs here: assets, checks, jobs, metadata for the UI.
Does not belong here: what a metric, a rule or an alert means.
"""

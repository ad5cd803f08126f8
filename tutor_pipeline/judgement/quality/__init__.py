"""Data quality: checks of the tables, and the guard that refuses to derive from bad ones.

Belongs here: the suites (data), running them (`run`, the only importer of Great Expectations),
their outcomes (`results`) and the guard before each derived table (`guard`).
Does not belong here: which rows are quarantined (dbt's `session_rows`), reporting.
"""

"""The CSV import: reads files, checks values, writes the platform's tables.

Belongs here: the format, and everything from a file's bytes to a row.
Does not belong here: the quarantine of bad rows (`sources.quarantine`).
"""

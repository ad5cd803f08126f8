"""The CSV import: reading files, checking values, writing the platform's tables.

Belongs here: the format, and everything from a file's bytes to a row.
Does not belong here: what happens with rows that are set aside (`sources.quarantine`).
"""

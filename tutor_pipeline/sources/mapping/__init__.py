"""Mapping: how a platform calls its tables, columns and values, read from a file.

Belongs here: the file, its SQL, and what is wrong in it.
Does not belong here: reading the mapped tables (`sources.relations`).
"""

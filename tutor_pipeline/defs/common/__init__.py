"""What definitions share: the project as it was loaded, the resource, outcomes of checks, records
of runs. Nothing in this folder is a definition of its own.
"""

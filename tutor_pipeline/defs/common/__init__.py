"""What definitions share: the loaded project, the resource, outcomes of checks, records of runs.
Nothing in this package is a definition itself.
"""

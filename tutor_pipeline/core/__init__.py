"""What every other package builds on.

Belongs here: errors, settings, paths, the types that packages exchange, formatting, reading YAML,
and `warehouse`: access to PostgreSQL.
Does not belong here: what a metric, a rule or a score means.
"""

"""The ground that every other package stands on.

Belongs here: errors, settings, paths, the types that packages exchange, values as people read
them, and `warehouse`: where PostgreSQL is and how to talk to it.
Does not belong here: what a metric, a rule or a score means.
"""

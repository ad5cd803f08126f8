"""Access to PostgreSQL.

Belongs here: the embedded server, connections, schema names, migrations, the header of a refresh.
Does not belong here: what a metric, a rule or a score means.
"""

"""The steps of a refresh, and of every other job, as plain functions without Dagster.

A refresh takes the changes, builds the tables, checks them, scores, evaluates rules, queues
messages and settles the ledger. `order` defines this sequence. `refresh_after_sessions` runs it for
the tutors touched, in one transaction. The assets in `defs` run it for everybody, one step each.

Belongs here: which functions of the packages below run, in which order and transaction.
Does not belong here: the definition of a metric, a rule or a message; anything of Dagster.
"""

"""The steps of a refresh, and of all else that runs, as plain functions that know no Dagster.

A refresh takes what changed, builds the tables, checks them, scores, judges, notes what people are
told, and settles the ledger: `order` says so once. `refresh_after_sessions` does all of it for the
tutors touched, in one transaction; the assets in `defs` do it for everybody, one step each.

Belongs here: which functions of the packages below run after which, in which transaction.
Does not belong here: what a metric, a rule or a message is, and anything of Dagster.
"""

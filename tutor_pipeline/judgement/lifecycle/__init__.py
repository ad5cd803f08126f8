"""From finding to row with a history: reconcile (pure) and store (one transaction).

Belongs here: what becomes of a finding, and the writing of it.
Does not belong here: what a rule says (`rules`), how a metric is computed (dbt).
"""

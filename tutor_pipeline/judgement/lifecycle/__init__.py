"""The rows of findings and their history.

Belongs here: deciding what becomes of a finding (`reconcile`, pure), storing it (`store`), and what
people do to alerts and rules (`alert_actions`, `overrides`).
Does not belong here: what a rule says (`rules`), how a metric is computed (dbt).
"""

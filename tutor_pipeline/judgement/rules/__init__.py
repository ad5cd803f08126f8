"""Rules as data, and the pure engine that evaluates them.

Belongs here: the catalogue (`catalogue/*.yml`), its parser and checks, the evaluation of rows.
Does not belong here: how a metric is computed (dbt), what becomes of a finding (`lifecycle`).
"""

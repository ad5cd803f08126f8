"""The metrics that dbt builds: running dbt, and what its tables offer.

Belongs here: calling dbt in this process, the catalogue of metric columns, reading wide rows.
Does not belong here: how a metric is computed. That is SQL, in `dbt_project`.
"""

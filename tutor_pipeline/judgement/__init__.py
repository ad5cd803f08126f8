"""What the metrics mean: whether the data holds (`quality`), what rules say of each tutor
(`rules`), who is at risk (`scores`), and what becomes of a finding (`lifecycle`).

Belongs here: decisions about people and data, and where they are kept.
Does not belong here: how a metric is computed (dbt), who is told (`people`).
"""

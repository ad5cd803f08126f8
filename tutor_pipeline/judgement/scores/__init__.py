"""Who is at risk, and why.

Belongs here: scorers (pure, over rows of metrics), what they learn, how well they do, and where
their scores are kept (`store`, `weights`). `panel` is all scorers of tutors together.
Does not belong here: metrics (dbt), what becomes of a high score (`rules`, `lifecycle`).
"""

"""Who is at risk, and why. For now: the weights of the student churn score.

Belongs here: scorers and what they are configured with.
Does not belong here: metrics (dbt), what becomes of a high score (`rules`, `lifecycle`).
"""

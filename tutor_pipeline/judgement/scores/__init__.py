"""Who is at risk, and why.

score             the shape of every score
signals           signals_v1: the rule of six signals
reliability       reliability_v1: no-shows, reschedules and late starts
health            health_v1 and student_health_v1
segments          segments from health and burnout; recommendations: advice from both
weighted          weighted_v1: the churn score of students; churn_weights, refinement: its weights
departure         departure_v1 and student_departure_v1: the forecasts of who leaves
tutor_scorers     all scorers of tutors together
evaluation        figures with intervals; backtest, crossval, known_truth, leakage use them
storage           scores, and what scorers have learned, in the database

Belongs here: scorers (pure, over rows of metrics), what they learn, and how well they do.
Does not belong here: metrics (dbt), what follows from a high score (`rules`, `lifecycle`).
"""

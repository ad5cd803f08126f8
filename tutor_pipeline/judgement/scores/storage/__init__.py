"""Scores, and what scorers have learned, in the database: the only part that knows it.

score_tables      scores, the champion's risk, health and segments
versions          what scorers have learned: references and versions of models
churn_weights     the versions of the weights of weighted_v1
feature_log       what the evidence said on the day it was new
evidence_history  the evidence of past weeks

Belongs here: reading and writing, in the caller's transaction.
Does not belong here: computing. The scorers are pure and import nothing from here.
"""

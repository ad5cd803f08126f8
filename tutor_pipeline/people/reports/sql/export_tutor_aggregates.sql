select
    metrics.tutor_id,
    metrics.sessions_30d as total_sessions_30d,
    metrics.sessions_7d as total_sessions_7d,
    metrics.avg_rating_30d,
    metrics.avg_rating_7d,
    metrics.avg_engagement_30d as avg_engagement_score,
    metrics.avg_empathy_30d as avg_empathy_score,
    metrics.avg_clarity_30d as avg_clarity_score,
    metrics.avg_student_satisfaction_30d as avg_student_satisfaction,
    metrics.first_session_count_90d as first_session_count,
    metrics.first_session_avg_rating_90d as first_session_avg_rating,
    initcap(metrics.poor_first_session_flag::text) as poor_first_session_flag,
    metrics.recommendation_rate_30d as recommendation_rate,
    metrics.technical_issue_rate_30d as technical_issue_rate,
    metrics.avg_sentiment_7d as sentiment_trend_7d,
    signals.score as churn_probability,
    signals.level as churn_risk_level,
    -- The points behind the score: poor first sessions give two.
    round(signals.score / {point})::integer as churn_signals_detected
from {marts}.tutor_aggregates as metrics
left join lateral (
    select
        scores.score,
        scores.level
    from {ops}.tutor_scores as scores
    where scores.tutor_id = metrics.tutor_id and scores.scorer = 'signals_v1'
    order by scores.as_of desc
    limit 1
) as signals on true
order by metrics.tutor_id

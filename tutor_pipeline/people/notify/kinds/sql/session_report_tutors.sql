-- The averages are of 30 days and include the reported sessions.
select
    tutors.tutor_id,
    tutors.name,
    aggregates.is_high_reschedule,
    aggregates.sessions_7d,
    aggregates.sessions_30d,
    aggregates.sessions_90d,
    aggregates.reschedule_rate_7d,
    aggregates.reschedule_rate_30d,
    aggregates.reschedule_rate_90d,
    aggregates.avg_session_score_30d,
    aggregates.avg_engagement_30d,
    aggregates.avg_rating_30d,
    aggregates.avg_empathy_30d,
    aggregates.avg_clarity_30d,
    aggregates.avg_talk_ratio,
    (
        select
            json_agg(json_build_object(
                'insight_type', insights.insight_type,
                'display_text', insights.display_text,
                'coaching_tip', insights.coaching_tip
            ) order by insights.detected_at desc, insights.category asc)
        from {ops}.tutor_insights as insights
        where
            insights.tutor_id = tutors.tutor_id
            and insights.is_active
            and insights.insight_type <> 'at_threshold'
    ) as insights,
    (
        select
            json_agg(json_build_object(
                'severity', alerts.severity, 'title', alerts.title,
                'description', alerts.description
            ) order by alerts.severity asc, alerts.triggered_date desc, alerts.alert_id asc)
        from {ops}.alerts as alerts
        where
            alerts.tutor_id = tutors.tutor_id
            and alerts.subject_kind = 'tutor'
            and alerts.resolved_at is null
            and (alerts.snoozed_until is null or alerts.snoozed_until <= %(now)s)
    ) as alerts
from {marts}.dim_tutors as tutors
left join {marts}.tutor_aggregates as aggregates on tutors.tutor_id = aggregates.tutor_id
where tutors.tutor_id = any(%(tutors)s::text[])

select
    alerts.tutor_id,
    alerts.alert_id,
    alerts.subject_kind as about_kind,
    alerts.subject_id as about_id,
    alerts.alert_type,
    alerts.severity,
    alerts.title,
    alerts.description,
    alerts.recommended_action,
    alerts.evidence_session_ids,
    alerts.excess,
    alerts.triggered_date,
    alerts.acknowledged_at,
    alerts.acknowledged_by,
    alerts.owner,
    alerts.snoozed_until,
    alerts.resolved_at,
    tutors.name,
    aggregates.is_high_reschedule,
    aggregates.sessions_30d,
    aggregates.last_session_at,
    health.segment,
    health.recommendations
from {ops}.alerts as alerts
inner join unnest(%(tutors)s::text[], %(alerts)s::text[]) as wanted (tutor_id, alert_id)
    on alerts.tutor_id = wanted.tutor_id and alerts.alert_id = wanted.alert_id
-- What is known of a tutor is said of alerts about the tutor alone.
left join {marts}.dim_tutors as tutors
    on alerts.tutor_id = tutors.tutor_id and alerts.subject_kind = 'tutor'
left join {marts}.tutor_aggregates as aggregates
    on alerts.tutor_id = aggregates.tutor_id and alerts.subject_kind = 'tutor'
left join {ops}.tutor_health as health
    on alerts.tutor_id = health.tutor_id and alerts.subject_kind = 'tutor'

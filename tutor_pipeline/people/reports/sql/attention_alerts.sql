-- The open alerts of some tutors, one row per tutor.
select
    tutor_id,
    json_agg(json_build_object(
        'alert_id', alert_id,
        'alert_type', alert_type,
        'severity', severity,
        'title', title,
        'description', description,
        'recommended_action', recommended_action,
        'evidence_session_ids', evidence_session_ids,
        'triggered_date', triggered_date,
        'owner', owner,
        'acknowledged_by', acknowledged_by,
        'acknowledged_note', acknowledged_note
    ) order by severity asc, triggered_date desc, alert_id asc) as alerts
from {ops}.alerts
where
    tutor_id = any(%(tutors)s::text[])
    and subject_kind = 'tutor'
    and resolved_at is null
    and (snoozed_until is null or snoozed_until <= now())
group by tutor_id

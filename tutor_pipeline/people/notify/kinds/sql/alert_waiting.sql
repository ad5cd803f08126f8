-- Open alerts that nobody acknowledged and that are not snoozed: critical ones, and those whose
-- snooze ended not long ago.
select
    alerts.tutor_id,
    alerts.alert_id,
    alerts.severity,
    alerts.snoozed_until,
    alerts.owner,
    max(events.event_no) filter (where events.event = 'snoozed') as snooze_no,
    max(events.at) filter (where events.event = 'excused' and excuses.undone_at is null)
        as excused_at
from {ops}.alerts as alerts
left join {ops}.alert_events as events
    on alerts.tutor_id = events.tutor_id and alerts.alert_id = events.alert_id
left join {ops}.session_excuses as excuses
    on
        events.event = 'excused'
        and alerts.tutor_id = excuses.tutor_id
        and (events.details ->> 'excuse_id')::bigint = excuses.excuse_id
where
    alerts.resolved_at is null
    and alerts.acknowledged_at is null
    and (alerts.snoozed_until is null or alerts.snoozed_until <= %(now)s)
    and (alerts.severity = 'critical' or alerts.snoozed_until > %(ended_since)s)
group by
    alerts.tutor_id, alerts.alert_id, alerts.severity, alerts.snoozed_until, alerts.owner

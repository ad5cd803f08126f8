with runs as (
    select run_id
    from {ops}.reconcile_runs
    where kind = 'alert' and applied_at > %(since)s
),

happened as (
    select
        alerts.tutor_id,
        alerts.severity,
        events.event,
        events.details ->> 'resolution' as resolution
    from {ops}.alert_events as events
    inner join {ops}.alerts
        on events.tutor_id = alerts.tutor_id and events.alert_id = alerts.alert_id
    where events.run_id in (select runs.run_id from runs)
)

select
    count(*) filter (where resolution = 'profile_switched') as closed,
    count(*) filter (where resolution = 'profile_switched' and severity = 'critical') as critical,
    count(distinct nullif(tutor_id, '')) filter (where resolution = 'profile_switched') as tutors,
    count(*) filter (where resolution = 'rule_retired') as retired,
    count(*) filter (where event = 'opened') as opened
from happened

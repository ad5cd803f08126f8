-- What became of the critical alerts that ended in some days, by type and (alert_type null) of all.
with ended as (
    select
        alerts.tutor_id,
        alerts.alert_id,
        alerts.alert_type,
        alerts.triggered_date,
        alerts.resolved_at,
        alerts.resolution,
        max(events.event_no) filter (where events.event = 'resolved') as ended_no
    from {ops}.alerts as alerts
    inner join {ops}.alert_events as events
        on alerts.tutor_id = events.tutor_id and alerts.alert_id = events.alert_id
    where
        alerts.severity = 'critical'
        and alerts.resolved_at > %(since)s
        and alerts.resolved_at <= %(until)s
    group by alerts.tutor_id, alerts.alert_id
),

happened as (
    select
        ended.tutor_id,
        ended.alert_id,
        min(events.at) filter (where events.event = 'acknowledged') as acknowledged_at,
        bool_or(
            events.event = 'excused'
            or (events.event = 'acknowledged' and events.details ? 'note')
            or (events.event = 'assigned' and events.details ? 'owner')
        ) as has_act
    from ended
    inner join {ops}.alert_events as events
        on ended.tutor_id = events.tutor_id and ended.alert_id = events.alert_id
    -- A run closes an alert as of its beginning; what came before in the history came before.
    where events.event_no < ended.ended_no
    group by ended.tutor_id, ended.alert_id
),

noted as (
    select distinct
        ended.tutor_id,
        ended.alert_id
    from ended
    inner join {ops}.notes as notes
        on ended.tutor_id = notes.tutor_id and ended.alert_id = notes.alert_id
    where notes.at <= ended.resolved_at
),

outcomes as (
    select
        ended.alert_type,
        ended.resolution = any(%(by_hand)s)
        or ended.resolution = 'excused'
        or coalesce(happened.has_act, false)
        or noted.alert_id is not null as is_acted_on,
        ended.resolution = 'not_actionable' as is_not_actionable,
        extract(epoch from happened.acknowledged_at - ended.triggered_date) / 3600 as hours
    from ended
    left join happened
        on ended.tutor_id = happened.tutor_id and ended.alert_id = happened.alert_id
    left join noted on ended.tutor_id = noted.tutor_id and ended.alert_id = noted.alert_id
)

select
    grouped.alert_type,
    count(*)::integer as ended,
    (count(*) filter (where outcomes.is_acted_on))::integer as acted_on,
    (count(*) filter (where outcomes.is_not_actionable))::integer as not_actionable,
    count(outcomes.hours)::integer as acknowledged,
    avg(outcomes.hours)::double precision as mean_hours_to_acknowledge
from outcomes
cross join lateral (values (outcomes.alert_type), (null)) as grouped (alert_type)
group by grouped.alert_type
order by grouped.alert_type is null asc, ended desc, grouped.alert_type asc

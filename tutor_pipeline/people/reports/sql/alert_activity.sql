with completed as (
    select sum(completed) as sessions
    from {ops}.session_days
    where session_on >= %(since)s
),

counted as (
    select
        grouped.alert_type,
        count(*) filter (where event = 'opened') as opened,
        count(*) filter (where event = 'escalated') as escalated,
        count(*) filter (where event = 'acknowledged') as acknowledged,
        count(*) filter (where event = 'snoozed') as snoozed,
        count(*) filter (where resolved = 'by hand') as resolved_by_hand,
        count(*) filter (where resolved = 'auto') as resolved_auto,
        count(*) filter (where resolved = 'retired') as resolved_retired,
        count(*) filter (where event = 'reopened') as reopened,
        count(*) filter (where resolved = 'by hand' and resolution = 'coached')
            as coached,
        count(*) filter (where resolved = 'by hand' and resolution = 'not_actionable')
            as not_actionable,
        avg(hours) filter (where event = 'acknowledged') as mean_hours_to_acknowledge,
        percentile_cont(0.5) within group (order by hours)
        filter (where event = 'acknowledged') as median_hours_to_acknowledge,
        avg(hours) filter (where resolved in ('by hand', 'auto'))
            as mean_hours_to_resolve,
        percentile_cont(0.5) within group (order by hours)
        filter (where resolved in ('by hand', 'auto')) as median_hours_to_resolve,
        count(distinct session_id) filter (where event = 'opened')
            as sessions_that_opened
    from {ops}.alert_history as history
    -- Each event counts in the row of its type and in the row of all types.
    cross join lateral (values (history.alert_type), (null)) as grouped (alert_type)
    where history.day >= %(since)s
    group by grouped.alert_type
)

select
    counted.*,
    not_actionable::double precision / nullif(resolved_by_hand, 0)
        as not_actionable_share,
    coached::double precision / nullif(resolved_by_hand, 0) as coached_share,
    completed.sessions as sessions_completed,
    sessions_that_opened::double precision / nullif(completed.sessions, 0)
        as opened_session_share
from counted
cross join completed
order by counted.alert_type is null asc, counted.opened desc, counted.alert_type asc

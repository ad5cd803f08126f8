with wanted as (
    select * from unnest(%(alert_ids)s::text[]) as given (alert_id)
)

select
    held.tutor_id,
    held.alert_id,
    held.subject_kind,
    held.subject_id,
    held.acknowledged_at,
    held.snoozed_until,
    held.resolved_at,
    held.owner,
    newest.alert_id as newest_id,
    newest.resolved_at is null as newest_is_open,
    happened.event_no as events,
    happened.event as newest_event,
    happened.actor as newest_actor
from {ops}.alerts as held
cross join
    lateral (
        select
            same.alert_id,
            same.resolved_at
        from {ops}.alerts as same
        where
            same.tutor_id = held.tutor_id
            and same.subject_kind = held.subject_kind
            and same.subject_id = held.subject_id
            and same.alert_type = held.alert_type
        order by same.occurrence desc
        limit 1
    ) as newest
cross join
    lateral (
        select
            event.event_no,
            event.event,
            event.actor
        from {ops}.alert_events as event
        where event.tutor_id = held.tutor_id and event.alert_id = held.alert_id
        order by event.event_no desc
        limit 1
    ) as happened
where held.alert_id in (select wanted.alert_id from wanted)

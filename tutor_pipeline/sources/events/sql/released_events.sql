-- Events no longer wait for these rows; those that wait for nothing else are applied.
update {ops}.event_inbox as stored set
    waits_on = rest.waits_on,
    state = case when rest.waits_on = '{{}}' then 'applied' else stored.state end,
    state_at = clock_timestamp(),
    reasons = case when rest.waits_on = '{{}}' then '{{}}' else stored.reasons end
from (
    select
        waiting.received_no,
        array(
            select each.name
            from unnest(waiting.waits_on) as each (name)
            where each.name <> all(%(names)s::text[])
        ) as waits_on
    from {ops}.event_inbox as waiting
    where waiting.state = 'quarantined' and waiting.waits_on && %(names)s::text[]
) as rest
where stored.received_no = rest.received_no
returning stored.received_no

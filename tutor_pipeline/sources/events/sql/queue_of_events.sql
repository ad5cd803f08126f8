-- How many events are not applied, and since when the oldest waits.
select
    count(*) filter (where state = 'waiting') as waiting,
    min(received_at) filter (where state = 'waiting') as oldest_at,
    count(*) filter (where state = 'quarantined') as quarantined,
    count(*) filter (where state = 'unknown') as unknown,
    count(*) filter (where state = 'dead') as dead
from {ops}.event_inbox
where state <> 'applied'

-- The events that wait longest.
select
    received_no,
    source,
    event_id,
    body
from {ops}.event_inbox
where state = 'waiting'
order by received_no
limit %(most)s

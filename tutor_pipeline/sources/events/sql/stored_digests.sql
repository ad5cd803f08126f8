-- The digests of events that are stored.
select
    stored.source,
    stored.event_id,
    stored.digest
from {ops}.event_inbox as stored
inner join unnest(%(sources)s::text[], %(event_ids)s::text[]) as wanted (source, event_id)
    on stored.source = wanted.source and stored.event_id = wanted.event_id

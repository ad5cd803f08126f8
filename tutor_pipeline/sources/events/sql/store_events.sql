-- Stores events whose id is new. Returns their ids, each once.
insert into {ops}.event_inbox (
    source,
    event_id,
    type,
    body,
    digest,
    tutor_id,
    student_id,
    session_id,
    received_at,
    state_at
)
select
    new.*,
    clock_timestamp() as received_at,
    clock_timestamp() as state_at
from unnest(
    %s::text[], %s::text[], %s::text[], %s::text[], %s::bytea[], %s::text[], %s::text[], %s::text[]
) as new (source, event_id, type, body, digest, tutor_id, student_id, session_id)
on conflict (source, event_id) do nothing
returning source, event_id

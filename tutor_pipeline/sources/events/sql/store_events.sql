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
    new.source,
    new.event_id,
    new.type,
    new.body,
    new.digest,
    new.tutor_id,
    new.student_id,
    new.session_id,
    clock_timestamp() as received_at,
    clock_timestamp() as state_at
from
    unnest(
        %(source)s::text[],
        %(event_id)s::text[],
        %(type)s::text[],
        %(body)s::text[],
        %(digest)s::bytea[],
        %(tutor_id)s::text[],
        %(student_id)s::text[],
        %(session_id)s::text[]
    ) as new (source, event_id, type, body, digest, tutor_id, student_id, session_id)
on conflict (source, event_id) do nothing
returning source, event_id

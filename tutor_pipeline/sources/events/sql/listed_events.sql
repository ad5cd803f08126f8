-- Events, the newest first.
select
    received_no,
    source,
    event_id,
    type,
    received_at,
    event_at,
    state,
    state_at,
    reasons,
    waits_on,
    error,
    tutor_id,
    session_id
from {ops}.event_inbox
where
    state = any(%(states)s)
    and (%(source)s::text is null or source = %(source)s)
    and (%(type)s::text is null or type = %(type)s)
    and (
        %(about)s::text is null or %(about)s in (event_id, tutor_id, student_id, session_id)
    )
order by received_no desc
limit %(most)s

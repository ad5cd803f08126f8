-- Quarantined events as entries of the quarantine.
select
    'events:' || source as source,
    event_id as row_key,
    left(coalesce(session_id, tutor_id, student_id, event_id), %(max_key)s) as business_key,
    null::text as file,
    null::bigint as line,
    jsonb_strip_nulls(jsonb_build_object(
        'type', type, 'session_id', session_id, 'tutor_id', tutor_id, 'student_id', student_id
    )) as payload,
    null::text as raw,
    reasons
from {ops}.event_inbox
where received_no = any(%(numbers)s)

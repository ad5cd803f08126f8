-- What names somebody who was erased: only that it came is kept.
update {ops}.event_inbox set
    state = 'dropped',
    state_at = clock_timestamp(),
    body = '',
    digest = '',
    tutor_id = null,
    student_id = null,
    session_id = null,
    reasons = '{{}}',
    waits_on = '{{}}',
    error = null
where received_no = any(%(numbers)s)

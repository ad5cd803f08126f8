-- The sessions in which events say that a student took part.
select session_id
from {ops}.event_versions
where
    session_id is not null
    and (
        kept ->> 'student_id' = any(%(ids)s)
        or (table_name = 'session_students' and row_key[2] = any(%(ids)s))
    )
union
select session_id
from {ops}.event_inbox
where student_id = any(%(ids)s) and session_id is not null

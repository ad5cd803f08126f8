-- The sessions that events say are a tutor's.
select session_id
from {ops}.event_versions
where table_name = 'sessions' and tutor_id = any(%(ids)s)
union
select session_id
from {ops}.event_inbox
where tutor_id = any(%(ids)s) and session_id is not null

select
    session_on as day,
    count(*) as completed
from {marts}.fct_sessions
where
    session_on >= %(since)s
    and scheduled_start <= %(as_of)s
    and status = 'completed'
group by session_on

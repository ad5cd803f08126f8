select
    (scheduled_start at time zone 'UTC')::date as day,
    count(*) as completed
from {marts}.fct_sessions
where
    -- At most a day from the day of UTC; this one has an index.
    session_on >= %(since)s - 1
    and scheduled_start >= %(since)s::timestamp at time zone 'UTC'
    and scheduled_start <= %(as_of)s
    and status = 'completed'
group by (scheduled_start at time zone 'UTC')::date

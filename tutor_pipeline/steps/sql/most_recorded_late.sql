-- The day on which something was recorded of the most sessions too late for their own day, and how
-- many they are. What counts as recorded is that of recorded_later.sql.
with recorded as (
    select
        session_on,
        (greatest(
            case when imports.created_on is null then created_at end,
            audio_created_at,
            feedback_submitted_at
        ) at time zone %(timezone)s)::date as recorded_on
    from {marts}.fct_sessions
    left join {intermediate}.int_import_days as imports
        on
            imports.recorded = 'sessions'
            and (created_at at time zone %(timezone)s)::date = imports.created_on
    where session_on <= %(until)s and status not in ('scheduled', 'in_progress')
)

select
    recorded_on,
    count(*)::integer as sessions
from recorded
where recorded_on > session_on + %(settling)s
group by recorded_on
order by count(*) desc, recorded_on asc
limit 1

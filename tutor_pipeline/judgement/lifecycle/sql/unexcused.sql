-- Of some rows that closed because a session was excused, the sessions of which that was undone
-- since.
select
    held.{row_id},
    array_agg(distinct excuses.session_id) as sessions
from {ops}.{finding_table} as held
inner join {ops}.session_excuses as excuses
    on
        held.tutor_id = excuses.tutor_id
        and excuses.session_id = any(held.evidence_session_ids)
        and held.resolved_at <= excuses.undone_at
where
    held.resolution = 'excused'
    and held.tutor_id = any(%(tutors)s::text[])
    and held.{row_id} = any(%(rows)s::text[])
group by held.{row_id}

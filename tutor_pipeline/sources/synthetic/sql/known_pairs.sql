-- The newest students of each tutor, oldest first, with the sessions that they have completed.
with pairs as (
    select
        sessions.tutor_id,
        sessions.student_id,
        max(sessions.scheduled_start) as last_start,
        max(sessions.session_number - (sessions.status <> 'completed')::integer) as held,
        max(sessions.subject_id) as subject_id,
        max(sessions.subject) as subject,
        max(sessions.grade_level) as grade_level
    from {platform}.sessions
    inner join {platform}.students on sessions.student_id = students.user_id
    where
        sessions.scheduled_start > %(since)s
        and sessions.session_number is not null
        and students.status is distinct from 'churned'
    group by sessions.tutor_id, sessions.student_id
),

ranked as (
    select
        pairs.*,
        row_number() over (
            partition by pairs.tutor_id order by pairs.last_start desc, pairs.student_id asc
        ) as place
    from pairs
)

select
    tutor_id,
    student_id,
    held,
    coalesce(subject_id, '') as subject_id,
    coalesce(subject, '') as subject,
    coalesce(grade_level, '') as grade_level,
    %(bargain)s::float8 as bargain
from ranked
where place <= %(most)s
order by tutor_id asc, place desc

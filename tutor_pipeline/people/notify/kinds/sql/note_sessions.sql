insert into {ops}.outbox (
    audience, kind, tutor_id, subject_id, transition, occurred_at, due_at, run_id
)
select
    'sessions' as audience,
    'session' as kind,
    sessions.tutor_id,
    sessions.session_id,
    'completed' as transition,
    sessions.scheduled_start,
    %(now)s as due_at,
    %(run_id)s
from {ops}.session_changes as changes
inner join {marts}.fct_sessions as sessions
    on changes.tutor_id = sessions.tutor_id and changes.session_id = sessions.session_id
where
    changes.run_id = %(run_id)s
    and (not %(only_new)s::boolean or changes.was_scheduled_start is null)
    and sessions.status = 'completed'
    and sessions.scheduled_start between %(since)s and %(now)s
on conflict (tutor_id, kind, subject_id, transition, audience) do nothing

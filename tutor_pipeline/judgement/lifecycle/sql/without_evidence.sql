-- Open rows of some tutors (null = all) with a session in their evidence that no longer counts.
select distinct
    held.tutor_id,
    {subject_kind},
    {subject_id},
    held.{rule_id}
from {ops}.{finding_table} as held
cross join lateral unnest(held.evidence_session_ids) as shown (session_id)
left join {marts}.fct_sessions as there
    on held.tutor_id = there.tutor_id and shown.session_id = there.session_id
where
    held.resolved_at is null
    -- Whose sessions they are is known of a tutor alone.
    and held.tutor_id <> ''
    and (%(scope)s::text[] is null or held.tutor_id = any(%(scope)s::text[]))
    and there.tutor_id is null

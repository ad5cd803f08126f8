-- Open rows of some tutors (null = all) with a session in their evidence that somebody excused
-- since the row was last confirmed.
select distinct
    held.tutor_id,
    {subject_kind},
    {subject_id},
    held.{rule_id}
from {ops}.{finding_table} as held
inner join {ops}.session_excuses as excuses
    on
        held.tutor_id = excuses.tutor_id
        and excuses.session_id = any(held.evidence_session_ids)
        and held.last_confirmed_at < excuses.excused_at
where
    held.resolved_at is null
    -- What the run still read as excused.
    and (excuses.undone_at is null or excuses.undone_at > %(as_of)s)
    and (%(scope)s::text[] is null or held.tutor_id = any(%(scope)s::text[]))

select
    held.tutor_id,
    {subject_kind},
    {subject_id},
    held.{rule_id},
    held.{row_id},
    held.occurrence,
    {severity},
    {newest_event},
    held.rule_profile
from {ops}.{finding_table} as held
where
    held.resolved_at is null
    and (%(scope)s::text[] is null or held.tutor_id = any(%(scope)s::text[]))
    and {subject_kind} = any(%(about)s::text[])
order by held.tutor_id, held.{rule_id}, held.{row_id}

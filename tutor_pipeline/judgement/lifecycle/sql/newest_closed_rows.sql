select distinct on (held.tutor_id, {subject_kind}, {subject_id}, held.{rule_id})
    held.tutor_id,
    {subject_kind},
    {subject_id},
    held.{rule_id},
    held.{row_id},
    held.occurrence,
    held.resolution,
    held.resolved_at,
    {severity},
    {newest_event},
    {known_sessions}
from {ops}.{finding_table} as held
inner join
    unnest(%(tutors)s::text[], %(kinds)s::text[], %(ids)s::text[], %(rules)s::text[])
        as pair (tutor_id, subject_kind, subject_id, rule_id)
    on
        held.tutor_id = pair.tutor_id
        and {subject_kind} = pair.subject_kind
        and {subject_id} = pair.subject_id
        and held.{rule_id} = pair.rule_id
order by
    held.tutor_id asc, {subject_kind} asc, {subject_id} asc, held.{rule_id} asc,
    held.occurrence desc

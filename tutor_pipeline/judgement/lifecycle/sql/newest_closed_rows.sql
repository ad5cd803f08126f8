select distinct on (earlier.tutor_id, earlier.{rule_id})
    earlier.tutor_id,
    earlier.{rule_id},
    earlier.{row_id},
    earlier.occurrence,
    earlier.resolution,
    {known_sessions}
from {ops}.{finding_table} as earlier
inner join unnest(%(tutors)s::text[], %(rules)s::text[]) as pair (tutor_id, rule_id)
    on earlier.tutor_id = pair.tutor_id and earlier.{rule_id} = pair.rule_id
order by earlier.tutor_id asc, earlier.{rule_id} asc, earlier.occurrence desc

-- Open entries of these tutors, or of all, whose rows are no longer labelled.
update {ops}.quarantine as kept set resolved_at = %(as_of)s
from (
    select opened.row_key
    from {ops}.quarantine as opened
    left join ({rows}) as incoming on opened.row_key = incoming.row_key
    where
        opened.source = %(source)s
        and opened.resolved_at is null
        and (
            %(tutors)s::text[] is null
            or opened.payload ->> 'tutor_id' = any(%(tutors)s)
            or opened.payload ->> 'tutor_id' is null
        )
        and incoming.row_key is null
) as gone
where kept.source = %(source)s and kept.row_key = gone.row_key

-- Sessions of some tutors (null = all) that are known, that a refresh has not built, and that it
-- did not take as changed.
select
    known.tutor_id,
    known.session_id
from {ops}.session_ledger as known
left join {staging}.session_rows as built
    on known.tutor_id = built.tutor_id and known.session_id = built.session_id
left join {ops}.session_changes as taken
    on
        known.tutor_id = taken.tutor_id
        and known.session_id = taken.session_id
        and taken.run_id = %(run_id)s
where
    (%(tutors)s::text[] is null or known.tutor_id = any(%(tutors)s::text[]))
    and known.version is not null
    and built.tutor_id is null
    and taken.tutor_id is null

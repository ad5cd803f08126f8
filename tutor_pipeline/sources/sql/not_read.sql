-- Sessions of some tutors (null = all) that are known, and that a refresh has not built.
select
    known.tutor_id,
    known.session_id
from {ops}.session_ledger as known
left join {staging}.session_rows as built
    on known.tutor_id = built.tutor_id and known.session_id = built.session_id
where
    (%(tutors)s::text[] is null or known.tutor_id = any(%(tutors)s::text[]))
    and known.version is not null
    and built.tutor_id is null

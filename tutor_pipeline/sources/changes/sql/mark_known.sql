update {ops}.session_ledger as known
set
    pending_since = case when found.is_undone then null else %(now)s end,
    attempts = 0
from
    unnest(
        %(tutors)s::text[], %(sessions)s::text[], %(versions)s::bigint[], %(undone)s::boolean[]
    ) as found (tutor_id, session_id, version, is_undone)
where
    known.tutor_id = found.tutor_id
    and known.session_id = found.session_id
    and known.{version} = found.version
    and (known.pending_since is not null) = found.is_undone

-- Both sides are read once: a sum of the versions by hour costs as much as this join.
with known as (
    select
        tutor_id,
        session_id,
        {version},
        pending_since
    from {ops}.session_ledger
    where
        pending_since is not null
        or (scheduled_start > %(since)s and scheduled_start <= %(until)s)
)

select
    coalesce(incoming.tutor_id, known.tutor_id) as tutor_id,
    coalesce(incoming.session_id, known.session_id) as session_id,
    known.{version} as known_version,
    known.pending_since is not null as is_undone
from ({sessions}) as incoming
full outer join known
    on incoming.tutor_id = known.tutor_id and incoming.session_id = known.session_id
where
    (known.pending_since is null and incoming.{version} is distinct from known.{version})
    or (
        %(whole)s::boolean
        and known.pending_since is not null
        and incoming.{version} = known.{version}
    )

insert into {ops}.session_changes (
    run_id,
    tutor_id,
    session_id,
    scheduled_start,
    was_scheduled_start,
    session_version,
    version,
    pending_since
)
select
    %(run_id)s,
    coalesce(known.tutor_id, incoming.tutor_id) as tutor_id,
    coalesce(known.session_id, incoming.session_id) as session_id,
    incoming.scheduled_start,
    known.scheduled_start as was_scheduled_start,
    incoming.session_version,
    incoming.version,
    coalesce(known.pending_since, %(until)s) as pending_since
from ({known}) as known
{join} ({sessions}) as incoming -- noqa: AM05
    on known.tutor_id = incoming.tutor_id and known.session_id = incoming.session_id
where known.pending_since is not null or incoming.version is distinct from known.version

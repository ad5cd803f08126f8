insert into {ops}.session_ledger (
    tutor_id, session_id, scheduled_start, session_version, version, processed_at, run_id
)
select
    tutor_id,
    session_id,
    scheduled_start,
    session_version,
    version,
    %(now)s,
    run_id
from {ops}.session_changes
where run_id = %(run_id)s and version is not null
on conflict (tutor_id, session_id) do update set
    scheduled_start = excluded.scheduled_start,
    session_version = excluded.session_version,
    version = excluded.version,
    processed_at = excluded.processed_at,
    run_id = excluded.run_id,
    pending_since = null,
    attempts = 0

-- Changes only rows that are as they were when they were compared: a refresh may have settled some
-- meanwhile. A Citus cluster takes no parameter in this WHERE, and nothing that depends on the time
-- zone: the bounds are constants.
insert into {ops}.session_ledger as known (tutor_id, session_id, pending_since)
select
    tutor_id,
    session_id,
    %(now)s
from unnest(%(tutors)s::text[], %(sessions)s::text[]) as found (tutor_id, session_id)
-- noqa: disable=LT02
on conflict (tutor_id, session_id) do update
set pending_since = excluded.pending_since
where
    known.pending_since is null
    and (
        known.scheduled_start > {since} and known.scheduled_start <= {until}
    ) is not true

-- A tutor who is set aside waits from the moment of the next attempt.
select
    count(*) filter (where is_taken) as changes,
    count(distinct tutor_id) filter (where is_taken) as tutors,
    min(waits_since) filter (where is_taken) as oldest_at,
    count(distinct tutor_id) filter (where not is_taken) as set_aside
from (
    select
        ledger.tutor_id,
        greatest(ledger.pending_since, aside.retry_at) as waits_since,
        coalesce(aside.retry_at <= %(now)s, true) as is_taken
    from {ops}.session_ledger as ledger
    left join {ops}.set_aside_tutors as aside on ledger.tutor_id = aside.tutor_id
    where ledger.pending_since is not null
) as pending

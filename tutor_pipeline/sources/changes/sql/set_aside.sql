insert into {ops}.set_aside_tutors as aside (
    tutor_id, reason, run_id, attempts, set_aside_at, retry_at
)
values (%(tutor_id)s, %(reason)s, %(run_id)s, 1, %(now)s, %(now)s + %(first)s)
on conflict (tutor_id) do update set
    reason = excluded.reason,
    run_id = excluded.run_id,
    attempts = aside.attempts + 1,
    set_aside_at = excluded.set_aside_at,
    retry_at = excluded.set_aside_at
    + least(%(first)s * power(2, least(aside.attempts, 20)), %(longest)s)

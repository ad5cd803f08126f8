-- The past days on which a session counted before or counts now: their history is rebuilt.
insert into {ops}.history_repairs (tutor_id, changed_on, noted_at)
select distinct
    taken.tutor_id,
    day.changed_on,
    %(now)s
from {ops}.session_changes as taken
cross join
    lateral (
        values ((taken.scheduled_start at time zone %(timezone)s)::date),
        ((taken.was_scheduled_start at time zone %(timezone)s)::date)
    ) as day (changed_on)
where
    taken.run_id = %(run_id)s
    and day.changed_on < (%(now)s at time zone %(timezone)s)::date
on conflict (tutor_id, changed_on) do update set noted_at = excluded.noted_at

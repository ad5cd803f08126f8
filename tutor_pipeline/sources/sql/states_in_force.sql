-- The oldest state since a moment and the newest of all. States before one that accepted a loss, or
-- whatever comes, no longer count.
with in_force as (
    select
        state_no,
        accepted_at,
        as_of,
        counts
    from {ops}.source_states
    where
        state_no >= coalesce(
            (
                select max(state_no)
                from {ops}.source_states
                where accepted_by is not null or counts = '{{}}'
            ),
            0
        )
)

select
    accepted_at,
    as_of,
    counts
from in_force
where
    state_no = (select max(state_no) from in_force)
    or state_no = (select min(state_no) from in_force where accepted_at >= %(since)s)
order by state_no

-- The oldest state since a moment and the newest of all. States before one that accepted a loss, or
-- whatever comes, no longer count; nor do those up to the newest of another mapping.
with bounds as (
    select
        max(state_no) as newest,
        greatest(
            coalesce(max(state_no) filter (where accepted_by is not null or counts = '{{}}'), 0),
            coalesce(max(state_no) filter (where source_map <> %(source_map)s) + 1, 0)
        ) as first_in_force
    from {ops}.source_states
),

remembered as (
    select min(states.state_no) as oldest
    from {ops}.source_states as states
    cross join bounds
    where states.state_no >= bounds.first_in_force and states.accepted_at >= %(since)s
)

select
    states.accepted_at,
    states.as_of,
    states.counts
from {ops}.source_states as states
cross join bounds
cross join remembered
where
    states.state_no >= bounds.first_in_force
    and states.state_no in (bounds.newest, remembered.oldest)
order by states.state_no

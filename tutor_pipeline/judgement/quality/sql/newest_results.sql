with required as (
    select *
    from
        unnest(%(assets)s::text[], %(checks)s::text[])
        with ordinality as given (asset, check_name, position)
),

refreshed as (
    select
        run_id,
        started_at,
        built_at
    from {ops}.refresh_runs
    where is_full and snapshot_from is null
    order by started_at desc, run_id desc
    limit 1
)

select
    required.asset,
    required.check_name,
    newest.status,
    newest.says,
    newest.message,
    newest.rows_failing,
    newest.observed,
    newest.evaluated_at,
    (
        newest.run_id = refreshed.run_id
        or newest.evaluated_at >= coalesce(refreshed.built_at, 'infinity')
    )
    and (
        by_hand.run_id is null
        or newest.run_id = by_hand.run_id
        or newest.evaluated_at >= coalesce(by_hand.built_at, 'infinity')
    ) as is_of_these_tables,
    by_hand.run_id is not null as is_by_hand,
    greatest(refreshed.started_at, by_hand.started_at) as refreshed_at
from required
left join lateral (
    select results.*
    from {ops}.dq_results as results
    where results.asset = required.asset and results.check_name = required.check_name
    order by results.evaluated_at desc, results.run_id desc
    limit 1
) as newest on true
left join refreshed on true
left join lateral (
    select
        runs.run_id,
        runs.started_at,
        runs.built_at
    from {ops}.refresh_runs as runs
    where
        required.asset = any(runs.tables)
        and greatest(runs.started_at, runs.built_at) > coalesce(refreshed.started_at, '-infinity')
    order by runs.started_at desc, runs.run_id desc
    limit 1
) as by_hand on true
order by required.position

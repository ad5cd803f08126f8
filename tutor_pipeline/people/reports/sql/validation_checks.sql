-- The state of a check is its newest row since the newest full refresh began. A check that was
-- evaluated since the full refresh before it, and not since, is missing. When refreshes died early,
-- the last one whose alerts were derived counts instead: otherwise a second failure would make the
-- missing checks disappear.
with refreshes as (
    select started_at from {ops}.refresh_runs
    where is_full and snapshot_from is null
),

bounds as (
    select
        newest.started_at as newest,
        coalesce(
            (
                select max(refreshes.started_at) from refreshes
                where refreshes.started_at < (
                    select max(runs.applied_at) from {ops}.reconcile_runs as runs
                    where runs.kind = 'alert' and runs.applied_at < newest.started_at
                )
            ),
            (
                select max(refreshes.started_at) from refreshes
                where refreshes.started_at < newest.started_at
            ),
            newest.started_at,
            '-infinity'
        ) as oldest
    from (select max(started_at) as started_at from refreshes) as newest
)

select distinct on (results.asset, results.check_name)
    results.asset,
    results.check_name as name,
    results.says,
    results.owner,
    results.severity,
    results.blocking,
    case
        when
            results.evaluated_at < bounds.newest
            and header.snapshot_from is null
            -- The pipeline's own checks stand until their table is made again.
            and results.owner <> 'pipeline'
            then 'missing'
        when by_hand.built_at > results.evaluated_at and by_hand.run_id <> results.run_id
            then 'missing'
        else results.status
    end as state,
    results.observed,
    results.rows_checked,
    results.rows_failing,
    results.sample,
    results.query,
    results.message,
    results.as_of,
    results.evaluated_at,
    results.run_id
from {ops}.dq_results as results
cross join bounds
-- A run over snapshot days evaluates its own checks; a refresh does not miss them.
left join {ops}.refresh_runs as header on results.run_id = header.run_id
-- As the guard has it: a table that was built again by hand is checked again.
left join lateral (
    select
        runs.run_id,
        coalesce(runs.built_at, 'infinity') as built_at
    from {ops}.refresh_runs as runs
    where
        results.asset = any(runs.tables)
        and greatest(runs.started_at, runs.built_at) > coalesce(bounds.newest, '-infinity')
    order by runs.started_at desc, runs.run_id desc
    limit 1
) as by_hand on true
where results.evaluated_at >= bounds.oldest
order by
    results.asset asc, results.check_name asc, results.evaluated_at desc, results.run_id desc

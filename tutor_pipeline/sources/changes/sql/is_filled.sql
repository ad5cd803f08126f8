select
    exists (
        select 1 from {ops}.session_ledger
        where version is not null
    )
    or exists (
        select 1
        from ({finished_refresh}) as finished
        left join {ops}.session_changes as taken on finished.run_id = taken.run_id
        where taken.run_id is null
    ) as is_filled

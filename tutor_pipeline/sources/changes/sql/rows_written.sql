-- Whether PostgreSQL counts what is written to all of some tables, and the sum of the counts. Of a
-- partitioned table its leaves are counted; of one with heirs nobody counts. A table that is not
-- there has none.
with named as (
    select
        classes.oid,
        classes.relkind,
        classes.relkind = 'r' and classes.relhassubclass as has_heirs
    from unnest(%(names)s::text[]) as wanted (name)
    inner join pg_class as classes on classes.oid = to_regclass(wanted.name)
),

leaves as (
    select oid from named
    where relkind = 'r'
    union
    select tree.relid::oid
    from named
    cross join lateral pg_partition_tree(named.oid) as tree
    where named.relkind = 'p' and tree.isleaf
)

select
    not pg_is_in_recovery()
    and current_setting('track_counts')::boolean
    and not exists (
        select 1 from named
        where relkind not in ('r', 'p') or has_heirs
    )
    and not exists (
        select 1
        from leaves
        inner join pg_class as classes on leaves.oid = classes.oid
        where classes.relkind <> 'r'
    ) as is_counted,
    coalesce(
        (
            select
                sum(
                    pg_stat_get_tuples_inserted(oid)
                    + pg_stat_get_tuples_updated(oid)
                    + pg_stat_get_tuples_deleted(oid)
                )
            from leaves
        ),
        0
    ) as rows_written

-- The views of some names in a schema, and their columns as nulls of the same types.
select
    views.relname,
    string_agg(
        format(
            'null::%%s as %%I',
            format_type(columns.atttypid, columns.atttypmod),
            columns.attname
        ),
        ', ' order by columns.attnum
    ) as columns
from pg_class as views
inner join pg_attribute as columns
    on views.oid = columns.attrelid and columns.attnum > 0
where
    views.relnamespace = to_regnamespace(%(schema)s)::oid
    and views.relkind = 'v'
    and views.relname = any(%(names)s)
group by views.relname

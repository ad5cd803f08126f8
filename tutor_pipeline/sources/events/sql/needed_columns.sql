-- The columns of the platform's tables in which every row has a value.
select
    tables.relname,
    columns.attname
from pg_attribute as columns
inner join pg_class as tables on columns.attrelid = tables.oid
where
    tables.relnamespace = to_regnamespace(quote_ident(%(schema)s))
    and tables.relkind in ('r', 'p')
    and columns.attnum > 0
    and columns.attnotnull
    and not columns.attisdropped

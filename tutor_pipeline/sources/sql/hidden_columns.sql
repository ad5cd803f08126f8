-- What this user does not see of some columns (none named = all of a table): those that it may not
-- read, and whether row-level security hides rows from it.
with asked as (
    select
        schemas.oid as schema_oid,
        schemas.nspname,
        tables.oid as table_oid,
        tables.relname,
        columns.attname,
        columns.attnum
    from ({wanted}) as wanted
    inner join pg_namespace as schemas on wanted.schema_name = schemas.nspname
    inner join pg_class as tables
        on schemas.oid = tables.relnamespace and wanted.relation = tables.relname
    inner join pg_attribute as columns on tables.oid = columns.attrelid
    where
        columns.attname = coalesce(wanted.column_name, columns.attname)
        and columns.attnum > 0
        and not columns.attisdropped
),

judged as (
    select
        nspname,
        relname,
        attname,
        attnum,
        row_security_active(table_oid) as hides_rows,
        not has_schema_privilege(schema_oid, 'usage')
        or not has_column_privilege(table_oid, attnum, 'select') as is_refused
    from asked
)

select
    nspname,
    relname,
    array_agg(distinct attname) filter (where is_refused) as refused,
    bool_and(is_refused) as are_all,
    bool_or(hides_rows) as hides_rows
from judged
group by nspname, relname
having bool_or(is_refused) or bool_or(hides_rows)
order by relname <> 'sessions', relname

-- The columns of some of the platform's tables that this user may not read, and those of which
-- row-level security hides rows from this user.
select
    tables.relname,
    columns.attname,
    row_security_active(tables.oid) as is_hidden
from pg_attribute as columns
inner join pg_class as tables on columns.attrelid = tables.oid
inner join pg_namespace as schemas on tables.relnamespace = schemas.oid
where
    schemas.nspname = %(schema)s
    and tables.relname = any(%(tables)s)
    and columns.attnum > 0
    and not columns.attisdropped
    and (
        not has_schema_privilege(schemas.oid, 'usage')
        or not has_column_privilege(tables.oid, columns.attnum, 'select')
        or row_security_active(tables.oid)
    )

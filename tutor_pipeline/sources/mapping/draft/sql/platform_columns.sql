-- The columns of all tables and views of a schema that this user may read: type (a domain counts as
-- its base type), the table that a foreign key of this column alone refers to, values of an enum.
select
    tables.relname,
    columns.attname,
    format_type(coalesce(nullif(types.typbasetype, 0), types.oid), null) as column_type,
    (
        select others.relname
        from pg_constraint as keys
        inner join pg_class as others on keys.confrelid = others.oid
        where
            keys.contype = 'f'
            and keys.conrelid = tables.oid
            and keys.conkey = array[columns.attnum]
        order by others.relname
        limit 1
    ) as points_to,
    array(
        select labels.enumlabel::text
        from pg_enum as labels
        where labels.enumtypid = coalesce(nullif(types.typbasetype, 0), types.oid)
        order by labels.enumsortorder
    ) as enum_labels
from pg_attribute as columns
inner join pg_type as types on columns.atttypid = types.oid
inner join pg_class as tables on columns.attrelid = tables.oid
inner join pg_namespace as schemas on tables.relnamespace = schemas.oid
where
    schemas.nspname = %(schema)s
    and tables.relkind in ('r', 'p', 'v', 'm', 'f')
    and not tables.relispartition
    and columns.attnum > 0
    and not columns.attisdropped
    and has_schema_privilege(schemas.oid, 'usage')
    and has_column_privilege(tables.oid, columns.attnum, 'select')
order by tables.relname, columns.attnum

-- The columns of some of the platform's tables. A domain counts as its base type. is_unique: a
-- unique index has this column alone.
select
    tables.relname,
    columns.attname,
    format_type(coalesce(nullif(types.typbasetype, 0), types.oid), null) as column_type,
    columns.attnotnull as is_not_null,
    exists(
        select 1
        from pg_index as indexes
        where
            indexes.indrelid = columns.attrelid
            and indexes.indisunique
            and indexes.indisvalid
            and indexes.indimmediate
            and indexes.indpred is null
            and indexes.indnkeyatts = 1
            and indexes.indkey[0] = columns.attnum
    ) as is_unique
from pg_attribute as columns
inner join pg_type as types on columns.atttypid = types.oid
inner join pg_class as tables on columns.attrelid = tables.oid
inner join pg_namespace as schemas on tables.relnamespace = schemas.oid
where
    schemas.nspname = %(schema)s
    and tables.relname = any(%(tables)s)
    and tables.relkind in ('r', 'p', 'v', 'm', 'f')
    and columns.attnum > 0
    and not columns.attisdropped

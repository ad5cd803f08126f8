-- The columns of a table that has the contract's names. A domain counts as its base type.
select
    {table} as relname,
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
where
    columns.attrelid = {relation}
    and columns.attnum > 0
    and not columns.attisdropped

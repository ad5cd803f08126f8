-- The columns of a mapped table, with the types that its expressions have. A domain counts as its
-- base type.
select
    {table} as relname,
    mapped.name as attname,
    format_type(coalesce(nullif(types.typbasetype, 0), types.oid), null) as column_type,
    mapped.is_key or coalesce(columns.attnotnull, false) as is_not_null,
    mapped.is_key or exists (
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
from ({columns}) as mapped
inner join pg_type as types on mapped.kind = types.oid
left join pg_attribute as columns
    on columns.attrelid = {relation} and mapped.source = columns.attname

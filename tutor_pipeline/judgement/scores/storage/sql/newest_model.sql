-- The version in force: the newest as of a moment that was not refused, if it is promoted.
-- A version without a model, or with figures of leakage, counts although it is not promoted.
with newest as (
    select
        version,
        as_of,
        model,
        is_promoted
    from {ops}.model_versions
    where
        scorer = %(scorer)s
        and as_of <= %(as_of)s
        and (is_promoted or model = '{{}}' or metrics ? 'leakage')
    order by version desc
    limit 1
)

select
    version,
    as_of,
    model as content
from newest
where is_promoted

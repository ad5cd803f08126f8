-- The version learned last. A version without a model takes those before it out of force.
select
    learned.version,
    learned.is_promoted,
    (
        select max(acceptance.version)
        from {ops}.model_versions as acceptance
        where acceptance.accepts = learned.version
    ) as accepted_as
from {ops}.model_versions as learned
where
    learned.scorer = %(scorer)s
    and learned.leavers > 0
    and learned.accepts is null
    and (learned.is_promoted or learned.metrics ? 'leakage')
    and learned.version > {last_emptied}
order by learned.version desc
limit 1

-- Of the version accepted last. A version without a model takes those before it out of force.
select (accepted.metrics #>> '{{leakage,auc,upper}}')::float8
from {ops}.model_versions as accepted
where
    accepted.scorer = %(scorer)s
    and accepted.accepts is not null
    and accepted.version > {last_emptied}
order by accepted.version desc
limit 1

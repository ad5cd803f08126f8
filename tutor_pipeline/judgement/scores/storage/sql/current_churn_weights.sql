with in_force as (
    select max(version) as version
    from {ops}.churn_algorithm_weights
    where
        coalesce(notes, '') not like %(learned)s
        or version in (select levels.version from {ops}.churn_weight_levels as levels)
)

select
    weights.version,
    weights.factor,
    weights.weight,
    weights.effective_from,
    weights.notes,
    levels.medium_from,
    levels.high_from
from {ops}.churn_algorithm_weights as weights
inner join in_force on weights.version = in_force.version
left join {ops}.churn_weight_levels as levels on weights.version = levels.version
order by weights.weight desc, weights.factor asc

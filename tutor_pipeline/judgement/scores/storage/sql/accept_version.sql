insert into {ops}.model_versions (
    version, scorer, target, horizon_days, as_of, trained_at, rows, leavers, model, metrics,
    is_promoted, decision, accepts, accepted_by, accepted_why
)
select
    %(number)s,
    scorer,
    target,
    horizon_days,
    as_of,
    %(at)s,
    rows,
    leavers,
    model,
    metrics,
    true as is_promoted,
    %(decision)s,
    version,
    %(by)s,
    %(why)s
from {ops}.model_versions
where version = %(version)s

insert into {ops}.quarantine as kept (
    source,
    row_key,
    business_key,
    file,
    line,
    payload,
    raw,
    reasons,
    first_seen,
    last_seen
)
select
    bad.source,
    bad.row_key,
    bad.business_key,
    bad.file,
    bad.line,
    bad.payload,
    bad.raw,
    bad.reasons,
    %(as_of)s as first_seen,
    %(as_of)s as last_seen
from ({rows}) as bad
on conflict (source, row_key) do update set
    business_key = excluded.business_key,
    file = excluded.file,
    line = excluded.line,
    payload = excluded.payload,
    raw = excluded.raw,
    reasons = excluded.reasons,
    first_seen = least(kept.first_seen, excluded.first_seen),
    last_seen = greatest(kept.last_seen, excluded.last_seen),
    resolved_at = null

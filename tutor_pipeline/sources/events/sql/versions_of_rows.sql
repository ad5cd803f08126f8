-- What is known of rows, by their names.
select
    row_key,
    versions,
    deleted,
    kept,
    is_ours
from {ops}.event_versions
where row_name = any(%(names)s)

-- The rows of a table that cannot be written before one of these.
select row_key
from {ops}.event_versions
where table_name = %(table)s and kept is not null and waits_on && %(names)s::text[]

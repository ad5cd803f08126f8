-- The rows of other tables that rows wait for.
select distinct each.name
from {ops}.event_versions as waiting
cross join lateral unnest(waiting.waits_on) as each (name)
where waiting.kept is not null and each.name like '%%/%%'

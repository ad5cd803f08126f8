-- The newest refresh of all tutors, if the findings of each kind are as of it.
select newest.run_id
from ({newest_full}) as newest
inner join {ops}.reconcile_runs as made
    on newest.as_of <= made.as_of and newest.started_at <= made.applied_at
group by newest.run_id
having count(distinct made.kind) = 3

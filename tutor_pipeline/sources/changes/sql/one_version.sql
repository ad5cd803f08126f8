-- One row per tutor and session where a platform has several. Those in the window of changes count,
-- so that the version does not depend on how far back the query looks; all, where none is in it.
select
    tutor_id,
    session_id,
    session_id as id,
    max(scheduled_start) as scheduled_start,
    {version} as session_version
from (
    select
        each_row.*,
        each_row.scheduled_start > %(recent)s
        or max(each_row.scheduled_start) over (
            partition by each_row.tutor_id, each_row.session_id
        ) <= %(recent)s as is_counted
    from ({rows}) as each_row
) as marked_row
where is_counted
group by tutor_id, session_id

select
    tutors.tutor_id,
    tutors.name,
    open_alerts.*,
    (
        select count(*) from {ops}.tutor_insights as insights
        where insights.tutor_id = tutors.tutor_id and insights.is_active
    ) as insights,
    (
        select count(*) from {ops}.achievements as achievements
        where achievements.tutor_id = tutors.tutor_id and achievements.is_active
    ) as achievements
from {marts}.dim_tutors as tutors
cross join
    lateral (
        select
            count(*) as alerts,
            count(*) filter (where alerts.severity = 'critical') as critical,
            count(*) filter (where alerts.severity = 'warning') as warning
        from {ops}.alerts as alerts
        where
            alerts.tutor_id = tutors.tutor_id
            and alerts.subject_kind = 'tutor'
            and alerts.resolved_at is null
    ) as open_alerts
where tutors.tutor_id = any(%(tutors)s::text[])
order by tutors.tutor_id

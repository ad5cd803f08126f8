-- Active tutors with the figures of a list.
with needing as (
    select
        tutor_id,
        count(*) as alerts,
        count(*) filter (where severity = 'critical') as critical
    from {ops}.alerts
    where
        subject_kind = 'tutor' and {active}
    group by tutor_id
)

select
    aggregates.tutor_id,
    tutors.name,
    tutors.primary_subject,
    tutors.certification_level,
    tutors.member_since,
    aggregates.overall_score,
    aggregates.sessions_30d,
    aggregates.sessions_completed_30d,
    aggregates.avg_rating_30d,
    aggregates.completion_rate_30d,
    aggregates.reschedule_rate_30d,
    aggregates.no_show_tutor_30d,
    aggregates.days_since_last_session,
    risk.score as risk_score,
    risk.level as risk_level,
    board.rank_number,
    needing.alerts,
    needing.critical
from {marts}.tutor_aggregates as aggregates
left join {marts}.dim_tutors as tutors on aggregates.tutor_id = tutors.tutor_id
left join {ops}.current_tutor_risk as risk on aggregates.tutor_id = risk.tutor_id
left join {marts}.tutor_scoreboard as board on aggregates.tutor_id = board.tutor_id
left join needing on aggregates.tutor_id = needing.tutor_id

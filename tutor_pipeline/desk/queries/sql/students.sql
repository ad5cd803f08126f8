-- Students with health, the newest score of leaving, and who taught them last.
with risk as (
    select distinct on (student_id)
        student_id,
        score,
        level,
        status,
        reasons
    from {ops}.student_scores
    where
        target = 'student_departure'
        and as_of_on = (select max(newest.as_of_on) from {ops}.student_scores as newest)
    order by student_id asc, as_of desc
)

select
    aggregates.student_id,
    students.name,
    students.grade_level,
    aggregates.status,
    aggregates.last_tutor_id,
    aggregates.days_since_last_session,
    aggregates.sessions_completed_30d,
    aggregates.avg_session_score_90d,
    health.segment,
    health.recommendations,
    risk.score as risk_score,
    risk.level as risk_level,
    risk.reasons as risk_reasons
from {marts}.student_aggregates as aggregates
left join {marts}.dim_students as students on aggregates.student_id = students.student_id
left join {ops}.student_health as health on aggregates.student_id = health.student_id
left join risk on aggregates.student_id = risk.student_id

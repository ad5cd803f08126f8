select
    sessions.tutor_id,
    sessions.session_id,
    sessions.scheduled_start,
    sessions.status,
    sessions.subject,
    sessions.actual_duration_minutes,
    sessions.late_minutes,
    sessions.is_late,
    sessions.is_first_session,
    sessions.technical_issues,
    sessions.session_score,
    sessions.student_engagement_score,
    sessions.student_satisfaction_rating,
    sessions.empathy_score,
    sessions.clarity_score,
    sessions.tutor_talk_ratio,
    sessions.student_frustration_count
from {marts}.fct_sessions as sessions
inner join unnest(%(tutors)s::text[], %(sessions)s::text[]) as wanted (tutor_id, session_id)
    on sessions.tutor_id = wanted.tutor_id and sessions.session_id = wanted.session_id
order by sessions.tutor_id, sessions.scheduled_start, sessions.session_id

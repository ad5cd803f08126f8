{{ config(
    materialized='scoped',
    indexes=[
        {'columns': ['tutor_id', 'session_id'], 'unique': true},
        {'columns': ['tutor_id', 'session_on desc', 'scheduled_start desc', 'session_id desc']},
        {'columns': ['session_on']},
        {'columns': ['rescheduled_by']},
    ],
    meta={'distribute_by': 'tutor_id', 'dagster': {'group': 'intermediate'}},
) }}

{%- set scope = in_scope('tutor_id') %}

with

clean_rows as not materialized (
    select *
    from {{ ref('session_rows') }}
    where quarantine_reasons = '{}' and {{ scope }}
),

-- The pair's next session, whatever became of it: one that is only planned does not count.
pair_sessions as (
    select
        tutor_id,
        session_id,
        lead(scheduled_start) over (
            partition by tutor_id, student_id order by scheduled_start, session_id
        ) as next_session_at
    from clean_rows
    where student_id is not null and status not in ('scheduled', 'in_progress')
),

derived as (
    select
        clean_rows.*,
        pair_sessions.next_session_at,
        excuses.kinds as excused_kinds,
        (clean_rows.scheduled_start at time zone '{{ pipeline_timezone() }}')::date as session_on,
        coalesce(
            clean_rows.session_number = 1, clean_rows.is_first_session, false
        ) as is_first_of_pair,
        case
            when clean_rows.status = 'completed'
                then date_part('epoch', clean_rows.actual_start - clean_rows.scheduled_start) / 60
        end as late_minutes,
        coalesce(
            clean_rows.satisfaction_score, 2 * clean_rows.student_satisfaction_rating
        ) as student_satisfaction,
        coalesce(clean_rows.overall_session_score, {{ fallback_session_score('clean_rows') }})
            as session_score
    from clean_rows
    left join pair_sessions
        on
            clean_rows.tutor_id = pair_sessions.tutor_id
            and clean_rows.session_id = pair_sessions.session_id
    left join {{ excused_sessions('undone_at is null and ' ~ scope) }} as excuses
        on
            clean_rows.tutor_id = excuses.tutor_id
            and clean_rows.session_id = excuses.session_id
)

select
    tutor_id,
    session_id,
    student_id,
    session_on,
    scheduled_start,
    status,
    actual_start,
    late_minutes,
    late_minutes > {{ var('late_after_minutes') }} as is_late,
    scheduled_duration as scheduled_duration_minutes,
    actual_duration as actual_duration_minutes,
    subject_id,
    subject,
    session_number,
    is_first_of_pair as is_first_session,
    next_session_at,
    tutor_showed_up,
    student_showed_up,
    rescheduled_by,
    reschedule_reason,
    status = 'rescheduled' and coalesce(rescheduled_by = 'tutor', false) as is_tutor_reschedule,
    technical_issues,
    connection_quality,
    grade_level,
    homework_assigned,
    follow_up_booked,
    overall_session_score,
    session_score,
    tutor_talk_ratio,
    student_talk_ratio,
    student_engagement_score,
    tutor_enthusiasm_score,
    student_initiated_questions,
    student_frustration_count,
    student_confusion_count,
    tutor_checks_understanding_count,
    tutor_positive_reinforcement_count,
    open_ended_questions,
    closed_ended_questions,
    student_on_screen_attention_pct,
    student_visual_engagement_score,
    distraction_events_count,
    tutor_uses_visual_aids,
    tutor_camera_on_pct,
    active_tab_focus_pct,
    whiteboard_usage_minutes,
    screen_share_pct,
    messaging_app_detected,
    gaming_detected,
    empathy_score,
    clarity_score,
    overall_sentiment,
    student_sentiment,
    tutor_sentiment,
    student_satisfaction_rating,
    satisfaction_score,
    student_satisfaction,
    would_recommend,
    feedback_text,
    billed_amount,
    billing_tier,
    is_discounted,
    refunded_amount,
    is_disputed,
    billed_at,
    completed_at,
    created_at,
    updated_at,
    audio_created_at,
    feedback_submitted_at,
    excused_kinds
from derived
-- A tutor's sessions lie together, newest first: the order in which everything reads them.
order by tutor_id asc, session_on desc, scheduled_start desc, session_id desc

{{ config(
    materialized='scoped',
    indexes=[
        {'columns': ['tutor_id', 'session_on'], 'unique': true},
        {'columns': ['session_on']},
    ],
    meta={'distribute_by': 'tutor_id', 'rebuild_when': 'every_wide_row_is_new'},
    post_hook="{{ repair_snapshots() }}",
) }}

{#- Additive only: every rolling window is a sum of days. Sums are whole millionths. #}
{%- set header = refresh() %}

with

{#- The order lets days be grouped as they come, and keeps the planner from repeating these
    comparisons in each of the many filters. #}
sessions as (
    select
        *,
        status = 'completed' as is_completed,
        status = 'completed' and is_first_session as is_completed_first,
        next_session_at <= {{ header.as_of }} as is_followed,
        (next_session_at at time zone '{{ pipeline_timezone() }}')::date - session_on
            as days_to_next
    from {{ ref('fct_sessions') }}
    where
        scheduled_start <= {{ header.as_of }}
        and status not in ('scheduled', 'in_progress')
        and {{ in_scope('tutor_id') }}
    order by tutor_id asc, session_on desc
)

select
    tutor_id,
    session_on,

    count(*)::integer as sessions_count,
    count(*) filter (where is_completed)::integer as completed_count,
    count(*) filter (where status = 'cancelled')::integer as cancelled_count,
    count(*) filter (where status = 'no_show_tutor')::integer as no_show_tutor_count,
    count(*) filter (where status = 'no_show_student')::integer as no_show_student_count,
    count(*) filter (where is_tutor_reschedule)::integer as tutor_reschedule_count,
    case when date_part('isodow', session_on) >= 6 then count(*) else 0 end::integer
        as weekend_sessions_count,
    max(scheduled_start) filter (where is_completed) as last_completed_at,

    count(*) filter (where is_late)::integer as late_count,
    {{ sum_and_count('late_minutes', 'late_minutes', 'is_completed') }},
    count(technical_issues) filter (where is_completed)::integer as technical_known_count,
    count(*) filter (where is_completed and technical_issues)::integer as technical_issue_count,

    {{ sum_and_count('rating', 'student_satisfaction_rating', 'is_completed') }},
    count(*) filter (
        where is_completed and student_satisfaction_rating >= {{ var('positive_rating') }}
    )::integer as positive_review_count,
    count(*) filter (
        where is_completed and student_satisfaction_rating < {{ var('negative_rating') }}
    )::integer as negative_review_count,
    {{ sum_and_count('satisfaction', 'student_satisfaction', 'is_completed') }},
    count(would_recommend) filter (where is_completed)::integer as recommend_known_count,
    count(*) filter (where is_completed and would_recommend)::integer as recommended_count,

    {{ sum_and_count('score', 'session_score', 'is_completed') }},
    {{ sum_and_count('engagement', 'student_engagement_score', 'is_completed') }},
    {{ sum_and_count('attention', 'student_on_screen_attention_pct', 'is_completed') }},
    {{ sum_and_count('camera', 'tutor_camera_on_pct', 'is_completed') }},
    {{ sum_and_count('empathy', 'empathy_score', 'is_completed') }},
    {{ sum_and_count('clarity', 'clarity_score', 'is_completed') }},
    {{ sum_and_count('sentiment', 'overall_sentiment', 'is_completed') }},

    {{ sum_and_count('talk_ratio', 'tutor_talk_ratio', 'is_completed') }},
    count(*) filter (
        where is_completed and tutor_talk_ratio > {{ var('high_talk_ratio') }}
    )::integer as high_talk_count,
    count(*) filter (
        where
            is_completed
            and tutor_talk_ratio >= {{ var('balanced_talk_from') }}
            and tutor_talk_ratio <= {{ var('balanced_talk_to') }}
    )::integer as balanced_talk_count,
    {{ sum_and_count('understanding', 'tutor_checks_understanding_count', 'is_completed') }},
    {{ sum_and_count('open_questions', 'open_ended_questions', 'is_completed') }},
    {{ sum_and_count(
        'open_of_all', 'open_ended_questions',
        'is_completed and closed_ended_questions is not null'
    ) }},
    {{ sum_and_count(
        'all_questions', 'open_ended_questions::bigint + closed_ended_questions', 'is_completed'
    ) }},
    {{ sum_and_count('reinforcement', 'tutor_positive_reinforcement_count', 'is_completed') }},
    count(tutor_uses_visual_aids) filter (where is_completed)::integer as visual_aids_known_count,
    count(*) filter (where is_completed and tutor_uses_visual_aids)::integer as visual_aids_count,
    count(student_frustration_count) filter (where is_completed)::integer
        as frustration_known_count,
    count(*) filter (where is_completed and student_frustration_count >= 1)::integer
        as frustration_count,

    count(*) filter (where is_completed_first)::integer as first_session_count,
    {{ sum_and_count('first_score', 'session_score', 'is_completed_first') }},
    {{ sum_and_count('first_rating', 'student_satisfaction_rating', 'is_completed_first') }},
    count(*) filter (
        where is_completed_first and session_score < {{ var('poor_first_score') }}
    )::integer as poor_first_count,
    count(*) filter (
        where is_completed_first and session_score < {{ var('poor_first_score_recent') }}
    )::integer as poor_first_recent_count,

    count(follow_up_booked) filter (where is_completed)::integer as follow_up_known_count,
    count(*) filter (where is_completed and follow_up_booked)::integer as follow_up_count,
    count(student_id) filter (where is_completed)::integer as pair_count,
    count(*) filter (
        where
            is_completed
            and student_id is not null
            and is_followed
            and days_to_next <= {{ var('rebook_days') }}
    )::integer as pair_rebooked_count
from sessions
group by tutor_id, session_on
order by tutor_id asc, session_on desc

{{ config(
    materialized='scoped',
    indexes=[{'columns': ['tutor_id', 'session_id'], 'unique': true}],
    meta={'replaces': 'all rows'},
) }}

with

newest as (
    select *
    from {{ ref('fct_sessions') }}
    where
        scheduled_start <= {{ refresh()['as_of'] }}
        and status not in ('scheduled', 'in_progress')
    order by session_on desc, scheduled_start desc, tutor_id asc, session_id asc
    limit 20
)

select
    newest.tutor_id,
    newest.session_id,
    dim_tutors.name as tutor_name,
    newest.student_id,
    newest.scheduled_start,
    newest.status,
    newest.session_score,
    newest.student_engagement_score,
    newest.student_satisfaction_rating,
    newest.is_first_session,
    newest.is_late,
    newest.is_tutor_reschedule,
    newest.technical_issues as has_technical_issues,
    nullif(concat_ws(
        ', ',
        case newest.status
            when 'no_show_tutor' then 'the tutor did not come'
            when 'no_show_student' then 'the student did not come'
            when 'cancelled' then 'cancelled'
            when 'not_held' then 'did not take place'
            when 'rescheduled'
                then concat('rescheduled by the ', coalesce(newest.rescheduled_by, 'platform'))
        end,
        case when newest.is_late then concat('began ', round(newest.late_minutes), ' min late') end,
        case when newest.is_first_session then 'first session of the pair' end,
        case when newest.session_score < {{ var('low_score') }} then 'low score' end,
        case when newest.student_frustration_count >= 1 then 'frustrated student' end,
        case
            when newest.tutor_talk_ratio > {{ var('high_talk_ratio') }}
                then concat('tutor talked ', round(100 * newest.tutor_talk_ratio), ' %')
        end,
        case when newest.technical_issues then 'technical issues' end
    ), '') as notable
from newest
left join {{ ref('dim_tutors') }} as dim_tutors on newest.tutor_id = dim_tutors.tutor_id

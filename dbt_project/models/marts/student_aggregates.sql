{{ config(
    materialized='scoped',
    indexes=[{'columns': ['student_id'], 'unique': true}],
    meta={'distribute_by': 'student_id', 'replaces': 'all rows'},
) }}

{#-
What is known of every student as of some moments: the refresh's own (student_aggregates), or the
ends of past weeks (student_aggregates_history). One definition: a moment is a row.

What the head sets is of today; student_aggregates_history takes this text for the weeks.

moments  SQL of the rows (as_of_date, as_of): the last day of every window, and the moment up to
         which sessions count, and what was recorded of them: a rating that was given later is
         not known yet
asked    predicate on students, moments and lifetimes that the rows must meet

0. ordered     each student's sessions that count
1. lifetimes   what holds from one session of a student until the next
2. windows     sums over the sessions of the last days of each moment
3. usual_gaps  the rhythm of the platform: of who has none of their own yet
-#}
{%- set of_today %}
    select
        {{ refresh()['as_of_on'] }} as as_of_date,
        {{ refresh()['as_of'] }} as as_of
{%- endset -%}
{%- set moments = given('moments', of_today) -%}
{%- set asked = given('asked', 'true') -%}
{#- Fewer sessions with a measured engagement on either side, and their difference is chance. -#}
{%- set min_engagement_sessions = 3 -%}
{#- With fewer gaps between completed sessions a student has no rhythm yet. -#}
{%- set min_gaps = 2 -%}
{%- set so_far = 'partition by student_id order by scheduled_start, tutor_id, session_id' -%}

with

moments as (
    {{ moments }}
),

students as (
    select
        student_id,
        status,
        enrolled_since,
        churned_date
    from {{ ref('dim_students') }}
),

ordered as materialized (
    select
        student_id,
        tutor_id,
        session_id,
        session_on,
        scheduled_start,
        next_session_at,
        status,
        status = 'completed' as is_completed,
        coalesce(own_satisfaction, session_score) as satisfaction,
        session_score as recorded_score,
        student_engagement_score as recorded_engagement,
        is_discounted as recorded_discount,
        coalesce(feedback_submitted_at, '-infinity') as feedback_known_at,
        -- The platform's own score is of the session; the one in its stead is of the feedback too.
        case
            when overall_session_score is null then coalesce(feedback_submitted_at, '-infinity')
            else '-infinity'
        end as score_known_at,
        coalesce(audio_created_at, '-infinity') as engagement_known_at,
        coalesce(billed_at, '-infinity') as discount_known_at,
        count(*) filter (where status = 'completed') over so_far as completed_no,
        row_number() over (
            partition by student_id, tutor_id order by scheduled_start, session_id
        ) = 1 as is_new_tutor
    from {{ student_sessions(is_whole=true) }} as taught
    where
        student_id is not null
        and status not in ('scheduled', 'in_progress')
        and scheduled_start <= (select max(moments.as_of) from moments)
    window so_far as ({{ so_far }})
),

lifetimes as (
    select
        student_id,
        tutor_id as last_tutor_id,
        scheduled_start as since,
        coalesce(lead(scheduled_start) over student, 'infinity') as until,
        completed_no as sessions_completed_all,
        row_number() over student as sessions_all,
        count(*) filter (where is_new_tutor) over so_far as distinct_tutors_all,
        max(satisfaction) filter (where is_completed and completed_no = 1) over so_far
            as first_session_satisfaction,
        max(feedback_known_at) filter (where is_completed and completed_no = 1) over so_far
            as first_session_known_at,
        max(session_on) filter (where is_completed) over so_far as last_session_on,
        max(scheduled_start) filter (where is_completed) over so_far as last_session_at,
        (
            max(session_on) filter (where is_completed) over so_far
            - min(session_on) filter (where is_completed) over so_far
        ) / nullif(greatest(completed_no, 1) - 1, 0)::double precision as mean_gap_days
    from ordered
    window
        student as ({{ so_far }}),
        so_far as ({{ so_far }} rows unbounded preceding)
),

windows as (
    select
        ordered.student_id,
        moments.as_of_date,
        count(*)::integer as sessions_90d,
        count(*) filter (where ordered.is_completed and age.days < 30)::integer
            as sessions_completed_30d,
        {{ sum_and_count('score', 'session_score', 'is_completed') }},
        {{ sum_and_count('engagement_30d', 'engagement', 'is_completed and age.days < 30') }},
        {{ sum_and_count('engagement_prior_30d', 'engagement',
            'is_completed and age.days between 30 and 59') }},
        count(*) filter (
            where ordered.status in ('rescheduled', 'no_show_tutor', 'no_show_student')
        )::integer as reschedules_and_no_shows_90d,
        count(*) filter (where ordered.status = 'not_held')::integer as not_held_90d,
        count(known.is_discounted)::integer as billed_90d,
        count(*) filter (where known.is_discounted)::integer as discounted_90d,
        -- The pair's newest session by then stands for its tutor: each is there once.
        array_agg(
            ordered.tutor_id order by ordered.scheduled_start desc, ordered.tutor_id asc
        ) filter (
            where ordered.next_session_at is null or ordered.next_session_at > moments.as_of
        ) as tutor_ids
    from ordered
    inner join moments
        on
            ordered.scheduled_start <= moments.as_of
            and ordered.session_on > moments.as_of_date - 90
    cross join lateral (select moments.as_of_date - ordered.session_on as days) as age
    cross join lateral (
        select
            case when score_known_at <= moments.as_of then recorded_score end as session_score,
            case when engagement_known_at <= moments.as_of then recorded_engagement end
                as engagement,
            case when discount_known_at <= moments.as_of then recorded_discount end
                as is_discounted
    ) as known
    group by ordered.student_id, moments.as_of_date
),

usual_gaps as (
    select
        moments.as_of_date,
        percentile_cont(0.5) within group (order by lifetimes.mean_gap_days) as gap_days
    from moments
    inner join lifetimes on moments.as_of >= lifetimes.since and moments.as_of < lifetimes.until
    where lifetimes.sessions_completed_all > {{ min_gaps }}
    group by moments.as_of_date
),

-- Whether the platform says of anybody that they left.
told as (
    select coalesce(bool_or(status = 'churned'), false) as who_left from students
)

select
    students.student_id,
    moments.as_of,
    moments.as_of_date,
    -- Who has left since was still there then.
    case
        when students.churned_date > moments.as_of_date and students.status = 'churned'
            then 'active'
        else students.status
    end as status,
    case when students.churned_date <= moments.as_of_date then students.churned_date end
        as churned_date,
    students.enrolled_since,
    coalesce(windows.tutor_ids, '{}') as tutor_ids,
    lifetimes.last_tutor_id,
    coalesce(lifetimes.sessions_all, 0)::integer as sessions_all,
    coalesce(lifetimes.sessions_completed_all, 0)::integer as sessions_completed_all,
    coalesce(windows.sessions_completed_30d, 0) as sessions_completed_30d,
    coalesce(windows.sessions_90d, 0) as sessions_90d,
    moments.as_of_date - lifetimes.last_session_on as days_since_last_session,
    lifetimes.last_session_at,
    first_session.satisfaction as first_session_satisfaction,
    first_session.satisfaction < {{ var('poor_first_score') }} as poor_first_session,
    {{ student_mean('score') }} as avg_session_score_90d,
    coalesce(windows.score_count, 0) as scored_sessions_90d,
    coalesce(lifetimes.distinct_tutors_all, 0)::integer as distinct_tutors_all,
    {{ student_mean('engagement_30d') }} as avg_engagement_30d,
    coalesce(windows.engagement_30d_count, 0) as avg_engagement_30d_n,
    {{ student_mean('engagement_prior_30d') }} as avg_engagement_prior_30d,
    coalesce(windows.engagement_prior_30d_count, 0) as avg_engagement_prior_30d_n,
    case
        when
            least(windows.engagement_30d_count, windows.engagement_prior_30d_count)
            >= {{ min_engagement_sessions }}
            then {{ student_mean('engagement_prior_30d') }} - {{ student_mean('engagement_30d') }}
    end as engagement_fall_30d,
    case
        when coalesce(windows.not_held_90d, 0) = 0
            then coalesce(windows.reschedules_and_no_shows_90d, 0)
    end as reschedules_and_no_shows_90d,
    case
        when windows.not_held_90d = 0
            then windows.reschedules_and_no_shows_90d / windows.sessions_90d::double precision
    end as scheduling_issue_rate_90d,
    case when windows.billed_90d > 0 then windows.discounted_90d end as discounted_sessions_90d,
    windows.discounted_90d / nullif(windows.billed_90d, 0)::double precision
        as discount_share_90d,
    coalesce(windows.billed_90d, 0) as discount_share_90d_n,
    rhythm.gap_days as usual_gap_days,
    greatest(coalesce(lifetimes.sessions_completed_all, 0) - 1, 0)::integer as usual_gap_days_n,
    coalesce(
        (students.status is null or (students.status = 'active' and not told.who_left))
        and moments.as_of_date - lifetimes.last_session_on > greatest(
            {{ var('inferred_churn_days') }}, {{ var('inferred_churn_gaps') }} * rhythm.gap_days
        )
        -- Without any rhythm nothing is inferred.
        and rhythm.gap_days is not null,
        false
    ) as is_churn_inferred
from students
cross join moments
cross join told
left join lifetimes
    on
        students.student_id = lifetimes.student_id
        and moments.as_of >= lifetimes.since
        and moments.as_of < lifetimes.until
left join lateral (
    select lifetimes.first_session_satisfaction as satisfaction
    where lifetimes.first_session_known_at <= moments.as_of
) as first_session on true
left join windows
    on students.student_id = windows.student_id and moments.as_of_date = windows.as_of_date
left join usual_gaps on moments.as_of_date = usual_gaps.as_of_date
cross join lateral (
    select
        case
            when lifetimes.sessions_completed_all > {{ min_gaps }} then lifetimes.mean_gap_days
            else usual_gaps.gap_days
        end as gap_days
) as rhythm
where {{ asked }}

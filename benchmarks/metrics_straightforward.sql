-- The wide row as one would write it first: one FILTER per metric and window over raw sessions.
-- Same columns, same rows as marts.tutor_aggregates (a test compares them), same indexes; it reads
-- fct_sessions, so it needs no table of days. Placeholders: {marts}, :as_of, :as_of_on, :timezone,
-- :scope (a predicate on tutor_id), :has_follow_up and :has_reschedules (facts of the platform).

with

sessions as not materialized (
    select *
    from {marts}.fct_sessions
    where
        status not in ('scheduled', 'in_progress')
        and scheduled_start <= :as_of
        and :scope
),

completed as not materialized (
    select * from sessions where status = 'completed'
),

totals as (
    select
        tutor_id,

        count(*) filter (where session_on > :as_of_on - 7) as sessions_7d,
        count(*) filter (where session_on > :as_of_on - 14) as sessions_14d,
        count(*) filter (where session_on > :as_of_on - 30) as sessions_30d,
        count(*) filter (where session_on > :as_of_on - 60) as sessions_60d,
        count(*) filter (where session_on > :as_of_on - 90) as sessions_90d,
        count(*) filter (where status = 'not_held' and session_on > :as_of_on - 30)
            as not_held_30d,
        count(*) filter (where status = 'not_held' and session_on > :as_of_on - 90)
            as not_held_90d,
        count(*) filter (where status = 'cancelled' and session_on > :as_of_on - 30)
            as cancelled_30d,
        count(*) filter (where status = 'no_show_tutor' and session_on > :as_of_on - 30)
            as no_show_tutor_30d,
        count(*) filter (where status = 'no_show_tutor' and session_on > :as_of_on - 90)
            as no_show_tutor_90d,
        count(*) filter (where status = 'no_show_student' and session_on > :as_of_on - 30)
            as no_show_student_30d,
        count(*) filter (where is_tutor_reschedule and session_on > :as_of_on - 7)
            as tutor_reschedules_7d,
        count(*) filter (where is_tutor_reschedule and session_on > :as_of_on - 30)
            as tutor_reschedules_30d,
        count(*) filter (where is_tutor_reschedule and session_on > :as_of_on - 90)
            as tutor_reschedules_90d,
        count(distinct student_id) filter (where session_on > :as_of_on - 30)
            as distinct_students_30d,
        count(student_id) filter (where session_on > :as_of_on - 30) as distinct_students_30d_n,
        count(*) filter (
            where session_on > :as_of_on - 90 and extract(isodow from session_on) in (6, 7)
        ) as weekend_90d,

        (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
            where status = 'no_show_tutor' and session_on > :as_of_on - 30
        ))[1:5] as no_show_session_ids,
        (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
            where is_tutor_reschedule and session_on > :as_of_on - 30
        ))[1:5] as reschedule_session_ids
    from sessions
    group by tutor_id
),

done as (
    select
        tutor_id,

        count(*) as sessions_completed_all,
        count(*) filter (where session_on > :as_of_on - 7) as sessions_completed_7d,
        count(*) filter (where session_on > :as_of_on - 14) as sessions_completed_14d,
        count(*) filter (where session_on > :as_of_on - 30) as sessions_completed_30d,
        count(*) filter (where session_on > :as_of_on - 90) as sessions_completed_90d,
        avg(student_engagement_score) as avg_engagement_all,
        count(student_engagement_score) as avg_engagement_all_n,
        avg(open_ended_questions) as avg_open_questions_all,
        count(open_ended_questions) as avg_open_questions_all_n,
        avg(tutor_checks_understanding_count) as avg_understanding_checks_all,
        count(tutor_checks_understanding_count) as avg_understanding_checks_all_n,
        avg(student_satisfaction_rating) as avg_rating_all,
        count(student_satisfaction_rating) as avg_rating_all_n,
        count(*) filter (where is_first_session) as first_session_count_all,
        avg(session_score) filter (where is_first_session) as first_session_avg_score_all,
        count(session_score) filter (where is_first_session) as first_session_avg_score_all_n,

        count(*) filter (where is_late and session_on > :as_of_on - 30) as late_count_30d,
        avg(late_minutes) filter (where session_on > :as_of_on - 30) as avg_late_minutes_30d,
        count(late_minutes) filter (where session_on > :as_of_on - 30) as late_count_30d_n,
        avg(technical_issues::int) filter (where session_on > :as_of_on - 30)
            as technical_issue_rate_30d,
        count(technical_issues) filter (where session_on > :as_of_on - 30)
            as technical_issue_rate_30d_n,
        :as_of_on - max(session_on) as days_since_last_session,
        max(scheduled_start) as last_session_at,
        count(distinct session_on) filter (where session_on > :as_of_on - 30) as active_days_30d,

        avg(student_satisfaction_rating) filter (where session_on > :as_of_on - 7)
            as avg_rating_7d,
        count(student_satisfaction_rating) filter (where session_on > :as_of_on - 7)
            as avg_rating_7d_n,
        avg(student_satisfaction_rating) filter (where session_on > :as_of_on - 30)
            as avg_rating_30d,
        count(student_satisfaction_rating) filter (where session_on > :as_of_on - 30)
            as avg_rating_30d_n,
        avg(student_satisfaction_rating) filter (where session_on > :as_of_on - 90)
            as avg_rating_90d,
        count(student_satisfaction_rating) filter (where session_on > :as_of_on - 90)
            as avg_rating_90d_n,
        avg(student_satisfaction) filter (where session_on > :as_of_on - 30)
            as avg_student_satisfaction_30d,
        count(student_satisfaction) filter (where session_on > :as_of_on - 30)
            as avg_student_satisfaction_30d_n,
        avg(would_recommend::int) filter (where session_on > :as_of_on - 30)
            as recommendation_rate_30d,
        count(would_recommend) filter (where session_on > :as_of_on - 30)
            as recommendation_rate_30d_n,
        count(*) filter (where student_satisfaction_rating >= 4 and session_on > :as_of_on - 30)
            as positive_reviews_30d,
        count(*) filter (where student_satisfaction_rating < 3 and session_on > :as_of_on - 30)
            as negative_reviews_30d,
        stddev_samp(student_satisfaction_rating) filter (where session_on > :as_of_on - 30)
            as rating_volatility_30d,

        avg(session_score) filter (where session_on > :as_of_on - 7) as avg_session_score_7d,
        count(session_score) filter (where session_on > :as_of_on - 7) as avg_session_score_7d_n,
        avg(session_score) filter (where session_on > :as_of_on - 14) as avg_session_score_14d,
        count(session_score) filter (where session_on > :as_of_on - 14)
            as avg_session_score_14d_n,
        avg(session_score) filter (where session_on > :as_of_on - 30) as avg_session_score_30d,
        count(session_score) filter (where session_on > :as_of_on - 30)
            as avg_session_score_30d_n,
        avg(session_score) filter (
            where session_on > :as_of_on - 28 and session_on <= :as_of_on - 14
        ) as avg_session_score_prior_14d,
        count(session_score) filter (
            where session_on > :as_of_on - 28 and session_on <= :as_of_on - 14
        ) as avg_session_score_prior_14d_n,
        avg(session_score) filter (
            where session_on > :as_of_on - 60 and session_on <= :as_of_on - 30
        ) as avg_session_score_prior_30d,
        count(session_score) filter (
            where session_on > :as_of_on - 60 and session_on <= :as_of_on - 30
        ) as avg_session_score_prior_30d_n,
        stddev_samp(session_score) filter (where session_on > :as_of_on - 30)
            as session_score_stddev_30d,
        avg(student_engagement_score) filter (where session_on > :as_of_on - 7)
            as avg_engagement_7d,
        count(student_engagement_score) filter (where session_on > :as_of_on - 7)
            as avg_engagement_7d_n,
        avg(student_engagement_score) filter (where session_on > :as_of_on - 30)
            as avg_engagement_30d,
        count(student_engagement_score) filter (where session_on > :as_of_on - 30)
            as avg_engagement_30d_n,
        avg(student_on_screen_attention_pct) filter (where session_on > :as_of_on - 30)
            as avg_attention_30d,
        count(student_on_screen_attention_pct) filter (where session_on > :as_of_on - 30)
            as avg_attention_30d_n,
        avg(tutor_camera_on_pct) filter (where session_on > :as_of_on - 30) as camera_on_30d,
        count(tutor_camera_on_pct) filter (where session_on > :as_of_on - 30) as camera_on_30d_n,
        avg(empathy_score) filter (where session_on > :as_of_on - 30) as avg_empathy_30d,
        count(empathy_score) filter (where session_on > :as_of_on - 30) as avg_empathy_30d_n,
        avg(clarity_score) filter (where session_on > :as_of_on - 30) as avg_clarity_30d,
        count(clarity_score) filter (where session_on > :as_of_on - 30) as avg_clarity_30d_n,
        avg(overall_sentiment) filter (where session_on > :as_of_on - 7) as avg_sentiment_7d,
        count(overall_sentiment) filter (where session_on > :as_of_on - 7) as avg_sentiment_7d_n,
        avg(overall_sentiment) filter (where session_on > :as_of_on - 30) as avg_sentiment_30d,
        count(overall_sentiment) filter (where session_on > :as_of_on - 30)
            as avg_sentiment_30d_n,

        avg(tutor_talk_ratio) filter (where session_on > :as_of_on - 30) as avg_talk_ratio,
        count(tutor_talk_ratio) filter (where session_on > :as_of_on - 30) as avg_talk_ratio_n,
        avg((tutor_talk_ratio > 0.65)::int) filter (where session_on > :as_of_on - 30)
            as high_talk_share,
        avg((tutor_talk_ratio between 0.35 and 0.50)::int) filter (
            where session_on > :as_of_on - 30
        ) as balanced_talk_share,
        avg(tutor_checks_understanding_count) filter (where session_on > :as_of_on - 30)
            as avg_understanding_checks,
        count(tutor_checks_understanding_count) filter (where session_on > :as_of_on - 30)
            as avg_understanding_checks_n,
        avg(open_ended_questions) filter (where session_on > :as_of_on - 30)
            as avg_open_questions,
        count(open_ended_questions) filter (where session_on > :as_of_on - 30)
            as avg_open_questions_n,
        sum(open_ended_questions) filter (
            where closed_ended_questions is not null and session_on > :as_of_on - 30
        )::float8 / nullif(sum(open_ended_questions + closed_ended_questions) filter (
            where session_on > :as_of_on - 30
        ), 0) as open_question_share,
        count(open_ended_questions + closed_ended_questions) filter (
            where session_on > :as_of_on - 30
        ) as open_question_share_n,
        avg(tutor_positive_reinforcement_count) filter (where session_on > :as_of_on - 30)
            as avg_reinforcement,
        count(tutor_positive_reinforcement_count) filter (where session_on > :as_of_on - 30)
            as avg_reinforcement_n,
        avg(tutor_uses_visual_aids::int) filter (where session_on > :as_of_on - 30)
            as visual_aids_rate,
        count(tutor_uses_visual_aids) filter (where session_on > :as_of_on - 30)
            as visual_aids_rate_n,
        count(*) filter (where student_frustration_count >= 1 and session_on > :as_of_on - 14)
            as frustration_sessions_14d,
        count(student_frustration_count) filter (where session_on > :as_of_on - 14)
            as frustration_sessions_14d_n,

        count(*) filter (where is_first_session and session_on > :as_of_on - 60)
            as first_session_count_60d,
        count(*) filter (where is_first_session and session_on > :as_of_on - 90)
            as first_session_count_90d,
        avg(session_score) filter (where is_first_session and session_on > :as_of_on - 90)
            as first_session_avg_score_90d,
        count(session_score) filter (where is_first_session and session_on > :as_of_on - 90)
            as first_session_avg_score_90d_n,
        avg(student_satisfaction_rating) filter (
            where is_first_session and session_on > :as_of_on - 90
        ) as first_session_avg_rating_90d,
        count(student_satisfaction_rating) filter (
            where is_first_session and session_on > :as_of_on - 90
        ) as first_session_avg_rating_90d_n,
        count(*) filter (
            where is_first_session and session_score < 6.0 and session_on > :as_of_on - 60
        ) as poor_first_sessions_60d,
        count(session_score) filter (where is_first_session and session_on > :as_of_on - 60)
            as poor_first_sessions_60d_n,
        count(*) filter (
            where is_first_session and session_score < 6.5 and session_on > :as_of_on - 7
        ) as poor_first_sessions_7d,
        count(session_score) filter (where is_first_session and session_on > :as_of_on - 7)
            as poor_first_sessions_7d_n,
        avg(exists(
            select from {marts}.fct_sessions as later
            where
                later.tutor_id = completed.tutor_id
                and later.student_id = completed.student_id
                and (later.scheduled_start, later.session_id)
                > (completed.scheduled_start, completed.session_id)
                and (
                    (
                        later.scheduled_start <= :as_of
                        and later.status in ('completed', 'in_progress')
                    )
                    or (
                        later.scheduled_start > :as_of
                        and coalesce(
                            coalesce(later.created_at, later.updated_at) <= :as_of,
                            later.status = 'scheduled'
                        )
                        and (
                            later.status in ('completed', 'in_progress', 'scheduled')
                            or later.updated_at > :as_of
                        )
                    )
                )
        )::int) filter (
            where
                is_first_session
                and student_id is not null
                and session_on > :as_of_on - 90
                and session_on <= :as_of_on - 21
        ) as first_session_convert_rate_90d,
        count(student_id) filter (
            where
                is_first_session
                and session_on > :as_of_on - 90
                and session_on <= :as_of_on - 21
        ) as first_session_convert_rate_90d_n,
        avg(follow_up_booked::int) filter (where session_on > :as_of_on - 90) as follow_up_rate_90d,
        count(follow_up_booked) filter (where session_on > :as_of_on - 90) as follow_up_90d_n,
        avg(follow_up_booked::int) as follow_up_rate_all,
        count(follow_up_booked) as follow_up_all_n,
        avg((
            next_session_at is not null
            and next_session_at <= :as_of
            and (next_session_at at time zone :timezone)::date <= session_on + 21
        )::int) filter (
            where
                student_id is not null
                and session_on > :as_of_on - 90
                and session_on <= :as_of_on - 21
        ) as pair_rate_90d,
        count(student_id) filter (
            where session_on > :as_of_on - 90 and session_on <= :as_of_on - 21
        ) as pair_90d_n,
        avg((
            next_session_at is not null
            and next_session_at <= :as_of
            and (next_session_at at time zone :timezone)::date <= session_on + 21
        )::int) filter (where student_id is not null and session_on <= :as_of_on - 21)
            as pair_rate_all,
        count(student_id) filter (where session_on <= :as_of_on - 21) as pair_all_n,

        (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
            where is_late and session_on > :as_of_on - 30
        ))[1:5] as late_session_ids,
        (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
            where student_frustration_count >= 1 and session_on > :as_of_on - 14
        ))[1:5] as frustration_session_ids,
        (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
            where
                is_first_session
                and (
                    (session_score < 6.0 and session_on > :as_of_on - 60)
                    or (session_score < 6.5 and session_on > :as_of_on - 7)
                )
        ))[1:5] as poor_first_session_ids,
        (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
            where tutor_talk_ratio between 0.35 and 0.50 and session_on > :as_of_on - 30
        ))[1:5] as balanced_talk_session_ids,
        (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
            where student_engagement_score is not null and session_on > :as_of_on - 30
        ))[1:5] as engagement_session_ids,
        (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
            where tutor_checks_understanding_count is not null and session_on > :as_of_on - 30
        ))[1:5] as understanding_session_ids,
        (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
            where open_ended_questions is not null and session_on > :as_of_on - 30
        ))[1:5] as questioning_session_ids,
        (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
            where tutor_uses_visual_aids is not null and session_on > :as_of_on - 30
        ))[1:5] as visual_aids_session_ids,
        (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
            where tutor_positive_reinforcement_count is not null and session_on > :as_of_on - 30
        ))[1:5] as reinforcement_session_ids,
        (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
            where is_first_session and session_score is not null and session_on > :as_of_on - 90
        ))[1:5] as first_session_ids,
        (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
            where tutor_talk_ratio is not null and session_on > :as_of_on - 30
        ))[1:5] as talk_session_ids,
        (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
            where student_on_screen_attention_pct is not null and session_on > :as_of_on - 30
        ))[1:5] as attention_session_ids,
        (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
            where technical_issues and session_on > :as_of_on - 30
        ))[1:5] as technical_issue_session_ids,
        (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
            where would_recommend = false and session_on > :as_of_on - 30
        ))[1:5] as recommendation_session_ids,
        (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
            where student_satisfaction_rating is not null and session_on > :as_of_on - 30
        ))[1:5] as rating_session_ids,
        (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
            where session_on > :as_of_on - 90
        ))[1:5] as recent_session_ids
    from completed
    group by tutor_id
),

scored as (
    select
        *,
        row_number() over (
            partition by tutor_id order by scheduled_start desc, session_id desc
        ) as position
    from completed
    where session_score is not null and session_on > :as_of_on - 90
),

overall as (
    select
        tutor_id,
        sum(session_score * power(0.95, position - 1)) / sum(power(0.95, position - 1))
            as overall_score,
        count(*) as overall_score_n
    from scored
    where position <= 30
    group by tutor_id
),

streaks as (
    select
        tutor_id,
        count(*) as low_score_streak_n,
        count(*) filter (where position < first_good) as low_score_streak,
        (array_agg(session_id order by position) filter (where position < first_good))[1:5]
            as low_score_session_ids
    from (
        select
            *,
            coalesce(min(position) filter (where session_score >= 5.0) over (
                partition by tutor_id
            ), 1000000000) as first_good
        from scored
    ) as numbered
    group by tutor_id
),

lowest as (
    select
        tutor_id,
        array_agg(session_id order by scheduled_start desc, session_id desc)
            as declining_session_ids
    from (
        select
            *,
            row_number() over (
                partition by tutor_id
                order by session_score, scheduled_start desc, session_id desc
            ) as low_position
        from completed
        where session_score is not null and session_on > :as_of_on - 14
    ) as numbered
    where low_position <= 5
    group by tutor_id
),

talks as (
    select
        tutor_id,
        least(count(*), 5) as talk_ratio_last5_n,
        avg(tutor_talk_ratio) filter (where position <= 5) as talk_ratio_last5,
        (array_agg(session_id order by position) filter (
            where tutor_talk_ratio > 0.65
        ))[1:5] as high_talk_session_ids
    from (
        select
            *,
            row_number() over (
                partition by tutor_id order by scheduled_start desc, session_id desc
            ) as position
        from completed
        where tutor_talk_ratio is not null and session_on > :as_of_on - 90
    ) as numbered
    group by tutor_id
),

combined as (
    select
        dim_tutors.tutor_id as id,
        totals.*,
        done.*,
        overall.*,
        streaks.*,
        lowest.*,
        talks.*,
        case when :has_reschedules then tutor_reschedules_7d::float8 / nullif(sessions_7d, 0) end
            as rate_7d,
        case when :has_reschedules then tutor_reschedules_30d::float8 / nullif(sessions_30d, 0) end
            as rate_30d,
        case when :has_reschedules then tutor_reschedules_90d::float8 / nullif(sessions_90d, 0) end
            as rate_90d
    from {marts}.dim_tutors as dim_tutors
    left join totals on dim_tutors.tutor_id = totals.tutor_id
    left join done on dim_tutors.tutor_id = done.tutor_id
    left join overall on dim_tutors.tutor_id = overall.tutor_id
    left join streaks on dim_tutors.tutor_id = streaks.tutor_id
    left join lowest on dim_tutors.tutor_id = lowest.tutor_id
    left join talks on dim_tutors.tutor_id = talks.tutor_id
    where dim_tutors.is_active and dim_tutors.:scope
)

select
    id as tutor_id,
    :as_of as as_of,
    :as_of_on as as_of_date,
    coalesce(sessions_completed_all, 0) as sessions_completed_all,
    avg_engagement_all,
    coalesce(avg_engagement_all_n, 0) as avg_engagement_all_n,
    avg_open_questions_all,
    coalesce(avg_open_questions_all_n, 0) as avg_open_questions_all_n,
    avg_understanding_checks_all,
    coalesce(avg_understanding_checks_all_n, 0) as avg_understanding_checks_all_n,
    avg_rating_all,
    coalesce(avg_rating_all_n, 0) as avg_rating_all_n,
    coalesce(first_session_count_all, 0) as first_session_count_all,
    first_session_avg_score_all,
    coalesce(first_session_avg_score_all_n, 0) as first_session_avg_score_all_n,
    case when :has_follow_up then follow_up_rate_all else pair_rate_all end as rebook_rate_all,
    coalesce(case when :has_follow_up then follow_up_all_n else pair_all_n end, 0)
        as rebook_rate_all_n,
    coalesce(sessions_7d, 0) as sessions_7d,
    coalesce(sessions_14d, 0) as sessions_14d,
    coalesce(sessions_30d, 0) as sessions_30d,
    coalesce(sessions_60d, 0) as sessions_60d,
    coalesce(sessions_90d, 0) as sessions_90d,
    coalesce(sessions_completed_7d, 0) as sessions_completed_7d,
    coalesce(sessions_completed_14d, 0) as sessions_completed_14d,
    coalesce(sessions_completed_30d, 0) as sessions_completed_30d,
    coalesce(sessions_completed_90d, 0) as sessions_completed_90d,
    coalesce(sessions_completed_30d, 0)::float8 / nullif(sessions_30d, 0) as completion_rate_30d,
    case when coalesce(not_held_30d, 0) = 0 then coalesce(cancelled_30d, 0) end as cancelled_30d,
    case when coalesce(not_held_30d, 0) = 0 then coalesce(no_show_tutor_30d, 0) end
        as no_show_tutor_30d,
    case when coalesce(not_held_90d, 0) = 0 then coalesce(no_show_tutor_90d, 0) end
        as no_show_tutor_90d,
    -- Nothing is excused here.
    coalesce(sessions_30d, 0) as no_show_tutor_30d_n,
    coalesce(sessions_90d, 0) as no_show_tutor_90d_n,
    case when coalesce(not_held_30d, 0) = 0 then coalesce(no_show_student_30d, 0) end
        as no_show_student_30d,
    case when not_held_30d = 0 then no_show_tutor_30d::float8 / nullif(sessions_30d, 0) end
        as no_show_rate_30d,
    case when late_count_30d_n > 0 then late_count_30d end as late_count_30d,
    late_count_30d::float8 / nullif(late_count_30d_n, 0) as late_rate_30d,
    avg_late_minutes_30d,
    coalesce(late_count_30d_n, 0) as late_count_30d_n,
    case when :has_reschedules then coalesce(tutor_reschedules_7d, 0) end as tutor_reschedules_7d,
    case when :has_reschedules then coalesce(tutor_reschedules_30d, 0) end
        as tutor_reschedules_30d,
    case when :has_reschedules then coalesce(tutor_reschedules_90d, 0) end
        as tutor_reschedules_90d,
    rate_7d as reschedule_rate_7d,
    coalesce(sessions_7d, 0) as reschedule_rate_7d_n,
    rate_30d as reschedule_rate_30d,
    coalesce(sessions_30d, 0) as reschedule_rate_30d_n,
    rate_90d as reschedule_rate_90d,
    coalesce(sessions_90d, 0) as reschedule_rate_90d_n,
    case
        when :has_reschedules and sessions_90d >= 5
            then
                (sessions_7d >= 5 and rate_7d > 0.15)
                or (sessions_30d >= 5 and rate_30d > 0.15)
                or rate_90d > 0.15
    end as is_high_reschedule,
    technical_issue_rate_30d,
    coalesce(technical_issue_rate_30d_n, 0) as technical_issue_rate_30d_n,
    days_since_last_session,
    last_session_at,
    case when distinct_students_30d_n > 0 then distinct_students_30d end as distinct_students_30d,
    coalesce(distinct_students_30d_n, 0) as distinct_students_30d_n,
    coalesce(active_days_30d, 0) as active_days_30d,
    weekend_90d::float8 / nullif(sessions_90d, 0) as weekend_share_90d,
    case when avg_rating_7d_n >= 3 then avg_rating_7d end as avg_rating_7d,
    coalesce(avg_rating_7d_n, 0) as avg_rating_7d_n,
    avg_rating_30d,
    coalesce(avg_rating_30d_n, 0) as avg_rating_30d_n,
    avg_rating_90d,
    coalesce(avg_rating_90d_n, 0) as avg_rating_90d_n,
    avg_student_satisfaction_30d,
    coalesce(avg_student_satisfaction_30d_n, 0) as avg_student_satisfaction_30d_n,
    recommendation_rate_30d,
    coalesce(recommendation_rate_30d_n, 0) as recommendation_rate_30d_n,
    case when avg_rating_30d_n > 0 then positive_reviews_30d end as positive_reviews_30d,
    case when avg_rating_30d_n > 0 then negative_reviews_30d end as negative_reviews_30d,
    rating_volatility_30d,
    overall_score,
    coalesce(overall_score_n, 0) as overall_score_n,
    avg_session_score_7d,
    coalesce(avg_session_score_7d_n, 0) as avg_session_score_7d_n,
    avg_session_score_14d,
    coalesce(avg_session_score_14d_n, 0) as avg_session_score_14d_n,
    avg_session_score_30d,
    coalesce(avg_session_score_30d_n, 0) as avg_session_score_30d_n,
    avg_session_score_prior_14d,
    coalesce(avg_session_score_prior_14d_n, 0) as avg_session_score_prior_14d_n,
    avg_session_score_prior_30d,
    coalesce(avg_session_score_prior_30d_n, 0) as avg_session_score_prior_30d_n,
    case
        when avg_session_score_14d_n >= 3 and avg_session_score_prior_14d_n >= 3
            then avg_session_score_14d - avg_session_score_prior_14d
    end as score_change_14d,
    coalesce(least(avg_session_score_14d_n, avg_session_score_prior_14d_n), 0)
        as score_change_14d_n,
    case
        when avg_session_score_30d_n >= 5 and avg_session_score_prior_30d_n >= 5
            then avg_session_score_30d - avg_session_score_prior_30d
    end as score_change_30d,
    case
        when avg_session_score_30d_n >= 5 and avg_session_score_prior_30d_n >= 5
            then
                (avg_session_score_30d - avg_session_score_prior_30d)
                / nullif(avg_session_score_prior_30d, 0)
    end as score_change_pct_30d,
    coalesce(least(avg_session_score_30d_n, avg_session_score_prior_30d_n), 0)
        as score_change_30d_n,
    session_score_stddev_30d,
    abs(2 * avg_rating_30d - overall_score) as rating_score_divergence,
    avg_engagement_7d,
    coalesce(avg_engagement_7d_n, 0) as avg_engagement_7d_n,
    avg_engagement_30d,
    coalesce(avg_engagement_30d_n, 0) as avg_engagement_30d_n,
    avg_attention_30d,
    coalesce(avg_attention_30d_n, 0) as avg_attention_30d_n,
    camera_on_30d,
    coalesce(camera_on_30d_n, 0) as camera_on_30d_n,
    avg_empathy_30d,
    coalesce(avg_empathy_30d_n, 0) as avg_empathy_30d_n,
    avg_clarity_30d,
    coalesce(avg_clarity_30d_n, 0) as avg_clarity_30d_n,
    avg_sentiment_7d,
    coalesce(avg_sentiment_7d_n, 0) as avg_sentiment_7d_n,
    avg_sentiment_30d,
    coalesce(avg_sentiment_30d_n, 0) as avg_sentiment_30d_n,
    avg_sentiment_7d - avg_sentiment_30d as sentiment_change_7d,
    avg_talk_ratio,
    coalesce(avg_talk_ratio_n, 0) as avg_talk_ratio_n,
    case when talk_ratio_last5_n = 5 then talk_ratio_last5 end as talk_ratio_last5,
    coalesce(talk_ratio_last5_n, 0) as talk_ratio_last5_n,
    high_talk_share,
    balanced_talk_share,
    avg_understanding_checks,
    coalesce(avg_understanding_checks_n, 0) as avg_understanding_checks_n,
    avg_open_questions,
    coalesce(avg_open_questions_n, 0) as avg_open_questions_n,
    open_question_share,
    coalesce(open_question_share_n, 0) as open_question_share_n,
    avg_reinforcement,
    coalesce(avg_reinforcement_n, 0) as avg_reinforcement_n,
    visual_aids_rate,
    coalesce(visual_aids_rate_n, 0) as visual_aids_rate_n,
    case when frustration_sessions_14d_n > 0 then frustration_sessions_14d end
        as frustration_sessions_14d,
    coalesce(frustration_sessions_14d_n, 0) as frustration_sessions_14d_n,
    low_score_streak,
    coalesce(low_score_streak_n, 0) as low_score_streak_n,
    coalesce(first_session_count_60d, 0) as first_session_count_60d,
    coalesce(first_session_count_90d, 0) as first_session_count_90d,
    first_session_avg_score_90d,
    coalesce(first_session_avg_score_90d_n, 0) as first_session_avg_score_90d_n,
    first_session_avg_rating_90d,
    coalesce(first_session_avg_rating_90d_n, 0) as first_session_avg_rating_90d_n,
    case when poor_first_sessions_60d_n > 0 then poor_first_sessions_60d end
        as poor_first_sessions_60d,
    coalesce(poor_first_sessions_60d_n, 0) as poor_first_sessions_60d_n,
    case when poor_first_sessions_7d_n > 0 then poor_first_sessions_7d end
        as poor_first_sessions_7d,
    coalesce(poor_first_sessions_7d_n, 0) as poor_first_sessions_7d_n,
    first_session_avg_rating_90d < 3.5 as poor_first_session_flag,
    first_session_convert_rate_90d,
    coalesce(first_session_convert_rate_90d_n, 0) as first_session_convert_rate_90d_n,
    case when :has_follow_up then follow_up_rate_90d else pair_rate_90d end as rebook_rate_90d,
    coalesce(case when :has_follow_up then follow_up_90d_n else pair_90d_n end, 0)
        as rebook_rate_90d_n,
    coalesce(no_show_session_ids, array[]::text[]) as no_show_session_ids,
    coalesce(reschedule_session_ids, array[]::text[]) as reschedule_session_ids,
    coalesce(late_session_ids, array[]::text[]) as late_session_ids,
    coalesce(frustration_session_ids, array[]::text[]) as frustration_session_ids,
    coalesce(poor_first_session_ids, array[]::text[]) as poor_first_session_ids,
    coalesce(high_talk_session_ids, array[]::text[]) as high_talk_session_ids,
    coalesce(balanced_talk_session_ids, array[]::text[]) as balanced_talk_session_ids,
    coalesce(engagement_session_ids, array[]::text[]) as engagement_session_ids,
    coalesce(understanding_session_ids, array[]::text[]) as understanding_session_ids,
    coalesce(questioning_session_ids, array[]::text[]) as questioning_session_ids,
    coalesce(visual_aids_session_ids, array[]::text[]) as visual_aids_session_ids,
    coalesce(reinforcement_session_ids, array[]::text[]) as reinforcement_session_ids,
    coalesce(first_session_ids, array[]::text[]) as first_session_ids,
    coalesce(talk_session_ids, array[]::text[]) as talk_session_ids,
    coalesce(attention_session_ids, array[]::text[]) as attention_session_ids,
    coalesce(technical_issue_session_ids, array[]::text[]) as technical_issue_session_ids,
    coalesce(recommendation_session_ids, array[]::text[]) as recommendation_session_ids,
    coalesce(rating_session_ids, array[]::text[]) as rating_session_ids,
    coalesce(recent_session_ids, array[]::text[]) as recent_session_ids,
    coalesce(low_score_session_ids, array[]::text[]) as low_score_session_ids,
    coalesce(declining_session_ids, array[]::text[]) as declining_session_ids
from combined

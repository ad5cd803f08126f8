-- Ten queries for one tutor, as a loop over tutors would ask them: together the columns of the
-- wide row. The two that return rows stand for overall score, streak, decline and last talk
-- ratios, whose arithmetic the loop would do itself (not measured). Placeholders: {marts},
-- %(tutor)s, :as_of, :as_of_on, :timezone.

select
    count(*) filter (where session_on > :as_of_on - 7) as sessions_7d,
    count(*) filter (where session_on > :as_of_on - 14) as sessions_14d,
    count(*) filter (where session_on > :as_of_on - 30) as sessions_30d,
    count(*) filter (where session_on > :as_of_on - 60) as sessions_60d,
    count(*) filter (where session_on > :as_of_on - 90) as sessions_90d,
    count(*) filter (where status = 'not_held' and session_on > :as_of_on - 30) as not_held_30d,
    count(*) filter (where status = 'not_held' and session_on > :as_of_on - 90) as not_held_90d,
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
from {marts}.fct_sessions
where
    tutor_id = %(tutor)s
    and scheduled_start <= :as_of
    and status not in ('scheduled', 'in_progress')
    and session_on > :as_of_on - 90;

select
    count(*) filter (where session_on > :as_of_on - 7) as sessions_completed_7d,
    count(*) filter (where session_on > :as_of_on - 14) as sessions_completed_14d,
    count(*) filter (where session_on > :as_of_on - 30) as sessions_completed_30d,
    count(*) filter (where session_on > :as_of_on - 90) as sessions_completed_90d,
    count(*) filter (where is_late and session_on > :as_of_on - 30) as late_count_30d,
    avg(late_minutes) filter (where session_on > :as_of_on - 30) as avg_late_minutes_30d,
    count(late_minutes) filter (where session_on > :as_of_on - 30) as late_count_30d_n,
    avg(technical_issues::int) filter (where session_on > :as_of_on - 30)
        as technical_issue_rate_30d,
    count(technical_issues) filter (where session_on > :as_of_on - 30)
        as technical_issue_rate_30d_n,
    count(distinct session_on) filter (where session_on > :as_of_on - 30) as active_days_30d,
    (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
        where is_late and session_on > :as_of_on - 30
    ))[1:5] as late_session_ids,
    (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
        where technical_issues and session_on > :as_of_on - 30
    ))[1:5] as technical_issue_session_ids
from {marts}.fct_sessions
where
    tutor_id = %(tutor)s
    and scheduled_start <= :as_of
    and status = 'completed'
    and session_on > :as_of_on - 90;

select
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
    (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
        where would_recommend = false and session_on > :as_of_on - 30
    ))[1:5] as recommendation_session_ids,
    (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
        where student_satisfaction_rating is not null and session_on > :as_of_on - 30
    ))[1:5] as rating_session_ids,
    (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
        where session_on > :as_of_on - 90
    ))[1:5] as recent_session_ids
from {marts}.fct_sessions
where
    tutor_id = %(tutor)s
    and scheduled_start <= :as_of
    and status = 'completed'
    and session_on > :as_of_on - 90;

select
    count(*) as sessions_completed_all,
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
    avg(follow_up_booked::int) as follow_up_rate_all,
    count(follow_up_booked) as follow_up_all_n,
    avg((
        next_session_at is not null
        and next_session_at <= :as_of
        and (next_session_at at time zone :timezone)::date <= session_on + 21
    )::int) filter (where student_id is not null and session_on <= :as_of_on - 21)
        as pair_rate_all,
    count(student_id) filter (where session_on <= :as_of_on - 21) as pair_all_n,
    :as_of_on - max(session_on) as days_since_last_session,
    max(scheduled_start) as last_session_at
from {marts}.fct_sessions
where
    tutor_id = %(tutor)s
    and scheduled_start <= :as_of
    and status = 'completed';

select
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
        as session_score_stddev_30d
from {marts}.fct_sessions
where
    tutor_id = %(tutor)s
    and scheduled_start <= :as_of
    and status = 'completed'
    and session_on > :as_of_on - 60;

select
    session_id,
    session_on,
    session_score
from {marts}.fct_sessions
where
    tutor_id = %(tutor)s
    and scheduled_start <= :as_of
    and status = 'completed'
    and session_on > :as_of_on - 90
    and session_score is not null
order by session_on desc, scheduled_start desc, session_id desc;

select
    session_id,
    session_on,
    tutor_talk_ratio
from {marts}.fct_sessions
where
    tutor_id = %(tutor)s
    and scheduled_start <= :as_of
    and status = 'completed'
    and session_on > :as_of_on - 90
    and tutor_talk_ratio is not null
order by session_on desc, scheduled_start desc, session_id desc;

select
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
    (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
        where student_engagement_score is not null and session_on > :as_of_on - 30
    ))[1:5] as engagement_session_ids,
    (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
        where student_on_screen_attention_pct is not null and session_on > :as_of_on - 30
    ))[1:5] as attention_session_ids
from {marts}.fct_sessions
where
    tutor_id = %(tutor)s
    and scheduled_start <= :as_of
    and status = 'completed'
    and session_on > :as_of_on - 30;

select
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
    (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
        where student_frustration_count >= 1 and session_on > :as_of_on - 14
    ))[1:5] as frustration_session_ids,
    (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
        where tutor_talk_ratio between 0.35 and 0.50 and session_on > :as_of_on - 30
    ))[1:5] as balanced_talk_session_ids,
    (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
        where tutor_talk_ratio is not null and session_on > :as_of_on - 30
    ))[1:5] as talk_session_ids,
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
    ))[1:5] as reinforcement_session_ids
from {marts}.fct_sessions
where
    tutor_id = %(tutor)s
    and scheduled_start <= :as_of
    and status = 'completed'
    and session_on > :as_of_on - 30;

select
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
            later.tutor_id = fct_sessions.tutor_id
            and later.student_id = fct_sessions.student_id
            and (later.scheduled_start, later.session_id)
            > (fct_sessions.scheduled_start, fct_sessions.session_id)
            and (
                (later.scheduled_start <= :as_of and later.status in ('completed', 'in_progress'))
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
    (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
        where
            is_first_session
            and (
                (session_score < 6.0 and session_on > :as_of_on - 60)
                or (session_score < 6.5 and session_on > :as_of_on - 7)
            )
    ))[1:5] as poor_first_session_ids,
    (array_agg(session_id order by scheduled_start desc, session_id desc) filter (
        where is_first_session and session_score is not null and session_on > :as_of_on - 90
    ))[1:5] as first_session_ids
from {marts}.fct_sessions
where
    tutor_id = %(tutor)s
    and scheduled_start <= :as_of
    and status = 'completed'
    and session_on > :as_of_on - 90

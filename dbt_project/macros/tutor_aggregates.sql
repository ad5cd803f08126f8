{#-
The rolling metrics of every active tutor as of a moment. `as_of` and `as_of_on` are SQL literals,
so that cut-offs are constants and not computed per row. What a metric is stands below, in data
and macros that tutor_aggregates_history shares (tutor_history.sql).

0. tutors    who has a row
1. bands     the days of int_tutor_days, summed once per band of age
2. windows   every rolling window as a combination of bands
3. gathered  the sessions of the last lookback_days as arrays, newest first
4. details   what is not additive, from these: last-N, streaks, pairs, evidence
5. converted first sessions whose pair has another one, held or ahead
-#}
{% macro tutor_aggregates_as_of(as_of, as_of_on) -%}
{%- set scope = in_scope('tutor_id') -%}
{%- set has_reschedules = reschedules_are_known() | lower -%}
{%- set by_recency = newest_first() -%}

with

tutors as (
    select tutor_id
    from {{ ref('dim_tutors') }}
    where is_active and {{ scope }}
),

{{ window_sums(as_of, as_of_on, scope) }},

counted as not materialized (
    select
        *,
        {{ as_of_on }} - session_on as age,
        status = 'completed' as is_completed,
        status = 'completed' and is_first_session as is_completed_first,
        case
            when next_session_at <= {{ as_of }}
                then (next_session_at at time zone '{{ pipeline_timezone() }}')::date
        end as next_session_on
    from {{ ref('fct_sessions') }}
    where
        session_on > {{ as_of_on }} - {{ var('lookback_days') }}
        and scheduled_start <= {{ as_of }}
        and status not in ('scheduled', 'in_progress')
        and {{ scope }}
    {{ by_recency.replace('order by', 'order by tutor_id,') }}
),

gathered as (
    select
        tutor_id as gathered_tutor_id,
        {%- for name, (value, days) in tutor_series().items() %}
        array_agg({{ value }} {{ by_recency }}) filter (
            where is_completed and {{ value }} is not null and age < {{ days }}
        ) as {{ name }},
        {%- endfor %}
        {%- for name, condition in tutor_evidence().items() %}
        (
            array_agg(session_id {{ by_recency }}) filter (where {{ condition }})
        )[1:{{ var('evidence_sessions') }}] as {{ name }}_session_ids,
        {%- endfor %}
        {%- for name, (condition, first_day, end_day) in tutor_spans().items() %}
        count(*) filter (
            where
            {{ condition }} and {{ first_day }} <= {{ as_of_on }} and {{ end_day }} > {{ as_of_on }}
        )::integer as {{ name }},
        {%- endfor %}
        array_agg(session_id {{ by_recency }}) filter (
            where is_completed and session_score is not null
        ) as scored_ids,
        count(session_score) filter (where is_completed and age < 14)::integer as scored_14d,
        count(session_score) filter (where is_completed and age < 30)::integer as scored_30d
    from counted
    group by tutor_id
),

details as (
    {{ tutor_details(has_evidence=true) }}
),

converted as (
    select
        tutor_id as converted_tutor_id,
        count(*)::integer as converted
    from (
        {{ followed_first_sessions(
            as_of_on ~ ' - ' ~ var('lookback_days'), as_of_on ~ ' - ' ~ var('rebook_days'), scope
        ) }}
    ) as followed
    where followed.followed_during @> {{ as_of }}
    group by tutor_id
),

measured as (
    select
        windows.*,
        details.*,
        coalesce(converted.converted, 0) as converted
    from windows
    left join details on windows.tutor_id = details.gathered_tutor_id
    left join converted on windows.tutor_id = converted.converted_tutor_id
),

{{ wide_row(has_reschedules, has_evidence=true) }}
{%- endmacro %}

{% macro window_sums(as_of, as_of_on, scope) -%}
{%- set sums = tutor_aggregate_sums() -%}
bands as (
    select
        tutor_id,
        case
            {%- for age in age_bands() %}
            when session_on > {{ as_of_on }} - {{ age }} then {{ loop.index0 }}
            {%- endfor %}
            else {{ age_bands() | length }}
        end as band,
        {%- for column in sums.counts %}
        sum({{ column }})::integer as {{ column }},
        {%- endfor %}
        {%- for column in sums.totals %}
        sum({{ column }}::double precision) as {{ column }},
        {%- endfor %}
        count(*) filter (where completed_count > 0) as active_days,
        max(session_on) filter (where completed_count > 0) as last_session_on,
        max(last_completed_at) as last_completed_at
    from {{ ref('int_tutor_days') }}
    where session_on <= {{ as_of_on }} and {{ scope }}
    group by 1, 2
),

windows as (
    select
        tutors.tutor_id,
        {{ as_of }} as as_of,
        {{ as_of_on }} as as_of_date,
        {%- for column, used in sums.counts.items() %}
        {%- for window in used %}
        coalesce(sum({{ column }}) filter (where {{ bands_of(window) }}), 0)::integer
            as {{ column }}_{{ window }},
        {%- endfor %}
        {%- endfor %}
        {%- for column, used in sums.totals.items() %}
        {%- for window in used %}
        coalesce(sum({{ column }}) filter (where {{ bands_of(window) }}), 0)
            as {{ column }}_{{ window }},
        {%- endfor %}
        {%- endfor %}
        coalesce(sum(active_days) filter (where {{ bands_of('30d') }}), 0)::integer
            as active_days_30d,
        max(last_session_on) as last_session_on,
        max(last_completed_at) as last_session_at
    from tutors
    left join bands on tutors.tutor_id = bands.tutor_id
    group by tutors.tutor_id
)
{%- endmacro %}

{% macro tutor_details(has_evidence) -%}
    select
        gathered.*,
        coalesce(cardinality(scores), 0) as scored_sessions,
        least(coalesce(cardinality(talk_ratios), 0), {{ var('talk_ratio_sessions') }})
            as talk_ratio_last5_n,
        quality.overall_score,
        quality.low_score_streak,
        quality.session_score_stddev_30d,
        {%- if has_evidence %}
        scored_ids[1:least(quality.low_score_streak, {{ var('evidence_sessions') }})]
            as low_score_session_ids,
        declining.declining_session_ids,
        {%- endif %}
        talks.talk_ratio_last5,
        stars.rating_volatility_30d
    from gathered
    cross join lateral (
        select
            (
                sum({{ millionths('score') }}::bigint * {{ decay_weight('position') }})
                / sum({{ decay_weight('position') }})
                / 1000000
            )::double precision as overall_score,
            coalesce(
                min(position) filter (where score >= {{ var('low_score') }}) - 1,
                cardinality(scores)
            )::integer as low_score_streak,
            stddev_samp(score) filter (where position <= scored_30d) as session_score_stddev_30d
        from unnest(scores) with ordinality as newest (score, position)
    ) as quality
    {%- if has_evidence %}
    cross join lateral (
        select array_agg(session_id order by position) as declining_session_ids
        from (
            select
                session_id,
                position
            from unnest(scored_ids[1:scored_14d], scores[1:scored_14d])
                with ordinality as newest (session_id, score, position)
            order by score, position
            limit {{ var('evidence_sessions') }}
        ) as lowest
    ) as declining
    {%- endif %}
    cross join lateral (
        select
            (
                sum({{ millionths('ratio') }}) / ({{ var('talk_ratio_sessions') }} * 1000000.0)
            )::double precision as talk_ratio_last5
        from unnest(talk_ratios[1:{{ var('talk_ratio_sessions') }}]) as newest (ratio)
    ) as talks
    cross join lateral (
        select stddev_samp(rating) as rating_volatility_30d
        from unnest(ratings_30d) as newest (rating)
    ) as stars
{%- endmacro %}

{% macro wide_row(has_reschedules, has_evidence) -%}
{%- if platform_has('sessions', 'follow_up_booked') -%}
    {%- set rebooked_90d, rebook_due_90d = 'follow_up_count_90d', 'follow_up_known_count_90d' -%}
    {%- set rebooked_all, rebook_due_all = 'follow_up_count_all', 'follow_up_known_count_all' -%}
{%- else -%}
    {%- set rebooked_90d = 'pair_rebooked_count_matured_90d' -%}
    {%- set rebook_due_90d = 'pair_count_matured_90d' -%}
    {%- set rebooked_all = 'pair_rebooked_count_matured_all' -%}
    {%- set rebook_due_all = 'pair_count_matured_all' -%}
{%- endif -%}
rates as (
    select
        *,
        {%- for window in ('7d', '30d', '90d') %}
        case when {{ has_reschedules }} then tutor_reschedule_count_{{ window }} end
            as tutor_reschedules_{{ window }},
        case
            when {{ has_reschedules }}
                then {{ window_rate(
                    'tutor_reschedule_count_' ~ window, 'sessions_count_' ~ window
                ) }}
        end as reschedule_rate_{{ window }},
        {%- endfor %}
        {{ window_average('rating', '30d') }} as avg_rating_30d,
        {{ window_average('first_rating', '90d') }} as first_session_avg_rating_90d
    from measured
)

select
    tutor_id,
    as_of,
    as_of_date,

    -- Lifetime
    completed_count_all as sessions_completed_all,
    {{ window_average('engagement', 'all') }} as avg_engagement_all,
    engagement_count_all as avg_engagement_all_n,
    {{ window_average('open_questions', 'all') }} as avg_open_questions_all,
    open_questions_count_all as avg_open_questions_all_n,
    {{ window_average('understanding', 'all') }} as avg_understanding_checks_all,
    understanding_count_all as avg_understanding_checks_all_n,
    {{ window_average('rating', 'all') }} as avg_rating_all,
    rating_count_all as avg_rating_all_n,
    first_session_count_all,
    {{ window_average('first_score', 'all') }} as first_session_avg_score_all,
    first_score_count_all as first_session_avg_score_all_n,
    {{ window_rate(rebooked_all, rebook_due_all) }} as rebook_rate_all,
    {{ rebook_due_all }} as rebook_rate_all_n,

    -- Activity
    sessions_count_7d as sessions_7d,
    sessions_count_14d as sessions_14d,
    sessions_count_30d as sessions_30d,
    sessions_count_60d as sessions_60d,
    sessions_count_90d as sessions_90d,
    completed_count_7d as sessions_completed_7d,
    completed_count_14d as sessions_completed_14d,
    completed_count_30d as sessions_completed_30d,
    completed_count_90d as sessions_completed_90d,
    {{ window_rate('completed_count_30d', 'sessions_count_30d') }} as completion_rate_30d,
    cancelled_count_30d as cancelled_30d,
    no_show_tutor_count_30d as no_show_tutor_30d,
    no_show_tutor_count_90d as no_show_tutor_90d,
    no_show_student_count_30d as no_show_student_30d,
    {{ window_rate('no_show_tutor_count_30d', 'sessions_count_30d') }} as no_show_rate_30d,
    {{ seen('late_count_30d', 'late_minutes_count_30d') }} as late_count_30d,
    {{ window_rate('late_count_30d', 'late_minutes_count_30d') }} as late_rate_30d,
    {{ window_average('late_minutes', '30d') }} as avg_late_minutes_30d,
    late_minutes_count_30d as late_count_30d_n,
    tutor_reschedules_7d,
    tutor_reschedules_30d,
    tutor_reschedules_90d,
    reschedule_rate_7d,
    reschedule_rate_30d,
    reschedule_rate_90d,
    case
        {%- for window in ('7d', '30d', '90d') %}
        when
            sessions_count_{{ window }} >= {{ var('high_reschedule_min_sessions') }}
            and reschedule_rate_{{ window }} > {{ var('high_reschedule_rate') }}
            then true
        {%- endfor %}
        when
            sessions_count_90d >= {{ var('high_reschedule_min_sessions') }}
            and reschedule_rate_90d is not null
            then false
    end as is_high_reschedule,
    {{ window_rate('technical_issue_count_30d', 'technical_known_count_30d') }}
        as technical_issue_rate_30d,
    technical_known_count_30d as technical_issue_rate_30d_n,
    as_of_date - last_session_on as days_since_last_session,
    last_session_at,
    {{ seen('distinct_students_30d', 'distinct_students_30d_n') }} as distinct_students_30d,
    coalesce(distinct_students_30d_n, 0) as distinct_students_30d_n,
    active_days_30d,
    {{ window_rate('weekend_sessions_count_90d', 'sessions_count_90d') }} as weekend_share_90d,

    -- Ratings and feedback
    case
        when rating_count_7d >= {{ var('min_ratings_7d') }}
            then {{ window_average('rating', '7d') }}
    end as avg_rating_7d,
    rating_count_7d as avg_rating_7d_n,
    avg_rating_30d,
    rating_count_30d as avg_rating_30d_n,
    {{ window_average('rating', '90d') }} as avg_rating_90d,
    rating_count_90d as avg_rating_90d_n,
    {{ window_average('satisfaction', '30d') }} as avg_student_satisfaction_30d,
    satisfaction_count_30d as avg_student_satisfaction_30d_n,
    {{ window_rate('recommended_count_30d', 'recommend_known_count_30d') }}
        as recommendation_rate_30d,
    recommend_known_count_30d as recommendation_rate_30d_n,
    {{ seen('positive_review_count_30d', 'rating_count_30d') }} as positive_reviews_30d,
    {{ seen('negative_review_count_30d', 'rating_count_30d') }} as negative_reviews_30d,
    rating_volatility_30d,

    -- Session quality
    overall_score,
    least(coalesce(scored_sessions, 0), {{ var('overall_score_sessions') }}) as overall_score_n,
    {{ window_average('score', '7d') }} as avg_session_score_7d,
    score_count_7d as avg_session_score_7d_n,
    {{ window_average('score', '14d') }} as avg_session_score_14d,
    score_count_14d as avg_session_score_14d_n,
    {{ window_average('score', '30d') }} as avg_session_score_30d,
    score_count_30d as avg_session_score_30d_n,
    {{ window_average('score', 'prior_14d') }} as avg_session_score_prior_14d,
    score_count_prior_14d as avg_session_score_prior_14d_n,
    {{ window_average('score', 'prior_30d') }} as avg_session_score_prior_30d,
    score_count_prior_30d as avg_session_score_prior_30d_n,
    case
        when least(score_count_14d, score_count_prior_14d) >= {{ var('min_scored_14d') }}
            then {{ window_change('score', '14d', 'prior_14d') }}
    end as score_change_14d,
    least(score_count_14d, score_count_prior_14d) as score_change_14d_n,
    case
        when least(score_count_30d, score_count_prior_30d) >= {{ var('min_scored_30d') }}
            then {{ window_change('score', '30d', 'prior_30d') }}
    end as score_change_30d,
    case
        when least(score_count_30d, score_count_prior_30d) >= {{ var('min_scored_30d') }}
            then (
                score_sum_30d * score_count_prior_30d - score_sum_prior_30d * score_count_30d
            ) / nullif(score_sum_prior_30d * score_count_30d, 0)
    end as score_change_pct_30d,
    least(score_count_30d, score_count_prior_30d) as score_change_30d_n,
    session_score_stddev_30d,
    abs(2 * avg_rating_30d - overall_score) as rating_score_divergence,
    {{ window_average('engagement', '7d') }} as avg_engagement_7d,
    engagement_count_7d as avg_engagement_7d_n,
    {{ window_average('engagement', '30d') }} as avg_engagement_30d,
    engagement_count_30d as avg_engagement_30d_n,
    {{ window_average('attention', '30d') }} as avg_attention_30d,
    attention_count_30d as avg_attention_30d_n,
    {{ window_average('camera', '30d') }} as camera_on_30d,
    camera_count_30d as camera_on_30d_n,
    {{ window_average('empathy', '30d') }} as avg_empathy_30d,
    empathy_count_30d as avg_empathy_30d_n,
    {{ window_average('clarity', '30d') }} as avg_clarity_30d,
    clarity_count_30d as avg_clarity_30d_n,
    {{ window_average('sentiment', '7d') }} as avg_sentiment_7d,
    sentiment_count_7d as avg_sentiment_7d_n,
    {{ window_average('sentiment', '30d') }} as avg_sentiment_30d,
    sentiment_count_30d as avg_sentiment_30d_n,
    {{ window_change('sentiment', '7d', '30d') }} as sentiment_change_7d,

    -- Teaching style
    {{ window_average('talk_ratio', '30d') }} as avg_talk_ratio,
    talk_ratio_count_30d as avg_talk_ratio_n,
    case when talk_ratio_last5_n >= {{ var('talk_ratio_sessions') }} then talk_ratio_last5 end
        as talk_ratio_last5,
    coalesce(talk_ratio_last5_n, 0) as talk_ratio_last5_n,
    {{ window_rate('high_talk_count_30d', 'talk_ratio_count_30d') }} as high_talk_share,
    {{ window_rate('balanced_talk_count_30d', 'talk_ratio_count_30d') }} as balanced_talk_share,
    {{ window_average('understanding', '30d') }} as avg_understanding_checks,
    understanding_count_30d as avg_understanding_checks_n,
    {{ window_average('open_questions', '30d') }} as avg_open_questions,
    open_questions_count_30d as avg_open_questions_n,
    open_of_all_sum_30d / nullif(all_questions_sum_30d, 0) as open_question_share,
    all_questions_count_30d as open_question_share_n,
    {{ window_average('reinforcement', '30d') }} as avg_reinforcement,
    reinforcement_count_30d as avg_reinforcement_n,
    {{ window_rate('visual_aids_count_30d', 'visual_aids_known_count_30d') }} as visual_aids_rate,
    visual_aids_known_count_30d as visual_aids_rate_n,
    {{ seen('frustration_count_14d', 'frustration_known_count_14d') }}
        as frustration_sessions_14d,
    frustration_known_count_14d as frustration_sessions_14d_n,

    -- Runs and firsts
    {{ seen('low_score_streak', 'scored_sessions') }} as low_score_streak,
    coalesce(scored_sessions, 0) as low_score_streak_n,
    first_session_count_60d,
    first_session_count_90d,
    {{ window_average('first_score', '90d') }} as first_session_avg_score_90d,
    first_score_count_90d as first_session_avg_score_90d_n,
    first_session_avg_rating_90d,
    first_rating_count_90d as first_session_avg_rating_90d_n,
    {{ seen('poor_first_count_60d', 'first_score_count_60d') }} as poor_first_sessions_60d,
    first_score_count_60d as poor_first_sessions_60d_n,
    {{ seen('poor_first_recent_count_7d', 'first_score_count_7d') }} as poor_first_sessions_7d,
    first_score_count_7d as poor_first_sessions_7d_n,
    first_session_avg_rating_90d < {{ var('poor_first_rating') }} as poor_first_session_flag,
    {{ window_rate('converted', 'convert_due') }} as first_session_convert_rate_90d,
    coalesce(convert_due, 0) as first_session_convert_rate_90d_n,
    {{ window_rate(rebooked_90d, rebook_due_90d) }} as rebook_rate_90d,
    {{ rebook_due_90d }} as rebook_rate_90d_n
    {%- if has_evidence %},

    -- Evidence, newest first
    {%- for name in tutor_evidence().keys() | list + ['low_score', 'declining'] %}
    coalesce({{ name }}_session_ids, '{}') as {{ name }}_session_ids{{ ',' if not loop.last }}
    {%- endfor %}
    {%- endif %}
from rates
{%- endmacro %}

{% macro seen(count, exposure) -%}
    case when {{ exposure }} > 0 then {{ count }} end
{%- endmacro %}

{% macro window_average(name, window) -%}
    {{ name }}_sum_{{ window }}
        / nullif({{ name }}_count_{{ window }} * 1000000.0::double precision, 0)
{%- endmacro %}

{% macro window_rate(part, whole) -%}
    {{ part }}::double precision / nullif({{ whole }}, 0)
{%- endmacro %}

{% macro window_change(name, window, prior) -%}
    (
        {{ name }}_sum_{{ window }} * {{ name }}_count_{{ prior }}
        - {{ name }}_sum_{{ prior }} * {{ name }}_count_{{ window }}
    ) / nullif(
        {{ name }}_count_{{ window }}::double precision * {{ name }}_count_{{ prior }} * 1000000, 0
    )
{%- endmacro %}

{% macro age_windows() -%}
    {{ return({
        '7d': (0, 7),
        '14d': (0, 14),
        '30d': (0, 30),
        '60d': (0, 60),
        '90d': (0, 90),
        'all': (0, none),
        'prior_14d': (14, 28),
        'prior_30d': (30, 60),
        'matured_90d': (var('rebook_days'), 90),
        'matured_all': (var('rebook_days'), none),
    }) }}
{%- endmacro %}

{% macro age_bands() -%}
    {%- set edges = [] -%}
    {%- for ages in age_windows().values() -%}
        {%- for age in ages if age -%} {%- do edges.append(age) -%} {%- endfor -%}
    {%- endfor -%}
    {{ return(edges | unique | sort) }}
{%- endmacro %}

{% macro bands_of(window) -%}
    {%- set edges = [0] + age_bands() -%}
    {%- set first_age, end_age = age_windows()[window] -%}
    {%- if end_age is none -%}
        {{ return('band >= ' ~ edges.index(first_age)) }}
    {%- endif -%}
    {{ return('band between ' ~ edges.index(first_age) ~ ' and ' ~ (edges.index(end_age) - 1)) }}
{%- endmacro %}

{% macro tutor_aggregate_sums() -%}
    {{ return({
        'counts': {
            'sessions_count': ['7d', '14d', '30d', '60d', '90d'],
            'completed_count': ['7d', '14d', '30d', '90d', 'all'],
            'cancelled_count': ['30d'],
            'no_show_tutor_count': ['30d', '90d'],
            'no_show_student_count': ['30d'],
            'tutor_reschedule_count': ['7d', '30d', '90d'],
            'weekend_sessions_count': ['90d'],
            'late_count': ['30d'],
            'late_minutes_count': ['30d'],
            'technical_known_count': ['30d'],
            'technical_issue_count': ['30d'],
            'rating_count': ['7d', '30d', '90d', 'all'],
            'positive_review_count': ['30d'],
            'negative_review_count': ['30d'],
            'satisfaction_count': ['30d'],
            'recommend_known_count': ['30d'],
            'recommended_count': ['30d'],
            'score_count': ['7d', '14d', '30d', 'prior_14d', 'prior_30d'],
            'engagement_count': ['7d', '30d', 'all'],
            'attention_count': ['30d'],
            'camera_count': ['30d'],
            'empathy_count': ['30d'],
            'clarity_count': ['30d'],
            'sentiment_count': ['7d', '30d'],
            'talk_ratio_count': ['30d'],
            'high_talk_count': ['30d'],
            'balanced_talk_count': ['30d'],
            'understanding_count': ['30d', 'all'],
            'open_questions_count': ['30d', 'all'],
            'all_questions_count': ['30d'],
            'reinforcement_count': ['30d'],
            'visual_aids_known_count': ['30d'],
            'visual_aids_count': ['30d'],
            'frustration_known_count': ['14d'],
            'frustration_count': ['14d'],
            'first_session_count': ['60d', '90d', 'all'],
            'first_score_count': ['7d', '60d', '90d', 'all'],
            'first_rating_count': ['90d'],
            'poor_first_count': ['60d'],
            'poor_first_recent_count': ['7d'],
            'follow_up_known_count': ['90d', 'all'],
            'follow_up_count': ['90d', 'all'],
            'pair_count': ['matured_90d', 'matured_all'],
            'pair_rebooked_count': ['matured_90d', 'matured_all'],
        },
        'totals': {
            'late_minutes_sum': ['30d'],
            'rating_sum': ['7d', '30d', '90d', 'all'],
            'satisfaction_sum': ['30d'],
            'score_sum': ['7d', '14d', '30d', 'prior_14d', 'prior_30d'],
            'engagement_sum': ['7d', '30d', 'all'],
            'attention_sum': ['30d'],
            'camera_sum': ['30d'],
            'empathy_sum': ['30d'],
            'clarity_sum': ['30d'],
            'sentiment_sum': ['7d', '30d'],
            'talk_ratio_sum': ['30d'],
            'understanding_sum': ['30d', 'all'],
            'open_questions_sum': ['30d', 'all'],
            'open_of_all_sum': ['30d'],
            'all_questions_sum': ['30d'],
            'reinforcement_sum': ['30d'],
            'first_score_sum': ['90d', 'all'],
            'first_rating_sum': ['90d'],
        },
    }) }}
{%- endmacro %}

{% macro tutor_series() -%}
    {{ return({
        'scores': ('session_score', var('lookback_days')),
        'talk_ratios': ('tutor_talk_ratio', var('lookback_days')),
        'ratings_30d': ('student_satisfaction_rating', 30),
    }) }}
{%- endmacro %}

{#-
Counts of sessions on some days only, as the pair's next session decides: {count: (condition,
first day, day after the last)}. The last session of each pair within a window: as many as there
are students.
-#}
{% macro tutor_spans() -%}
    {{ return({
        'distinct_students_30d': (
            'student_id is not null', 'session_on', 'least(session_on + 30, next_session_on)',
        ),
        'distinct_students_30d_n': ('student_id is not null', 'session_on', 'session_on + 30'),
        'convert_due': (
            'student_id is not null and is_completed_first',
            'session_on + ' ~ var('rebook_days'), 'session_on + ' ~ var('lookback_days'),
        ),
    }) }}
{%- endmacro %}

{#-
First sessions after the day `after` and up to the day `until`, with the moments at which their pair had another session:
one that was held by then, or one that lay ahead, booked by then and not yet called off. A session that
does not say when it was booked was, as far as is known, when its row last changed; one still planned that
says neither, always. When a session was called off is when its row last changed.
-#}
{% macro followed_first_sessions(after, until, scope) -%}
    select
        tutor_id,
        session_id,
        session_on,
        range_agg(tstzrange(booked_at, gone_at)) as followed_during
    from (
        select
            firsts.tutor_id,
            firsts.session_id,
            firsts.session_on,
            least(
                later.scheduled_start,
                coalesce(
                    later.created_at,
                    later.updated_at,
                    case when later.status = 'scheduled' then '-infinity'::timestamptz end
                )
            ) as booked_at,
            case
                when later.status in ('completed', 'in_progress') then 'infinity'
                when later.status = 'scheduled' then later.scheduled_start
                when later.updated_at is not null
                    then least(later.updated_at, later.scheduled_start)
            end as gone_at
        from (
            select * from {{ ref('fct_sessions') }}
            where
                session_on > {{ after }}
                and session_on <= {{ until }}
                and status = 'completed'
                and is_first_session
                and student_id is not null
                and {{ scope }}
        ) as firsts
        inner join (
            select * from {{ ref('fct_sessions') }}
            where session_on > {{ after }} and {{ scope }}
        ) as later
            on
                firsts.tutor_id = later.tutor_id
                and firsts.student_id = later.student_id
                and (firsts.scheduled_start, firsts.session_id)
                < (later.scheduled_start, later.session_id)
    ) as later_sessions
    where booked_at < gone_at
    group by tutor_id, session_id, session_on
{%- endmacro %}

{% macro newest_first() -%}
    order by session_on desc, scheduled_start desc, session_id desc
{%- endmacro %}

{% macro tutor_evidence() -%}
    {%- set recent = 'is_completed and age < 30 and ' -%}
    {{ return({
        'no_show': "age < 30 and status = 'no_show_tutor'",
        'reschedule': 'age < 30 and is_tutor_reschedule',
        'late': 'age < 30 and is_late',
        'frustration': 'is_completed and age < 14 and student_frustration_count >= 1',
        'poor_first': 'is_completed_first and (age < 60 and session_score < '
            ~ var('poor_first_score') ~ ' or age < 7 and session_score < '
            ~ var('poor_first_score_recent') ~ ')',
        'high_talk': 'is_completed and tutor_talk_ratio > ' ~ var('high_talk_ratio'),
        'balanced_talk': recent ~ 'tutor_talk_ratio >= ' ~ var('balanced_talk_from')
            ~ ' and tutor_talk_ratio <= ' ~ var('balanced_talk_to'),
        'engagement': recent ~ 'student_engagement_score is not null',
        'understanding': recent ~ 'tutor_checks_understanding_count is not null',
        'questioning': recent ~ 'open_ended_questions is not null',
        'visual_aids': recent ~ 'tutor_uses_visual_aids is not null',
        'reinforcement': recent ~ 'tutor_positive_reinforcement_count is not null',
        'first': 'is_completed_first and session_score is not null',
        'talk': recent ~ 'tutor_talk_ratio is not null',
        'attention': recent ~ 'student_on_screen_attention_pct is not null',
        'technical_issue': recent ~ 'technical_issues',
        'recommendation': recent ~ 'not would_recommend',
        'rating': recent ~ 'student_satisfaction_rating is not null',
        'recent': 'is_completed',
    }) }}
{%- endmacro %}

{% macro decay_weight(rank) -%}
    (array[
    {%- for n in range(var('overall_score_sessions')) -%}
        {{ (var('score_decay') ** n * 1000000000) | round | int }}{{ ', ' if not loop.last }}
    {%- endfor -%}
    ]::bigint[])[{{ rank }}]
{%- endmacro %}

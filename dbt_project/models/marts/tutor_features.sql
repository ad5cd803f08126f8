{{ config(
    materialized='scoped',
    indexes=[{'columns': ['tutor_id'], 'unique': true}],
    meta={'distribute_by': 'tutor_id', 'rebuild_when': 'every_row_is_new'},
) }}

{#-
The 46 features of a tutor, a row for each row of `base`: tutor_aggregates, or its history. What the
wide row knows already is taken from there. Every column is defined in
models/marts/_features__models.yml.

What the head sets is of today; tutor_features_history takes this text for other days.

first_day, last_day  SQL dates between which every as_of_date of the base lies
scope                predicate on tutor_id

Sums run over integers and numerics only: they are the same in any order. A row that says when it
became known counts from then on.

0. wide, asked            whose features, as of when
1. recorded               what the platform was known to record: there, nothing of it is 0
2. availability           hours offered, and the days of the full weeks among them
3. sessions               those of feature_days, as known at as_of
4. activity, pairs        what their lengths, bills and students tell
5. by_subject, declared   what was taught beside what the tutor says to teach
-#}
{%- set as_of_on = refresh()['as_of_on'] -%}
{%- set base = given('base', none) or ref('tutor_aggregates') -%}
{%- set first_day = given('first_day', as_of_on) -%}
{%- set last_day = given('last_day', as_of_on) -%}
{%- set scope = given('scope', in_scope('tutor_id')) -%}
{%- set feature_days = 60 -%}
{#- Of past days: what was excused by then. -#}
{%- set is_excused = given('base', none) is not none and has_excuses() -%}
{#- A lesson of several students is one of each. -#}
{%- set lessons_of_students = 'wide.sessions_completed_all' if not has_groups() else
    "(select count(*) from " ~ ref('fct_session_students') ~ " as taking_part where"
    ~ " taking_part.tutor_id = wide.tutor_id and taking_part.status = 'completed'"
    ~ " and taking_part.scheduled_start <= wide.as_of)" -%}
{%- do ref('fct_session_students') -%}
{%- set full_weeks = 'week_start + 7 <= as_of_date and available_hours is not null' -%}

with

wide as not materialized (
    select * from {{ base }}
    where {{ scope }}
),

asked as not materialized (
    select
        tutor_id,
        as_of,
        as_of_date
    from wide
),

-- Read through these, so that each read is planned on its own: with the indexes that there are.
certified as not materialized (
    select * from {{ staged('tutor_certifications') }} as staged
),

taught_subjects as not materialized (
    select * from {{ staged('tutor_subjects') }} as staged
),

recorded as materialized (
    select
        moments.as_of,
        exists(
            select 1 from {{ staged('session_billing') }} as bill
            where bill.billed_at is null or bill.billed_at <= moments.as_of
        ) as has_bills,
        exists(
            select 1 from certified as certificate
            where certificate.issued_on is null or certificate.issued_on <= moments.as_of_date
        ) as has_certifications,
        exists(select 1 from taught_subjects) as has_declared_subjects,
        exists(
            select 1 from {{ staged('subjects') }} as subject
            where subject.is_advanced is not null
        ) as has_advanced_subjects
    from (
        select distinct
            as_of,
            as_of_date
        from asked
    ) as moments
),

-- Of a week reported twice, what was known last; the five weeks before as_of, its own, the next.
weeks as (
    select distinct on (asked.tutor_id, asked.as_of_date, offered.week_start)
        asked.as_of_date,
        offered.*
    from asked
    inner join (
        select
            tutor_id,
            week_start,
            {%- for column in (
                'available_hours', 'avg_response_time_hours', 'booking_lead_time_hours',
            ) %}
            {{ within_contract('tutor_availability', column) }}::numeric as {{ column }},
            {%- endfor %}
            instant_book_enabled,
            reported_at
        from {{ staged('tutor_availability') }} as offered
        where {{ scope }}
    ) as offered
        on
            asked.tutor_id = offered.tutor_id
            and asked.as_of_date - 35 < offered.week_start
            and asked.as_of_date + 7 >= offered.week_start
            and (offered.reported_at is null or asked.as_of >= offered.reported_at)
    order by
        asked.tutor_id asc,
        asked.as_of_date asc,
        offered.week_start asc,
        offered.reported_at desc nulls last,
        offered.available_hours asc,
        offered.avg_response_time_hours asc,
        offered.booking_lead_time_hours asc,
        offered.instant_book_enabled asc
),

availability as (
    select
        tutor_id,
        as_of_date,
        max(available_hours) filter (
            where week_start <= as_of_date and week_start + 7 > as_of_date
        ) as hours_this_week,
        max(available_hours) filter (where week_start > as_of_date) as hours_next_week,
        (
            array_agg(instant_book_enabled order by week_start desc)
            filter (where instant_book_enabled is not null and week_start <= as_of_date)
        )[1] as instant_book_enabled,
        avg(avg_response_time_hours) filter (where week_start <= as_of_date) as response_hours,
        avg(booking_lead_time_hours) filter (where week_start <= as_of_date) as lead_hours,
        sum(available_hours) filter (where {{ full_weeks }}) as hours_offered,
        range_agg(daterange(week_start, week_start + 7)) filter (where {{ full_weeks }})
            as days_offered
    from weeks
    group by tutor_id, as_of_date
),

{% if is_excused -%}
{{ excuse_spans(scope) }},

{% endif -%}
sessions as not materialized (
    select
        asked.tutor_id,
        asked.as_of_date,
        asked.as_of_date - held.session_on as age,
        held.session_id,
        held.session_on,
        held.student_id,
        held.status = 'completed' as is_completed,
        held.actual_duration_minutes,
        coalesce(held.actual_duration_minutes, held.scheduled_duration_minutes) as minutes,
        coalesce(held.subject_id, held.subject) as subject,
        case
            when
                (held.feedback_submitted_at is null or held.feedback_submitted_at <= asked.as_of)
                and ('quality' = any({{ 'known' if is_excused else 'held' }}.
                    {{- 'kinds' if is_excused else 'excused_kinds' }})) is not true
                then held.student_satisfaction_rating::numeric
        end as rating,
        held.billed_amount is not null
        and (held.billed_at is null or held.billed_at <= asked.as_of) as is_billed,
        held.billed_amount - coalesce(held.refunded_amount, 0) as earned,
        held.billing_tier,
        held.is_discounted,
        held.refunded_amount,
        held.is_disputed
    from asked
    inner join (
        select * from {{ ref('fct_sessions') }}
        where
            session_on > {{ first_day }} - {{ feature_days }}
            and session_on <= {{ last_day }}
            and status not in ('scheduled', 'in_progress')
            and {{ scope }}
    ) as held
        on
            asked.tutor_id = held.tutor_id
            and asked.as_of_date - {{ feature_days }} < held.session_on
            and asked.as_of_date >= held.session_on
            and asked.as_of >= held.scheduled_start
    {%- if is_excused %}
    left join excuse_spans as known
        on
            held.tutor_id = known.tutor_id
            and held.session_id = known.session_id
            and asked.as_of_date >= known.known_from
            and asked.as_of_date < known.known_until
    {%- endif %}
),

activity as (
    select
        sessions.tutor_id,
        sessions.as_of_date,
        avg(sessions.actual_duration_minutes) filter (
            where sessions.is_completed and sessions.age < 30
        ) as avg_minutes,
        count(*) filter (where sessions.is_billed and sessions.age < 30) as bills,
        sum(sessions.earned) filter (where sessions.is_billed and sessions.age < 30) as earned,
        sum(sessions.earned) filter (
            where sessions.is_billed and sessions.age >= 30
        ) as earned_before,
        count(sessions.billing_tier) filter (
            where sessions.is_billed and sessions.age < 30
        ) as tiers,
        count(*) filter (
            where sessions.is_billed and sessions.age < 30 and sessions.billing_tier = 'premium'
        ) as premiums,
        count(sessions.is_discounted) filter (
            where sessions.is_billed and sessions.age < 30
        ) as discounts_known,
        count(*) filter (
            where sessions.is_billed and sessions.age < 30 and sessions.is_discounted
        ) as discounts,
        count(sessions.refunded_amount) filter (
            where sessions.is_billed and sessions.age < 30
        ) as refunds_known,
        count(*) filter (
            where sessions.is_billed and sessions.age < 30 and sessions.refunded_amount > 0
        ) as refunds,
        count(*) filter (
            where sessions.is_billed and sessions.age < 30 and sessions.is_disputed
        ) as disputes,
        count(*) filter (
            where sessions.is_completed and sessions.session_on <@ availability.days_offered
        ) as held_when_offered,
        sum(sessions.minutes) filter (
            where sessions.is_completed and sessions.session_on <@ availability.days_offered
        )
            as minutes_when_offered,
        sum(sessions.earned) filter (
            where sessions.is_billed and sessions.session_on <@ availability.days_offered
        )
            as earned_when_offered
    from sessions
    left join availability
        on
            sessions.tutor_id = availability.tutor_id
            and sessions.as_of_date = availability.as_of_date
    group by sessions.tutor_id, sessions.as_of_date
),

pairs as (
    select
        tutor_id,
        as_of_date,
        student_id,
        bool_or(age >= 30) as was_there,
        bool_or(age < 30) as is_there
    {% if has_groups() -%}
    from (
        select
            sessions.tutor_id,
            sessions.as_of_date,
            sessions.age,
            taking_part.student_id,
            taking_part.status = 'completed' as is_completed
        from sessions
        inner join {{ ref('fct_session_students') }} as taking_part
            on
                sessions.tutor_id = taking_part.tutor_id
                and sessions.session_id = taking_part.session_id
    ) as sessions
    {%- else -%}
    from sessions
    {%- endif %}
    where is_completed and student_id is not null
    group by tutor_id, as_of_date, student_id
),

retention as (
    select
        tutor_id,
        as_of_date,
        count(*) filter (where was_there) as students_before,
        count(*) filter (where was_there and is_there) as students_kept,
        array_agg(student_id) as students
    from pairs
    group by tutor_id, as_of_date
),

-- By way of the students: a platform's key begins with them.
progress as (
    select
        taught.tutor_id,
        taught.as_of_date,
        avg(measured.grade_change_pct::numeric) as grade_change
    from (
        select
            tutor_id,
            as_of_date,
            unnest(students) as student_id
        from retention
    ) as taught
    inner join (
        select
            tutor_id,
            student_id,
            measured_on,
            {{ within_contract('student_progress', 'grade_change_pct') }} as grade_change_pct
        from {{ staged('student_progress') }} as staged
        where {{ scope }}
    ) as measured
        on
            taught.student_id = measured.student_id
            and taught.tutor_id = measured.tutor_id
            and taught.as_of_date - {{ feature_days }} < measured.measured_on
            and taught.as_of_date >= measured.measured_on
    group by taught.tutor_id, taught.as_of_date
),

subjects as (
    select distinct on (listed.id) listed.*
    from {{ staged('subjects') }} as listed
    where listed.id is not null
    order by listed.id, listed::text
),

-- A session names its subject by id, or by name where the platform has no ids.
subject_keys as (
    select distinct on (named.subject_key) named.*
    from (
        select
            id as subject_key,
            id,
            category,
            1 as preference
        from subjects
        union all
        select
            name,
            id,
            category,
            2 as preference
        from subjects
        where name is not null
    ) as named
    order by named.subject_key, named.preference, named.id
),

declared as (
    select distinct
        listed.tutor_id,
        listed.subject_id,
        subjects.is_advanced
    from (
        select * from taught_subjects
        where {{ scope }}
    ) as listed
    left join subjects on listed.subject_id = subjects.id
    where listed.subject_id is not null
),

declared_counts as (
    select
        tutor_id,
        count(*)::integer as subjects,
        count(*) filter (where is_advanced)::integer as advanced_subjects
    from declared
    group by tutor_id
),

by_subject as (
    select
        sessions.tutor_id,
        sessions.as_of_date,
        coalesce(subject_keys.id, sessions.subject) as subject_id,
        min(subject_keys.category) as category,
        count(*) as completed,
        avg(sessions.rating) as rating
    from sessions
    left join subject_keys on sessions.subject = subject_keys.subject_key
    where sessions.is_completed and sessions.age < 30 and sessions.subject is not null
    group by sessions.tutor_id, sessions.as_of_date, subject_id
),

subject_mix as (
    select
        by_subject.tutor_id,
        by_subject.as_of_date,
        count(*) as subjects,
        sum(by_subject.completed) as completed,
        sum(by_subject.completed) filter (where declared.subject_id is not null) as matching,
        max(by_subject.completed) filter (where declared.subject_id is not null) as largest,
        avg(by_subject.rating) as rating
    from by_subject
    left join declared
        on
            by_subject.tutor_id = declared.tutor_id
            and by_subject.subject_id = declared.subject_id
    group by by_subject.tutor_id, by_subject.as_of_date
),

category_mix as (
    select
        tutor_id,
        as_of_date,
        1 - sum(completed * completed) / (sum(completed) * sum(completed)) as diversity
    from (
        select
            tutor_id,
            as_of_date,
            category,
            sum(completed) as completed
        from by_subject
        where category is not null
        group by tutor_id, as_of_date, category
    ) as categories
    group by tutor_id, as_of_date
),

certifications as (
    select
        asked.tutor_id,
        asked.as_of_date,
        count(distinct held.name)::integer as certificates
    from asked
    inner join (
        select * from certified
        where {{ scope }}
    ) as held
        on
            asked.tutor_id = held.tutor_id
            and (held.issued_on is null or asked.as_of_date >= held.issued_on)
    group by asked.tutor_id, asked.as_of_date
),

profiles as not materialized (
    select
        tutor_id,
        primary_subject,
        hourly_rate,
        months_experience
    from {{ ref('dim_tutors') }}
    where {{ scope }}
),

market as (
    select
        primary_subject,
        percentile_cont(0.5) within group (order by hourly_rate) as median_rate
    from {{ ref('dim_tutors') }}
    where
        is_active
        and hourly_rate > 0
        and primary_subject in (select profiles.primary_subject from profiles)
    group by primary_subject
)

select
    wide.tutor_id,
    wide.as_of,

    -- Session
    wide.sessions_7d as sessions_taught_7d,
    wide.sessions_14d as sessions_taught_14d,
    wide.sessions_30d as sessions_taught_30d,
    wide.sessions_completed_7d,
    wide.sessions_completed_14d,
    wide.sessions_completed_30d,
    activity.avg_minutes::double precision as avg_session_duration_min,
    wide.completion_rate_30d as session_completion_rate,
    wide.no_show_rate_30d as no_show_rate,
    {{ window_rate('wide.cancelled_30d', 'wide.sessions_30d') }} as cancellation_rate,
    wide.days_since_last_session,
    wide.sessions_completed_7d / 7.0::double precision as session_frequency_7d,
    wide.sessions_completed_14d / 14.0::double precision as session_frequency_14d,

    -- Satisfaction
    wide.avg_rating_30d as avg_rating,
    wide.avg_rating_7d - wide.avg_rating_30d as rating_trend,
    wide.rating_volatility_30d as rating_volatility,
    wide.positive_reviews_30d as positive_reviews,
    wide.negative_reviews_30d as negative_reviews,
    {{ window_rate('retention.students_kept', 'retention.students_before') }}
        as student_retention_rate,
    wide.distinct_students_30d as unique_students_30d,
    {{ window_rate(lessons_of_students, 'wide.first_session_count_all') }}
        as avg_student_lifetime_sessions,

    -- Availability
    availability.hours_this_week::double precision as available_hours_this_week,
    availability.hours_next_week::double precision as available_hours_next_week,
    (
        case
            when coalesce(activity.held_when_offered, 0) > 0
                then activity.minutes_when_offered / 60.0
            else 0
        end
        / nullif(availability.hours_offered, 0)
    )::double precision as utilization_rate,
    availability.instant_book_enabled,
    availability.response_hours::double precision as avg_response_time_hours,
    availability.lead_hours::double precision as booking_lead_time_avg_hours,

    -- Subject
    case when recorded.has_declared_subjects then coalesce(declared_counts.subjects, 0) end
        as primary_subject_count,
    category_mix.diversity::double precision as subject_diversity_score,
    subject_mix.rating::double precision as avg_rating_by_subject,
    (subject_mix.completed / subject_mix.subjects)::double precision as sessions_per_subject_30d,
    case
        when declared_counts.subjects > 0
            then (coalesce(subject_mix.matching, 0) / subject_mix.completed)::double precision
    end as subject_match_accuracy,
    case when recorded.has_certifications then coalesce(certifications.certificates, 0) end
        as certification_count,
    profiles.months_experience / 12.0::double precision as years_of_experience,
    case
        when declared_counts.subjects > 0
            then (coalesce(subject_mix.largest, 0) / subject_mix.completed)::double precision
    end as specialization_score,
    case
        when recorded.has_declared_subjects and recorded.has_advanced_subjects
            then coalesce(declared_counts.advanced_subjects, 0)
    end as advanced_topics_count,
    progress.grade_change::double precision as student_grade_improvement_avg,

    -- Financial
    case when recorded.has_bills then coalesce(activity.earned, 0)::double precision end
        as total_earnings_30d,
    (activity.earned / nullif(activity.bills, 0))::double precision as avg_earnings_per_session,
    (
        (coalesce(activity.earned, 0) - activity.earned_before)
        / nullif(activity.earned_before, 0)
    )::double precision as earnings_trend,
    {{ window_rate('activity.premiums', 'activity.tiers') }} as premium_tier_sessions_ratio,
    {{ window_rate('activity.discounts', 'activity.discounts_known') }} as discount_sessions_ratio,
    case when recorded.has_bills then coalesce(activity.disputes, 0)::integer end
        as payment_disputes,
    {{ window_rate('activity.refunds', 'activity.refunds_known') }} as refund_rate_30d,
    market.median_rate / nullif(profiles.hourly_rate, 0)::double precision
        as pricing_competitiveness_score,
    case
        when recorded.has_bills
            then (
                coalesce(activity.earned_when_offered, 0) / nullif(availability.hours_offered, 0)
            )::double precision
    end as revenue_per_available_hour
from wide
inner join recorded on wide.as_of = recorded.as_of
{%- for relation in (
    'activity', 'retention', 'progress', 'subject_mix', 'category_mix', 'certifications',
    'availability',
) %}
left join {{ relation }}
    on wide.tutor_id = {{ relation }}.tutor_id and wide.as_of_date = {{ relation }}.as_of_date
{%- endfor %}
left join declared_counts on wide.tutor_id = declared_counts.tutor_id
left join profiles on wide.tutor_id = profiles.tutor_id
left join market on profiles.primary_subject = market.primary_subject

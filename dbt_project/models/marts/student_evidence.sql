{{ config(
    materialized='scoped',
    indexes=[{'columns': ['student_id'], 'unique': true}],
    meta={'distribute_by': 'student_id', 'replaces': 'all rows'},
) }}

{#-
What of a student may tell that the student is about to leave: what is so now beside what was usual for
this student before, a row per student and asked day, of whoever completed a session not long before and
had not left. Scores read it; nothing here says what is good or bad. Every column is defined in
models/marts/_evidence__models.yml. The counterpart of tutor_evidence.

What the head sets is of today; student_evidence_history takes this text for other days.

newest        SQL date: the newest of the asked days; the others lie 7, 14, … days before it
asked_weeks   how many days are asked
now           SQL moment of the newest day; none: the end of that day
some          predicate on student_id

Days are counted in whole weeks back from each asked day, as in tutor_evidence. A session, a mark and a
bill count in the week in which they became known, so that no day knows what was recorded after it; what
is older than all weeks that are looked at is in one more "week", which only counts of ever reach.

0. known        the sessions that count, and when what of them became known
1. lives        since when and until when a student is looked at
2. had, <mark>s, billed, ahead   by week
3. calendar     every student and week
4. seen         this week and the weeks before it
-#}
{%- set header = refresh() -%}
{%- set newest = given('newest', header.as_of_on) -%}
{%- set asked_weeks = given('asked_weeks', 1) -%}
{%- set now = given('now', header.as_of) -%}
{#- Of most students the last session is long ago: they need not be looked at. -#}
{%- set recent %}
    student_id in (
        select taught.student_id
        from {{ student_sessions(is_whole=true) }} as taught
        where
            taught.session_on >= {{ header.as_of_on }} - {{ var('asked_silence_days') }}
            and taught.status = 'completed'
    )
{%- endset -%}
{%- set some = given('some', recent) -%}
{%- set weeks = asked_weeks + 12 -%}
{%- set events = ('moved', 'cancelled', 'missed', 'missed_by_tutor', 'new_tutors') -%}
{%- set marks = ('score', 'satisfaction', 'engagement') -%}
{%- set import_days = built(
    ref('int_import_days'), 'null::text as recorded, null::date as created_on'
) -%}
{%- set zone = quote_text(pipeline_timezone()) -%}
{%- set until = now if now is not none else
    '((' ~ newest ~ ' + 1)::timestamp at time zone ' ~ zone ~ ')' -%}

with

platform_days as materialized (
    select min(session_on) as first_on from {{ ref('fct_sessions') }}
),

known as materialized (
    select
        *,
        greatest(known_on, feedback_on) as satisfaction_known_on,
        -- The platform's own score is of the session; the one in its stead of the feedback too.
        case when is_scored then known_on else greatest(known_on, feedback_on) end
            as score_known_on,
        greatest(known_on, audio_on) as engagement_known_on,
        greatest(known_on, billed_on) as billed_known_on,
        -- The student's first session with a tutor, but for the very first of all.
        row_number() over (
            partition by student_id, tutor_id order by scheduled_start, session_id
        ) = 1
        and row_number() over (
            partition by student_id order by scheduled_start, tutor_id, session_id
        ) > 1 as is_with_new_tutor
    from (
        select
            sessions.student_id,
            sessions.tutor_id,
            sessions.session_id,
            sessions.session_on,
            sessions.scheduled_start,
            sessions.status,
            sessions.status = 'completed' as is_completed,
            sessions.session_score as score,
            sessions.own_satisfaction as satisfaction,
            sessions.student_engagement_score as engagement,
            sessions.billed_amount as billed,
            sessions.is_discounted,
            {%- set told = "(sessions.{} at time zone " ~ zone ~ ")::date" %}
            greatest(
                sessions.session_on,
                case when imports.created_on is null then {{ told.format('created_at') }} end
            ) as known_on,
            sessions.overall_session_score is not null as is_scored,
            {{ told.format('feedback_submitted_at') }} as feedback_on,
            {{ told.format('audio_created_at') }} as audio_on,
            {{ told.format('billed_at') }} as billed_on
        from {{ student_sessions(is_whole=true) }} as sessions
        left join {{ import_days }} as imports
            on
                imports.recorded = 'sessions'
                and {{ told.format('created_at') }} = imports.created_on
        where
            sessions.student_id is not null
            and sessions.status not in ('scheduled', 'in_progress')
            and sessions.scheduled_start <= {{ until }}
            and sessions.session_on <= {{ newest }}
            and {{ some }}
    ) as sessions
    where known_on <= {{ newest }}
),

lives as (
    select
        student_id,
        min(session_on) as first_on,
        max(session_on) filter (where is_completed) as last_completed_on,
        least(max({{ weeks_back('known_on', newest) }}), {{ weeks }}) as first_week
    from known
    group by student_id
    having
        max(session_on) filter (where is_completed)
        > {{ newest }} - {{ 7 * asked_weeks + var('asked_silence_days') }}
),

students as (
    select
        lives.student_id,
        lives.first_week,
        greatest(
            {{ weeks_back('lives.last_completed_on', newest) }}
            - {{ var('asked_silence_days') // 7 + 1 }},
            0
        ) as last_week,
        profiles.churned_date,
        greatest(
            least(profiles.enrolled_since, lives.first_on), platform_days.first_on
        ) as seen_since
    from lives
    inner join {{ ref('dim_students') }} as profiles on lives.student_id = profiles.student_id
    cross join platform_days
    -- Of who is said to have left without a date, nobody knows whether they were there.
    where profiles.churned_date is not null or profiles.status is distinct from 'churned'
),

had as (
    select
        student_id,
        least({{ weeks_back('known_on', newest) }}, {{ weeks }}) as week,
        count(*)::integer as sessions,
        count(*) filter (where is_completed)::integer as completed,
        count(*) filter (where status = 'rescheduled')::integer as moved,
        count(*) filter (where status = 'cancelled')::integer as cancelled,
        count(*) filter (where status = 'no_show_student')::integer as missed,
        count(*) filter (where status = 'no_show_tutor')::integer as missed_by_tutor,
        count(*) filter (where status = 'not_held')::integer as not_held,
        count(*) filter (where is_with_new_tutor)::integer as new_tutors,
        max(session_on) filter (where is_completed) as last_completed_on
    from known
    group by student_id, week
),

{% for mark in marks -%}
{{ mark }}s as (
    select
        student_id,
        {{ weeks_back(mark ~ '_known_on', newest) }} as week,
        sum({{ mark }}::numeric)::double precision as marks,
        count({{ mark }})::integer as marked
    from known
    where
        is_completed
        and {{ mark }} is not null
        and {{ mark }}_known_on <= {{ newest }}
        and {{ mark }}_known_on > {{ newest }} - {{ 7 * weeks }}
    group by student_id, week
),

{% endfor -%}
billed as (
    select
        student_id,
        {{ weeks_back('billed_known_on', newest) }} as week,
        count(is_discounted)::integer as billed,
        count(*) filter (where is_discounted)::integer as discounted,
        count(billed)::integer as paid,
        sum(billed::numeric)::double precision as amount
    from known
    where
        is_completed
        and coalesce(is_discounted::text, billed::text) is not null
        and billed_known_on <= {{ newest }}
        and billed_known_on > {{ newest }} - {{ 7 * weeks }}
    group by student_id, week
),

firsts as (
    select distinct on (student_id)
        student_id,
        coalesce(satisfaction, score) as first_satisfaction,
        greatest(satisfaction_known_on, score_known_on) as first_known_on
    from known
    where is_completed
    order by student_id, scheduled_start, tutor_id, session_id
),

ahead as (
    {{ sessions_ahead('student_id', newest, asked_weeks, now, some) }}
),

calendar as (
    select
        students.student_id,
        students.churned_date,
        students.seen_since,
        series.week,
        {{ newest }} - 7 * series.week as as_of_date
    from students
    cross join lateral generate_series(students.last_week, students.first_week) as series (week)
),

seen as (
    select
        calendar.student_id,
        calendar.churned_date,
        calendar.week,
        calendar.as_of_date,
        calendar.as_of_date - calendar.seen_since + 1 as days_seen,
        max(had.last_completed_on) over onwards as last_completed_on,
        sum(had.completed) over onwards as completed_all,
        sum(had.completed) over recent_14 as completed_14d,
        sum(had.completed) over recent_28 as completed_28d,
        sum(had.completed) over before_14 as completed_before_14d,
        sum(had.completed) over before_28 as completed_before_28d,

        sum(had.sessions) over recent_28 as sessions_28d,
        sum(had.sessions) over before_28 as sessions_before,
        {%- for event in events + ('not_held',) %}
        sum(had.{{ event }}) over recent_28 as {{ event }}_28d,
        sum(had.{{ event }}) over before_28 as {{ event }}_before,
        {%- endfor %}

        {%- for mark in marks %}
        {%- for days, name in (('recent_28', '28d'), ('before_28', 'before')) %}
        sum({{ mark }}s.marks) over {{ days }} as {{ mark }}_sum_{{ name }},
        sum({{ mark }}s.marked) over {{ days }} as {{ mark }}_count_{{ name }},
        {%- endfor %}
        {%- endfor %}

        {%- for column in ('billed', 'discounted', 'paid', 'amount') %}
        sum(billed.{{ column }}) over recent_28 as {{ column }}_28d,
        sum(billed.{{ column }}) over before_28 as {{ column }}_before,
        {%- endfor %}

        case
            when firsts.first_known_on <= calendar.as_of_date then firsts.first_satisfaction
        end as first_satisfaction,
        coalesce(ahead.booked, 0) as booked_ahead,
        coalesce(ahead.unclear, 0) as booked_unclear
    from calendar
    {%- for relation in ('had', 'scores', 'satisfactions', 'engagements', 'billed', 'ahead') %}
    left join {{ relation }}
        on
            calendar.student_id = {{ relation }}.student_id
            and calendar.week = {{ relation }}.week
    {%- endfor %}
    left join firsts on calendar.student_id = firsts.student_id
    window
        onwards as (
            partition by calendar.student_id order by calendar.week
            rows between current row and unbounded following
        ),
        recent_14 as (
            partition by calendar.student_id order by calendar.week
            rows between current row and 1 following
        ),
        recent_28 as (
            partition by calendar.student_id order by calendar.week
            rows between current row and 3 following
        ),
        before_14 as (
            partition by calendar.student_id order by calendar.week
            rows between 2 following and 9 following
        ),
        before_28 as (
            partition by calendar.student_id order by calendar.week
            rows between 4 following and 11 following
        )
)

select
    student_id,
    {% if now is not none %}{{ now }}{% else -%}
    ((as_of_date + 1)::timestamp at time zone {{ zone }}) - interval '1 microsecond'
    {%- endif %} as as_of,
    as_of_date,
    greatest(days_seen, 1)::integer as days_seen,
    (as_of_date - last_completed_on)::integer as days_since_completed,
    {%- for days in ('all', '14d', '28d', 'before_14d', 'before_28d') %}
    coalesce(completed_{{ days }}, 0)::integer as completed_{{ days }},
    {%- endfor %}
    {%- for event in ('sessions',) + events %}
    {%- for days in ('28d', 'before') %}
    {{ known_count(event, days, ('cancelled', 'missed', 'missed_by_tutor')) }}
        as {{ event }}_{{ days }},
    {%- endfor %}
    {%- endfor %}
    {%- for mark in marks %}
    {%- for days in ('28d', 'before') %}
    {{ mark }}_sum_{{ days }} / nullif({{ mark }}_count_{{ days }}, 0) as {{ mark }}_{{ days }},
    coalesce({{ mark }}_count_{{ days }}, 0)::integer as {{ mark }}_{{ days }}_n,
    {%- endfor %}
    {%- endfor %}
    {%- for days in ('28d', 'before') %}
    coalesce(billed_{{ days }}, 0)::integer as billed_{{ days }},
    coalesce(discounted_{{ days }}, 0)::integer as discounted_{{ days }},
    amount_{{ days }} / nullif(paid_{{ days }}, 0) as price_{{ days }},
    coalesce(paid_{{ days }}, 0)::integer as price_{{ days }}_n,
    {%- endfor %}
    first_satisfaction::double precision as first_satisfaction,
    booked_ahead::integer as booked_ahead,
    booked_unclear::integer as booked_unclear
from seen
where
    week < {{ asked_weeks }}
    and days_seen > 0
    and as_of_date - last_completed_on <= {{ var('asked_silence_days') }}
    and coalesce(churned_date > as_of_date, true)

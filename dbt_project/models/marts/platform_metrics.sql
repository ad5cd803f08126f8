{{ config(
    materialized='scoped',
    indexes=[{'columns': ['metric_date'], 'unique': true}],
    meta={'replaces': 'all rows'},
) }}

{#- Name of each metric, and its numerator and denominator over the days of a window. #}
{%- set metrics = {
    'sessions': ('sessions', none),
    'completion_rate': ('completed', 'sessions'),
    'no_show_rate': ('no_shows', 'no_shows_due'),
    'reschedule_rate': ('reschedules', 'reschedules_due'),
    'avg_session_score': ('score_sum', 'score_count'),
    'avg_rating': ('rating_sum', 'rating_count'),
    'avg_engagement': ('engagement_sum', 'engagement_count'),
} %}
{%- set parts = (
    'sessions', 'completed', 'no_shows', 'no_shows_due', 'not_held', 'reschedules',
    'reschedules_due', 'score_sum', 'score_count', 'rating_sum', 'rating_count',
    'engagement_sum', 'engagement_count',
) %}
{%- set header = refresh() %}
{%- set has_reschedules = reschedules_are_known() | lower %}
{%- set measures %}
        sum(sessions_count)::double precision as sessions,
        sum(completed_count)::double precision as completed,
        sum(no_show_tutor_count)::double precision as no_shows,
        sum(absence_due_count)::double precision as no_shows_due,
        sum(not_held_count) as not_held,
        case when {{ has_reschedules }} then sum(tutor_reschedule_count) end::double precision
            as reschedules,
        sum(reschedule_due_count)::double precision as reschedules_due,
        sum(score_sum)::double precision as score_sum,
        sum(score_count)::double precision as score_count,
        sum(rating_sum)::double precision as rating_sum,
        sum(rating_count)::double precision as rating_count,
        sum(engagement_sum)::double precision as engagement_sum,
        sum(engagement_count)::double precision as engagement_count
{%- endset %}
{%- set is_excused = has_excuses() %}
{%- set first_day = header.as_of_on ~ ' - ' ~ (var('lookback_days') - 1 + 60) %}

with

daily as (
    select
        session_on,
        {{ measures | trim }}
    from {{ ref('int_tutor_days') }}
    where session_on >= {{ first_day }}
    group by session_on
),

calendar as (
    select series.calendar_day::date as metric_date
    from generate_series(
        ({{ first_day }})::timestamp, ({{ header.as_of_on }})::timestamp, '1 day'
    ) as series (calendar_day)
),

{% if is_excused -%}
{{ as_known_then('true') }},

-- What excuses that were not yet made, or were undone later, change in a past row.
known as (
    select
        calendar.metric_date,
        calendar.metric_date - then_and_now.session_on < 30 as is_recent,
        {{ measures | trim }}
    from calendar
    inner join then_and_now
        on
            calendar.metric_date >= then_and_now.session_on
            and calendar.metric_date < then_and_now.session_on + 60
            and calendar.metric_date >= then_and_now.known_from
            and calendar.metric_date < then_and_now.known_until
    group by calendar.metric_date, calendar.metric_date - then_and_now.session_on < 30
),

{% endif -%}
sums as (
    select
        calendar.metric_date
        {%- for part in parts %}
        {%- for window in ('recent', 'prior') %},
        sum(daily.{{ part }}) over {{ window }}
            {{- ' + coalesce(known_' ~ window ~ '.' ~ part ~ ', 0)' if is_excused }}
            as {{ part }}_{{ window }}
        {%- endfor %}
        {%- endfor %}
    from calendar
    left join daily on calendar.metric_date = daily.session_on
    {%- if is_excused %}
    left join known as known_recent
        on calendar.metric_date = known_recent.metric_date and known_recent.is_recent
    left join known as known_prior
        on calendar.metric_date = known_prior.metric_date and not known_prior.is_recent
    {%- endif %}
    window
        recent as (order by calendar.metric_date rows between 29 preceding and current row),
        prior as (order by calendar.metric_date rows between 59 preceding and 30 preceding)
),

windows as (
    select
        metric_date
        {%- for name, (part, whole) in metrics.items() %}
        {%- for window in ('recent', 'prior') %},
        {%- if part == 'no_shows' %}
        case when coalesce(not_held_{{ window }}, 0) = 0 then
        {%- endif %}
        {{ part }}_{{ window }}
        {%- if whole %} / nullif({{ whole }}_{{ window }}
            {{- ' * 1000000' if part.endswith('_sum') }}, 0){% endif %}
        {{- ' end' if part == 'no_shows' }}
            as {{ name }}_{{ '30d' if window == 'recent' else 'prior_30d' }}
        {%- endfor %}
        {%- endfor %}
    from sums
)

select
    metric_date
    {%- for name in metrics %},
    {{ name }}_30d,
    {{ name }}_prior_30d,
    {{ name }}_30d / nullif({{ name }}_prior_30d, 0) - 1 as {{ name }}_change,
    case
        when abs({{ name }}_30d / nullif({{ name }}_prior_30d, 0) - 1) < {{ var('neutral_change') }}
            then 'neutral'
        when {{ name }}_30d > {{ name }}_prior_30d then 'up'
        when {{ name }}_30d < {{ name }}_prior_30d then 'down'
        when {{ name }}_30d = {{ name }}_prior_30d then 'neutral'
    end as {{ name }}_trend
    {%- endfor %}
from windows
where metric_date > {{ header.as_of_on }} - {{ var('lookback_days') }}

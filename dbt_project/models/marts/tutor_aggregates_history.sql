{{ config(
    materialized='history',
    contract={'enforced': false},
    tags=['daily_partitions'],
    indexes=[
        {'columns': ['tutor_id', 'as_of_date'], 'unique': true},
        {'columns': ['as_of_date']},
    ],
    meta={'distribute_by': 'tutor_id'},
) }}

{#-
The wide row without its evidence, as of the end of each of some past days. What a metric is comes
from its entry, as in tutor_aggregates; here a day costs what is new in it, not another look at all
sessions. What the head sets are the days of this run at once; the materialization takes this text
for a month at a time.

first_day, last_day  SQL dates
scope                predicate on tutor_id
asked                predicate on (tutor_id, as_of_date) that the rows must meet

0. tutors     who is known, and since when
1. windows    every sum over every window as of the day before the first
2. calendar   every tutor and day
3. moving     what enters and leaves each window that day, added up from there on
4. arrays     the values of all sessions that any of the days looks back to, newest first
   (Where sessions were excused: known, what the sums and arrays were before that; macros/excuses.sql)
5. converted  the days on which the pair of a first session had another one, held or ahead
6. gathered   of each array, what the day looks back to
7. measured   as in tutor_aggregates
-#}
{%- set header = refresh() -%}
{%- set from, until = header.as_of_on, header.as_of_on -%}
{%- if header.snapshot_from -%}
    {%- set from = "date '" ~ header.snapshot_from ~ "'" -%}
    {%- set until = "date '" ~ header.snapshot_until ~ "'" -%}
{%- endif -%}
{%- set first_day, last_day = given('first_day', from), given('last_day', until) -%}
{%- set scope, asked = given('scope', 'true'), given('asked', 'true') -%}
{%- set since = '(' ~ first_day ~ ' - ' ~ var('lookback_days') ~ ')' -%}
{%- set ages = [0] + age_bands() -%}
{%- set is_excused = has_excuses() -%}

with

tutors as (
    select
        tutor_id,
        coalesce(
            member_since, (user_created_at at time zone '{{ pipeline_timezone() }}')::date
        ) as joined_on
    from {{ ref('dim_tutors') }}
    where {{ scope }}
),

{{ window_sums('null::timestamptz', first_day ~ ' - 1', scope) }},

calendar as not materialized (
    select
        tutors.tutor_id,
        tutors.joined_on,
        series.calendar_day::date as as_of_date
    from tutors
    cross join generate_series(
        {{ first_day }}::timestamp, {{ last_day }}::timestamp, '1 day'
    ) as series (calendar_day)
),

moving as (
    select
        calendar.tutor_id,
        calendar.as_of_date,
        (
            (calendar.as_of_date + 1)::timestamp at time zone '{{ pipeline_timezone() }}'
        ) - interval '1 microsecond' as as_of,
        (
            calendar.joined_on <= calendar.as_of_date
            or windows.sessions_count_90d > 0
            or windows.last_session_on is not null
            or count(age_0.session_on) over so_far > 0
        ) as is_there,
        {%- for column, used in windows_of_measures().items() %}
        {%- for window in used %}
        {%- set first_age, end_age = age_windows()[window] %}
        windows.{{ column }}_{{ window }} + sum(
            coalesce(age_{{ first_age }}.{{ column }}, 0)
            {%- if end_age is not none %} - coalesce(age_{{ end_age }}.{{ column }}, 0){% endif -%}
            {%- if column.endswith('_sum') %}::double precision{% endif %}
        ) over so_far as {{ column }}_{{ window }},
        {%- endfor %}
        {%- endfor %}
        windows.active_days_30d + sum(
            (age_0.completed_count > 0 is true)::integer
            - (age_30.completed_count > 0 is true)::integer
        ) over so_far as active_days_30d,
        greatest(
            windows.last_session_on,
            max(age_0.session_on) filter (where age_0.completed_count > 0) over so_far
        ) as last_session_on,
        greatest(windows.last_session_at, max(age_0.last_completed_at) over so_far)
            as last_session_at
    from calendar
    inner join windows on calendar.tutor_id = windows.tutor_id
    {%- for age in ages %}
    left join {{ ref('int_tutor_days') }} as age_{{ age }}
        on
            calendar.tutor_id = age_{{ age }}.tutor_id
            and calendar.as_of_date - {{ age }} = age_{{ age }}.session_on
            and age_{{ age }}.session_on between {{ first_day }} - {{ age }}
            and {{ last_day }} - {{ age }}
    {%- endfor %}
    window so_far as (partition by calendar.tutor_id order by calendar.as_of_date)
),

{% if is_excused -%}
{{ as_known_then(scope) }},

-- The days during which the same excuses of a tutor's sessions held.
spans as (
    select
        tutor_id,
        edge as known_from,
        lead(edge) over (partition by tutor_id order by edge) as known_until
    from (
        select
            tutor_id,
            '-infinity'::date as edge
        from tutors
        union distinct
        select
            tutor_id,
            known_from as edge
        from excuse_spans
        union distinct
        select
            tutor_id,
            'infinity'::date as edge
        from tutors
    ) as edges
),

taught as (
    {{ sessions_as_known('spans') }}
),

{% endif -%}
counted as not materialized (
    select
        *,
        {{ last_day }} - session_on as age,
        status = 'completed' as is_completed,
        status = 'completed' and is_first_session as is_completed_first,
        (next_session_at at time zone '{{ pipeline_timezone() }}')::date as next_session_on
    from {{ student_sessions() ~ ' as taught' if not is_excused else 'taught' }}
    where
        session_on > {{ since }}
        and session_on <= {{ last_day }}
        and status not in ('scheduled', 'in_progress')
        and {{ scope }}
    {{ newest_first().replace('order by', 'order by tutor_id,') }}
),

arrays as (
    select
        tutor_id
        {{- ', known_from, known_until' if is_excused }}
        {%- for name, (value, _) in tutor_series().items() %}
        {%- set condition = of_sessions('is_completed and ' ~ value ~ ' is not null') %},
        array_agg({{ value }} {{ newest_first() }}) filter (where {{ condition }}) as {{ name }},
        array_agg(age {{ newest_first() }}) filter (where {{ condition }}) as {{ name }}_ages
        {%- endfor %}
        {%- for name, (condition, first, end) in tutor_spans().items() %}
        {%- set condition = condition ~ ' and ' ~ first ~ ' < ' ~ end %},
        array_agg({{ first }} order by {{ first }}) filter (where {{ condition }})
            as {{ name }}_first_days,
        array_agg({{ end }} order by {{ end }}) filter (where {{ condition }})
            as {{ name }}_end_days
        {%- endfor %}
    from counted
    group by tutor_id{{ ', known_from, known_until' if is_excused }}
),

{% if is_excused -%}
known as (
    select
        calendar.tutor_id,
        calendar.as_of_date
        {%- for column, used in windows_of_measures().items() %}
        {%- for window in used %}
        {%- set first_age, end_age = age_windows()[window] %},
        coalesce(sum(sums.{{ column }}) filter (
            where calendar.as_of_date - sums.session_on >= {{ first_age }}
            {%- if end_age is not none %}
            and calendar.as_of_date - sums.session_on < {{ end_age }}
            {%- endif %}
        ), 0)::{{ 'double precision' if column.endswith('_sum') else 'integer' }}
            as {{ column }}_{{ window }}
        {%- endfor %}
        {%- endfor %}
    from calendar
    inner join then_and_now as sums
        on
            calendar.tutor_id = sums.tutor_id
            and calendar.as_of_date >= sums.session_on
            and calendar.as_of_date >= sums.known_from
            and calendar.as_of_date < sums.known_until
    group by calendar.tutor_id, calendar.as_of_date
),

{% endif -%}

converted as (
    select
        tutor_id,
        array_agg(first_day order by first_day) as converted_first_days,
        array_agg(end_day order by end_day) as converted_end_days
    from (
        select
            followed.tutor_id,
            greatest(
                (lower(span) at time zone '{{ pipeline_timezone() }}')::date,
                followed.session_on + {{ var('rebook_days') }}
            ) as first_day,
            least(
                (upper(span) at time zone '{{ pipeline_timezone() }}')::date,
                followed.session_on + {{ var('lookback_days') }}
            ) as end_day
        from (
            {{ followed_first_sessions(since, last_day, scope) }}
        ) as followed
        cross join lateral unnest(followed.followed_during) as span
    ) as spans
    where first_day < end_day
    group by tutor_id
),

gathered as (
    select
        {%- if is_excused %}
        moving.tutor_id,
        moving.as_of_date,
        moving.as_of,
        moving.active_days_30d,
        moving.last_session_on,
        moving.last_session_at,
        {%- for column, used in windows_of_measures().items() %}
        {%- for window in used %}
        {%- set name = column ~ '_' ~ window %}
        moving.{{ name }} + coalesce(known.{{ name }}, 0) as {{ name }},
        {%- endfor %}
        {%- endfor %}
        moving.score_count_30d + coalesce(known.score_count_30d, 0) as scored_30d,
        {%- else %}
        moving.*,
        moving.score_count_30d as scored_30d,
        {%- endif %}
        {%- for name, (_, days) in tutor_series().items() %}
        {%- set age = last_day ~ ' - moving.as_of_date' %}
        arrays.{{ name }}[
            width_bucket({{ age }} - 1, arrays.{{ name }}_ages) + 1
            :width_bucket({{ age }} + {{ days - 1 }}, arrays.{{ name }}_ages)
        ] as {{ name }},
        {%- endfor %}
        {%- for name in tutor_spans().keys() | list + ['converted'] %}
        coalesce(
            width_bucket(moving.as_of_date, {{ name }}_first_days)
            - width_bucket(moving.as_of_date, {{ name }}_end_days),
            0
        ) as {{ name }}{{ ',' if not loop.last }}
        {%- endfor %}
    from moving
    left join arrays
        on
            moving.tutor_id = arrays.tutor_id
            {%- if is_excused %}
            and moving.as_of_date >= arrays.known_from
            and moving.as_of_date < arrays.known_until
    left join known
        on
            moving.tutor_id = known.tutor_id
            and moving.as_of_date = known.as_of_date
            {%- endif %}
    left join converted on moving.tutor_id = converted.tutor_id
    where moving.is_there and {{ asked }}
),

measured as (
    {{ tutor_details(has_evidence=false) }}
),

{{ wide_row(reschedules_are_known_on('as_of_date'), has_evidence=false) }}

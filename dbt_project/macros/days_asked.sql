{#- Days that the tables of evidence and the weekly histories are asked about. -#}

{% macro weeks_back(day, newest) -%}
    (({{ newest }} - {{ day }} + 7000) / 7 - 1000)
{%- endmacro %}

{% macro built(relation, columns) -%}
    {%- if execute and load_cached_relation(relation) is none -%}
        (select {{ columns }} where false)
    {%- else -%}
        {{ relation }}
    {%- endif -%}
{%- endmacro %}

{#-
The ends of past weeks, as moments: from the fifth week after the one of the first session (a prior
30 days are then there to compare with) to the last full one, at most 52.
-#}
{% macro student_weeks() -%}
    select
        sundays.as_of_date,
        sundays.as_of
    from (
        select
            weeks.monday::date + 6 as as_of_date,
            ((weeks.monday::date + 7)::timestamp at time zone '{{ pipeline_timezone() }}')
            - interval '1 microsecond' as as_of
        from (
            select min(session_on) as first_day
            from {{ student_sessions(is_whole=true) }} as taught
            where student_id is not null and status not in ('scheduled', 'in_progress')
        ) as sessions
        cross join generate_series(
            date_trunc('week', sessions.first_day::timestamp) + interval '5 weeks',
            ({{ refresh()['as_of_on'] }})::timestamp,
            '1 week'
        ) as weeks (monday)
    ) as sundays
    where sundays.as_of <= {{ refresh()['as_of'] }}
    order by sundays.as_of_date desc
    limit 52
{%- endmacro %}

{% macro newest_full_day(history, otherwise="date '1970-01-01'") -%}
    {%- set found = none -%}
    {%- if execute and load_cached_relation(history) is not none -%}
        {%- set found = run_query(
            'select max(as_of_date)::text from ' ~ history
            ~ ' where as_of_date < ' ~ refresh()['as_of_on']
        ).rows[0][0] -%}
    {%- endif -%}
    {{ return("date '" ~ found ~ "'" if found else otherwise) }}
{%- endmacro %}

{% macro newest_student_week() -%}
    {%- set weeks = '(' ~ student_weeks() ~ ') as weeks' -%}
    {%- set newest = none -%}
    {%- set read = ref('fct_session_students') if has_groups() else ref('fct_sessions') -%}
    {%- if execute and load_cached_relation(read) is not none -%}
        {%- set newest = run_query(
            'select max(weeks.as_of_date)::text from ' ~ weeks
        ).rows[0][0] -%}
    {%- endif -%}
    {{ return("date '" ~ (newest or '1970-01-04') ~ "'") }}
{%- endmacro %}

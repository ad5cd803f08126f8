{{ config(
    materialized='scoped',
    indexes=[{'columns': ['tutor_id'], 'unique': true}],
    meta={'distribute_by': 'tutor_id', 'rebuild_when': 'every_wide_row_is_new'},
) }}

{#-
The rolling metrics of every active tutor as of the refresh. What a metric is says its entry in
tutor_metrics.yml; what the history shares stands in macros/tutor_metrics.sql. Cut-offs are SQL
literals, not computed per row.

0. tutors    who has a row
1. bands     the days of int_tutor_days, summed once per band of age
2. windows   every rolling window as a combination of bands
3. gathered  the sessions of the last lookback_days as arrays, newest first
4. details   what is not additive, from these: last-N, streaks, pairs, evidence
5. converted first sessions whose pair has another one, held or ahead
-#}
{%- set as_of, as_of_on = refresh()['as_of'], refresh()['as_of_on'] -%}
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
    from {{ student_sessions() }} as taught
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
            where
            {{ of_sessions('is_completed and ' ~ value ~ ' is not null') }} and age < {{ days }}
        ) as {{ name }},
        {%- endfor %}
        {%- for name, entry in tutor_metrics()['tutor_aggregates'].items() if entry.evidence %}
        (
            array_agg(session_id {{ by_recency }}) filter (
                where {{ of_sessions('(' ~ entry.evidence ~ ')') }}
            )
        )[1:{{ var('evidence_sessions') }}] as {{ name }},
        {%- endfor %}
        {%- for name, (condition, first_day, end_day) in tutor_spans().items() %}
        count(*) filter (
            where
            {{ condition }} and {{ first_day }} <= {{ as_of_on }} and {{ end_day }} > {{ as_of_on }}
        )::integer as {{ name }},
        {%- endfor %}
        array_agg(session_id {{ by_recency }}) filter (
            where {{ of_sessions('is_completed') }} and session_score is not null
        ) as scored_ids,
        count(session_score) filter (
            where {{ of_sessions('is_completed') }} and age < 14
        )::integer as scored_14d,
        count(session_score) filter (
            where {{ of_sessions('is_completed') }} and age < 30
        )::integer as scored_30d
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
    where followed_during @> {{ as_of }}
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

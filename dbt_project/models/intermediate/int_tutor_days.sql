{{ config(
    materialized='scoped',
    indexes=[
        {'columns': ['tutor_id', 'session_on'], 'unique': true},
        {'columns': ['session_on']},
    ],
    meta={'distribute_by': 'tutor_id', 'rebuild_when': 'every_wide_row_is_new'},
    post_hook="{{ repair_snapshots() }}",
) }}

{#- Additive only: every rolling window is a sum of days. Sums are whole millionths. What is summed
    are the measures of tutor_metrics.yml. #}
{%- set header = refresh() %}

with

{#- The order lets days be grouped as they come, and keeps the planner from repeating these
    comparisons in each of the many filters. #}
sessions as (
    select
        *,
        status = 'completed' as is_completed,
        status = 'completed' and is_first_session as is_completed_first,
        next_session_at <= {{ header.as_of }} as is_followed,
        (next_session_at at time zone '{{ pipeline_timezone() }}')::date - session_on
            as days_to_next,
        date_part('isodow', session_on) >= 6 as is_on_weekend
    from {{ student_sessions() }} as taught
    where
        scheduled_start <= {{ header.as_of }}
        and status not in ('scheduled', 'in_progress')
        and {{ in_scope('tutor_id') }}
    order by tutor_id asc, session_on desc
)

select
    {%- for name, entry in tutor_metrics()['int_tutor_days'].items() %}
    {%- set condition = entry.count or entry.where %}
    {%- if condition and entry.of != 'students' %}
    {%- set condition = of_sessions(condition) %}
    {%- endif %}
    {%- if entry.count %}
    count(*) filter (where {{ condition }})::integer as {{ name }}
    {%- elif entry.known %}
    count({{ entry.known }}) filter (where {{ condition }})::integer as {{ name }}
    {%- elif entry.sum %}
    coalesce(sum({{ millionths(entry.sum) }}) filter (where {{ condition }}), 0)::bigint
        as {{ name }}
    {%- else %}
    {{ entry.expr ~ ' as ' if entry.expr }}{{ name }}
    {%- endif %}{{ ',' if not loop.last }}
    {%- endfor %}
from sessions
group by tutor_id, session_on
order by tutor_id asc, session_on desc

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

with

{#- The order lets days be grouped as they come, and keeps the planner from repeating these
    comparisons in each of the many filters. #}
sessions as (
    {{ sessions_to_measure(student_sessions() ~ ' as taught') }}
        and {{ in_scope('tutor_id') }}
    order by tutor_id asc, session_on desc
)

select
    {%- for name, entry in tutor_metrics()['int_tutor_days'].items() %}
    {{ measure_value(name, entry) }} as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
from sessions
group by tutor_id, session_on
order by tutor_id asc, session_on desc
